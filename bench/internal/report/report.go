package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report is the result of a run.
type Report struct {
	Commit   string // of the source, or the binary that was measured
	Date     time.Time
	Took     time.Duration
	Command  string // that repeats it
	Machine  Machine
	Versions []string // of what was measured
	Setup    string   // what Gatehouse collected
	Turns    string   // number and length
	Series   []Series
	Missing  []Missing
	Against  []Comparison
}

// A Machine is what a run was made on.
type Machine struct {
	CPU        string
	Processors int
	Kernel     string
	Go         string
	Loads      [2]string // load averages of a minute, before and after
}

// A Series is what was measured of a row with one kind of headers.
type Series struct {
	Row
	Headers    string       // kind
	Against    bool         // of another gatehouse
	CPU        Distribution // processor time of a request, µs
	Ratio      Distribution // to the floor of the same round
	Throughput Distribution // requests/s
	Full, Half Latency      // at the highest throughput, and at half of it
	Memory     int64        // bytes
	Logged     float64      // bytes a request
}

// A Row is what a series is of.
type Row struct {
	Name, Title, Product, Credential, Caches, Logs string
}

// label returns what the row is, to be read among those of other products.
func (r Row) label() string {
	if r.Product == "Gatehouse" {
		return r.Product + ": " + r.Title
	}
	return r.Title
}

// String returns the name of the series.
func (s Series) String() string {
	if s.Against {
		return s.Name + " (against)"
	}
	return s.Name
}

// Missing is a row that was not measured.
type Missing struct{ Name, Reason string }

// A Comparison is of a row of two binaries, the first relative to the second in the same rounds.
type Comparison struct {
	Name, Headers   string
	CPU, Throughput Distribution
}

// A Distribution is one of the values of all rounds.
type Distribution struct{ Least, First, Median, Third, Most float64 }

// Distribute returns the distribution of values. Without any it is of NaN.
func Distribute(values []float64) Distribution {
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		if len(sorted) == 0 {
			return math.NaN()
		}
		low := int(q * float64(len(sorted)-1))
		high := min(low+1, len(sorted)-1)
		return sorted[low] + (q*float64(len(sorted)-1)-float64(low))*(sorted[high]-sorted[low])
	}
	return Distribution{at(0), at(.25), at(.5), at(.75), at(1)}
}

// Ratios returns the distribution of the ratios of values to others of the same rounds.
func Ratios(values, to []float64) Distribution {
	all := make([]float64, min(len(values), len(to)))
	for i := range all {
		all[i] = values[i] / to[i]
	}
	return Distribute(all)
}

// A Latency has the quantiles of latencies. It is zero if there are none.
type Latency struct {
	P50, P99 time.Duration
	Requests int
}

// Quantiles returns the quantiles of latencies, which it sorts.
func Quantiles(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[max(0, int(math.Ceil(q*float64(len(all))))-1)] }
	return Latency{at(.5), at(.99), len(all)}
}

// String returns both quantiles in milliseconds.
func (l Latency) String() string {
	if l.Requests == 0 {
		return "–"
	}
	return milliseconds(l.P50) + ", " + milliseconds(l.P99)
}

