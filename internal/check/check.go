// Package check owns the report of a check of a configuration: results, the values to
// register at the provider, and their form for people and for programs. It leaves the
// checks to the parts that they are about.
package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Status is the outcome of one check.
type Status string

// The outcomes.
const (
	OK      Status = "ok"      // works
	Warn    Status = "warn"    // works, with a caveat
	Wrong   Status = "wrong"   // does not work
	Unknown Status = "unknown" // could not be checked
)

// A Result is the result of one check.
type Result struct {
	Status Status `json:"status"`
	// Proof names what was checked, such as "credential".
	Proof  string `json:"proof"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
	// Optional marks a check that many providers do not allow. If it is Unknown, the
	// report as a whole still succeeds.
	Optional bool `json:"optional,omitempty"`
}

// Good returns the result of a check that found no problem.
func Good(proof, format string, args ...any) Result {
	return Result{Status: OK, Proof: proof, What: fmt.Sprintf(format, args...)}
}

// Bad returns the result of a check that found a problem.
func Bad(proof, remedy, format string, args ...any) Result {
	return Result{Status: Wrong, Proof: proof, What: fmt.Sprintf(format, args...), Remedy: remedy}
}

// NotKnown returns the result of a check that found nothing out.
func NotKnown(proof, remedy, format string, args ...any) Result {
	return Result{Status: Unknown, Proof: proof, What: fmt.Sprintf(format, args...), Remedy: remedy}
}

// A Registration is a value to register at the provider.
type Registration struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Method is a method of the API, its REST routes and its policy.
type Method struct {
	Name   string   `json:"method"`
	Routes []string `json:"rest,omitempty"`
	Policy string   `json:"policy"`
}

// A Route is a route of the bff.
type Route struct {
	Path   string `json:"path"`
	To     string `json:"to"`
	Token  string `json:"token"`
	Public bool   `json:"public"`
}

// A Report is the outcome of all checks.
type Report struct {
	Results  []Result       `json:"results"`
	Register []Registration `json:"register,omitempty"`
	Routes   []Route        `json:"routes,omitempty"`
	Methods  []Method       `json:"methods,omitempty"`
}

// Add appends results.
func (r *Report) Add(results ...Result) { r.Results = append(r.Results, results...) }

// AddErrors adds a result with the status Wrong for each line of err.
func (r *Report) AddErrors(proof string, err error) {
	for line := range strings.Lines(err.Error()) {
		r.Add(Result{Status: Wrong, Proof: proof, What: strings.TrimSpace(line)})
	}
}

// Wrong reports whether a result has the status Wrong.
func (r *Report) Wrong() bool {
	return slices.ContainsFunc(r.Results, func(result Result) bool { return result.Status == Wrong })
}

// Unproved reports whether a result that is not optional has the status Unknown.
func (r *Report) Unproved() bool {
	return slices.ContainsFunc(r.Results, func(result Result) bool { return result.Status == Unknown && !result.Optional })
}

var labels = map[Status]string{OK: "ok   ", Warn: "warn ", Wrong: "WRONG", Unknown: "?    "}

// Text writes the report for people, one line per result.
func (r *Report) Text(w io.Writer) {
	for _, result := range r.Results {
		text := result.What
		if result.Status == Unknown {
			text = "not known: " + text
		}
		if result.Remedy != "" {
			text += "; " + result.Remedy
		}
		fmt.Fprintln(w, labels[result.Status], text)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Register) > 0 {
		fmt.Fprintln(w, "\nTo be registered at the provider:")
		for _, registration := range r.Register {
			fmt.Fprintf(table, "  %s\t%s\n", registration.Name, registration.Value)
		}
		_ = table.Flush() // to the same writer as all before
	}
	if len(r.Routes) > 0 {
		fmt.Fprintln(w)
		fmt.Fprintln(table, "ROUTE\tTO\tTOKEN\tWITHOUT A SESSION")
		for _, route := range r.Routes {
			without := "login"
			if route.Public {
				without = "passes"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", route.Path, route.To, route.Token, without)
		}
		_ = table.Flush()
	}
	if len(r.Methods) > 0 {
		fmt.Fprintln(w)
		fmt.Fprintln(table, "METHOD\tREST\tPOLICY")
		for _, method := range r.Methods {
			routes := cmp.Or(strings.Join(method.Routes, ", "), "-")
			fmt.Fprintf(table, "%s\t%s\t%s\n", method.Name, routes, method.Policy)
		}
		_ = table.Flush()
	}
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
