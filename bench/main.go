//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/report"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

func main() {
	// Servers would outlive a run that a signal ends without this.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no results: %w", context.Cause(ctx))
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the settings of a run.
type settings struct {
	rows.Settings
	against  string // another gatehouse
	rounds   int
	requests int           // in a turn
	turn     time.Duration // at most
	latency  bool
	headers  []string // kinds
	only     *regexp.Regexp
	list     bool

	documents string // folder of the document to write; "" for none
	command   string // that repeats the run
	built     bool   // whether the gatehouse is of this source
}

// run parses the settings and does what they say. The report goes to out, progress elsewhere.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) > 0 && args[0] == rows.RoleCommand {
		return role(ctx, args[1:])
	}
	s, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if s.list {
		if s.documents != "" {
			return edit(s.documents, func(document []byte) ([]byte, error) { return report.DocumentRows(document, describedAll()) })
		}
		return list(out, s)
	}
	return benchmark(ctx, s, out, progress)
}

// role serves as a row asks for.
func role(ctx context.Context, args []string) error {
	roles := rows.Roles()
	maps.Copy(roles, peers.Roles())
	if len(args) < 2 || roles[args[0]] == nil {
		return fmt.Errorf("%q: a role needs a name that is known, and an address", args)
	}
	return roles[args[0]](ctx, args[1], args[2:])
}

// The kinds of headers.
const (
	browserHeaders = "browser"
	minimalHeaders = "minimal"
)

func parse(args []string, output io.Writer) (s settings, err error) {
	s.Binaries, s.Progress = map[string]string{}, output
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&s.Gatehouse, "gatehouse", "", "gatehouse `binary` to measure (default: built from source)")
	flags.StringVar(&s.against, "against", "", "another gatehouse `binary`, whose rows are measured in turns with those of the first")
	flags.IntVar(&s.rounds, "rounds", 15, "turns of each row")
	flags.IntVar(&s.requests, "requests", 4000, "requests in a turn, at most")
	flags.DurationVar(&s.turn, "turn", 500*time.Millisecond, "`time` of a turn, at most; a turn at half the highest throughput takes twice as long")
	flags.IntVar(&s.Connections, "connections", 16, "connections to each row; each has a session of its own")
	flags.BoolVar(&s.latency, "latency", true, "measure latencies at half the highest throughput")
	headers := flags.String("headers", "both", "`kind` of request: browser (the headers of a page's fetch), minimal (Host and the credential), or both")
	only := flags.String("rows", "", "measure only rows whose name matches the `regexp` as a whole; the floor is always measured")
	flags.BoolVar(&s.list, "list", false, "list the rows and whether they can be had on this machine, and exit")
	flags.BoolVar(&s.Quiet, "quiet", false, "Gatehouse logs errors only")
	flags.BoolVar(&s.Metrics, "metrics", true, "Gatehouse collects metrics for Prometheus; without, the server alone does, unless sample is 0")
	flags.Float64Var(&s.Sample, "sample", 0.01, "`share` of traces that Gatehouse records and sends to a collector; 0 for no tracing")
	flags.Func("with", "path of another program: `name=path`; can be repeated (names: "+strings.Join(programs, ", ")+")", func(value string) error {
		name, path, ok := strings.Cut(value, "=")
		if !ok || !slices.Contains(programs, name) {
			return fmt.Errorf("want name=path, where name is one of %s", strings.Join(programs, ", "))
		}
		s.Binaries[name], err = executable(path)
		return err
	})
	flags.StringVar(&s.documents, "write", "", "write the results into benchmarks.md and benchmarks.svg in this `folder`; with -list, only what the rows are")
	quick := flags.Bool("quick", false, "a few requests to each row, to see that all answer; the figures mean nothing")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if *quick {
		s.rounds, s.requests, s.Connections, s.turn = 1, 8, 2, 10*time.Millisecond
	}
	if s.rounds < 1 || s.requests < 1 || s.Connections < 1 || s.turn <= 0 {
		return settings{}, fmt.Errorf("-rounds=%d -requests=%d -connections=%d -turn=%v: all must be positive", s.rounds, s.requests, s.Connections, s.turn)
	}
	if flags.NArg() > 0 {
		return settings{}, fmt.Errorf("unexpected argument %q: name rows with -rows", flags.Arg(0))
	}
	if !(s.Sample >= 0 && s.Sample <= 1) {
		return settings{}, fmt.Errorf("-sample=%g: want a share between 0 and 1", s.Sample)
	}
	s.command = strings.Join(append([]string{"go run -C bench ."}, args...), " ")
	switch *headers {
	case browserHeaders, minimalHeaders:
		s.headers = []string{*headers}
	case "both":
		s.headers = []string{browserHeaders, minimalHeaders}
	default:
		return settings{}, fmt.Errorf("-headers=%s: want browser, minimal or both", *headers)
	}
	if s.only, err = regexp.Compile("^(?:" + *only + ")$"); err != nil {
		return settings{}, fmt.Errorf("-rows: %w", err)
	}
	if *only == "" {
		s.only = regexp.MustCompile("")
	}
	if !slices.ContainsFunc(allRows(), func(r rows.Row) bool { return s.only.MatchString(r.Name) }) {
		return settings{}, fmt.Errorf("-rows=%s: no row has such a name; -list shows all names", *only)
	}
	return s, nil
}

// programs are the names that -with takes.
var programs = []string{"apache2", "envoy", "go", "initdb", "node", "npm", "oauth2-proxy", "pip3", "postgres", "redis-server"}

// executable returns the absolute path of a program.
func executable(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	_, err = exec.LookPath(absolute)
	return absolute, err
}

// allRows returns the rows of the report in its order.
func allRows() []rows.Row { return slices.Concat(rows.All(), peers.Handwritten(), peers.Installed()) }

// list prints all rows.
func list(out io.Writer, s settings) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tPRODUCT\tCREDENTIAL\tWHAT\tAVAILABLE")
	for _, r := range allRows() {
		available := "yes"
		if r.Missing != nil {
			if reason := r.Missing(&rows.Env{Settings: s.Settings}); reason != "" {
				available = "no: " + reason
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Product, r.Credential, r.Title, available)
	}
	return table.Flush()
}