// milliseconds returns a duration with three digits or fewer.
func milliseconds(d time.Duration) string {
	ms := d.Seconds() * 1e3
	switch {
	case ms < 1:
		return fmt.Sprintf("%.2f", ms)
	case ms < 10:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}

// ratio returns a ratio with three digits.
func ratio(r float64) string {
	switch {
	case r < 10:
		return fmt.Sprintf("%.2f", r)
	case r < 100:
		return fmt.Sprintf("%.1f", r)
	default:
		return fmt.Sprintf("%.0f", r)
	}
}

// headers returns the kinds of headers, in order.
func (r *Report) headers() (kinds []string) {
	for _, s := range r.Series {
		if !slices.Contains(kinds, s.Headers) {
			kinds = append(kinds, s.Headers)
		}
	}
	return kinds
}

// conditions returns sentences on machine, load and setup, without line breaks.
func (r *Report) conditions() []string {
	m := r.Machine
	lines := []string{
		fmt.Sprintf("Commit %s, %s. %s, in %s.", r.Commit, r.Date.UTC().Format("2006-01-02 15:04 UTC"), r.Turns, r.Took.Round(time.Second)),
		fmt.Sprintf("%s with %d processors, Linux %s, %s. Load average %s before and %s after.", m.CPU, m.Processors, m.Kernel, m.Go, m.Loads[0], m.Loads[1]),
	}
	if load, err := strconv.ParseFloat(m.Loads[0], 64); err == nil && load > 0.5*float64(m.Processors) {
		lines = append(lines, "The load before the run was more than half of the processors: if other work went on, times are too high, latencies mean little, and ratios are less certain.")
	}
	if len(r.Versions) > 0 {
		lines = append(lines, "Versions: "+strings.Join(r.Versions, "; ")+".")
	}
	for _, kind := range r.headers() {
		if floor, ok := r.floor(kind); ok {
			lines = append(lines, fmt.Sprintf("Noise: the floor with %s headers took %.1f µs in the median, %.1f to %.1f in half of the rounds, %.1f to %.1f in all.",
				kind, floor.CPU.Median, floor.CPU.First, floor.CPU.Third, floor.CPU.Least, floor.CPU.Most))
		}
	}
	return append(lines, r.Setup)
}

// floor returns the series to which those with the same headers are compared.
func (r *Report) floor(headers string) (Series, bool) {
	for _, s := range r.Series {
		if s.Name == "floor" && s.Headers == headers {
			return s, true
		}
	}
	return Series{}, false
}

// Text writes the report for a terminal.
func (r *Report) Text(out io.Writer) error {
	for _, line := range r.conditions() {
		fmt.Fprintln(out, line)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, kind := range r.headers() {
		fmt.Fprintf(table, "\nHEADERS: %s\tCPU µs\t× FLOOR\tQUARTILES\tLEAST–MOST\tREQUESTS/s\tp50, p99 ms\tAT HALF\tMiB\tLOG BYTES\n", strings.ToUpper(kind))
		for _, s := range r.Series {
			if s.Headers == kind {
				fmt.Fprintln(table, strings.Join(append([]string{s.String()}, s.cells()...), "\t"))
			}
		}
	}
	if len(r.Against) > 0 {
		fmt.Fprintln(table, "\nRELATIVE TO -against\tCPU\tQUARTILES\tREQUESTS/s\tQUARTILES")
		for _, c := range r.Against {
			fmt.Fprintf(table, "%s, %s\t%.3f\t%.3f–%.3f\t%.3f\t%.3f–%.3f\n", c.Name, c.Headers,
				c.CPU.Median, c.CPU.First, c.CPU.Third, c.Throughput.Median, c.Throughput.First, c.Throughput.Third)
		}
	}
	if len(r.Missing) > 0 {
		fmt.Fprintln(table)
		for _, m := range r.Missing {
			fmt.Fprintf(table, "not measured: %s: %s\n", m.Name, m.Reason)
		}
	}
	return table.Flush()
}

// cells returns the figures of a series as the columns of a table.
func (s Series) cells() []string {
	return []string{
		fmt.Sprintf("%.1f", s.CPU.Median), ratio(s.Ratio.Median), ratio(s.Ratio.First) + "–" + ratio(s.Ratio.Third),
		ratio(s.Ratio.Least) + "–" + ratio(s.Ratio.Most), fmt.Sprintf("%.0f", s.Throughput.Median),
		s.Full.String(), s.Half.String(), fmt.Sprintf("%.0f", float64(s.Memory)/(1<<20)), fmt.Sprintf("%.0f", s.Logged),
	}
}
