package devidp

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/suggest"
)

// A Fault makes the provider fail, for all users or for one, until it is healed or
// has occurred Times times.
type Fault struct {
	Kind FaultKind
	// User is the key or subject of the user whose requests fail; "" means all requests,
	// also those that belong to no user.
	User string
	// Times is the number of requests that fail; 0 means all until Heal.
	Times int

	// Error is the OAuth error of RefuseRefresh; "" means invalid_grant.
	Error string
	// Status is the HTTP status of RefuseRefresh, Down and FailUserinfo; 0 means the
	// usual one of the error, 503 and 500.
	Status int
	// RetryAfter is the Retry-After of RefuseRefresh and Down, in whole seconds; 0 means none.
	RetryAfter time.Duration
	// Delay is how much later than usual the token endpoint responds with Slow. Heal
	// ends the delays that are under way.
	Delay time.Duration
}

// members returns the fields by their names in JSON.
func (f *Fault) members() members {
	return members{
		"kind": (*string)(&f.Kind), "user": &f.User, "times": &f.Times, "error": &f.Error, "status": &f.Status,
		"retry_after": &f.RetryAfter, "delay": &f.Delay,
	}
}

// A FaultKind is what goes wrong.
type FaultKind string

const (
	// RefuseRefresh refuses refreshes. The refresh token stays valid.
	RefuseRefresh FaultKind = "refuse-refresh"
	// LoseRefresh performs refreshes, and closes the connection without a response.
	LoseRefresh FaultKind = "lose-refresh"
	// Slow delays the token endpoint.
	Slow FaultKind = "slow"
	// Down responds to every request with an error status.
	Down FaultKind = "down"
	// Disconnect closes the connection of every request without a response.
	Disconnect FaultKind = "disconnect"
	// FailUserinfo responds to userinfo requests with an error status.
	FailUserinfo FaultKind = "fail-userinfo"
)

var faultKinds = []FaultKind{RefuseRefresh, LoseRefresh, Slow, Down, Disconnect, FailUserinfo}

const (
	// maxFaults bounds the faults that are kept: users come and go.
	maxFaults = 1000

	maxDelay = 10 * time.Minute
	maxTimes = 1_000_000
)

// statusOf has the usual statuses of errors other than 400.
var statusOf = map[string]int{
	"invalid_client":          http.StatusUnauthorized,
	"slow_down":               http.StatusTooManyRequests,
	"server_error":            http.StatusInternalServerError,
	"temporarily_unavailable": http.StatusServiceUnavailable,
}

// normalize returns f with defaults in place of zero values, or an error for each
// wrong field.
func (f Fault) normalize() (Fault, error) {
	var errs []error
	wrong := func(field string, value any, problem, remedy string) {
		errs = append(errs, invalid.Field(field, value, problem, remedy))
	}
	only := func(field string, set bool, value any, kinds ...FaultKind) {
		if set && !slices.Contains(kinds, f.Kind) {
			wrong(field, value, "has no effect with the kind "+string(f.Kind), "leave it out, or give the kind "+list(kinds))
		}
	}
	switch {
	case f.Kind == "":
		errs = append(errs, invalid.Missing("Kind", "give one of "+list(faultKinds)))
	case !slices.Contains(faultKinds, f.Kind):
		errs = append(errs, unknown("Kind", f.Kind, faultKinds))
	default:
		only("Error", f.Error != "", f.Error, RefuseRefresh)
		only("Status", f.Status != 0, f.Status, RefuseRefresh, Down, FailUserinfo)
		only("RetryAfter", f.RetryAfter != 0, f.RetryAfter, RefuseRefresh, Down)
		only("Delay", f.Delay != 0, f.Delay, Slow)
	}
	if f.Times < 0 || f.Times > maxTimes {
		wrong("Times", f.Times, "is out of range", fmt.Sprintf("give 1 to %d requests, or 0 for all until the fault is healed", maxTimes))
	}
	if len(f.Error) > 64 || strings.ContainsFunc(f.Error, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) {
		wrong("Error", f.Error, "is no OAuth error", "give a code such as invalid_grant or interaction_required")
	}
	if f.Status != 0 && (f.Status < 400 || f.Status > 599) && (f.Status != http.StatusOK || f.Kind != RefuseRefresh) {
		wrong("Status", f.Status, "is no status of an error", "give 400 to 599, or for a refused refresh also 200, as some providers do")
	}
	if f.RetryAfter < 0 || f.RetryAfter > 24*time.Hour || f.RetryAfter%time.Second != 0 {
		wrong("RetryAfter", f.RetryAfter, "is not a number of seconds up to a day", "give a duration such as 30s")
	}
	if f.Delay < 0 || f.Delay > maxDelay || f.Kind == Slow && f.Delay == 0 {
		wrong("Delay", f.Delay, "is out of range", fmt.Sprintf("give a positive duration up to %v, such as 20s", maxDelay))
	}
	switch f.Kind {
	case RefuseRefresh:
		f.Error = cmp.Or(f.Error, string(oidc.InvalidGrant))
		f.Status = cmp.Or(f.Status, statusOf[f.Error], http.StatusBadRequest)
	case Down:
		f.Status = cmp.Or(f.Status, http.StatusServiceUnavailable)
	case FailUserinfo:
		f.Status = cmp.Or(f.Status, http.StatusInternalServerError)
	}
	return f, errors.Join(errs...)
}

// String describes f to a person.
func (f Fault) String() string {
	what := map[FaultKind]string{
		RefuseRefresh: fmt.Sprintf("refreshes are refused with %s and status %d", f.Error, f.Status),
		LoseRefresh:   "responses to refreshes are lost",
		Slow:          "the token endpoint responds " + brief(f.Delay) + " later",
		Down:          fmt.Sprintf("every request gets status %d", f.Status),
		Disconnect:    "every connection is closed",
		FailUserinfo:  fmt.Sprintf("userinfo requests get status %d", f.Status),
	}[f.Kind]
	if f.User != "" {
		what += ", for " + f.User
	}
	switch {
	case f.Times == 1:
		what += ", once more"
	case f.Times > 1:
		what += fmt.Sprintf(", %d more times", f.Times)
	}
	return what
}

// brief formats a duration without units that are zero: 5m instead of 5m0s. It
// returns "" for 0.
func brief(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// maxListed is how many names an error lists, and the length of a value in it.
const maxListed = 100

// unknown returns the error about a value that is none of the known ones, with a
// suggestion if one is similar.
func unknown[T ~string](field string, value T, known []T) error {
	names := make([]string, 0, maxListed)
	for _, k := range known[:min(len(known), maxListed)] {
		names = append(names, string(k))
	}
	problem, remedy := "is unknown", "give one of "+strings.Join(names, ", ")
	if len(names) == 0 {
		remedy = "there is none yet"
	}
	short := string(value)
	if len(short) > maxListed {
		short = strings.ToValidUTF8(short[:maxListed], "") + "…"
	} else if similar := suggest.Name(short, names); similar != "" {
		remedy = "did you mean " + strconv.Quote(similar) + "? Otherwise " + remedy
	}
	return invalid.Field(field, short, problem, remedy)
}

// list joins names for a message.
func list[T ~string](names []T) string {
	var all []string
	for _, n := range names {
		all = append(all, string(n))
	}
	return strings.Join(all, ", ")
}
