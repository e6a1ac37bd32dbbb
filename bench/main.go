//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the settings of a run.
type settings struct {
	binary      string // gatehouse; "" builds it
	rounds      int
	requests    int // for each variant in each round
	connections int
	minimal     bool
	store       string
	quiet       bool
	metrics     bool
	sample      float64
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && (args[0] == roleBare || args[0] == rolePlain) {
		return serve(ctx, args[0], args[1])
	}
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.binary, "gatehouse", "", "gatehouse `binary` to measure (default: built from source)")
	flags.IntVar(&s.rounds, "rounds", 9, "turns of each variant")
	flags.IntVar(&s.requests, "requests", 6000, "requests in a turn")
	flags.IntVar(&s.connections, "connections", 16, "connections to each variant")
	flags.BoolVar(&s.minimal, "minimal", false, "send only Host and the credential instead of the headers of a browser")
	flags.StringVar(&s.store, "store", "sqlite", "session `store`: sqlite or memory")
	flags.BoolVar(&s.quiet, "quiet", false, "log errors only, to measure the cost of the request log")
	flags.BoolVar(&s.metrics, "metrics", true, "collect metrics for Prometheus; without, the server alone does, unless sample is 0")
	flags.Float64Var(&s.sample, "sample", 0.01, "`share` of traces to record and send to a collector; 0 for no tracing")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if s.rounds < 1 || s.requests < 1 || s.connections < 1 || flags.NArg() > 0 {
		return errors.New("rounds, requests and connections must be positive, and there are no arguments")
	}
	dir, err := os.MkdirTemp("", "gatehouse-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sys := &system{settings: s, dir: dir, processes: map[string]*process{}}
	defer sys.wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	variants, err := sys.start(ctx)
	if err != nil {
		return err
	}
	started := time.Now()
	if err := measure(ctx, s, variants); err != nil {
		return err
	}
	return report(out, s, variants, time.Since(started))
}

// A variant is one way to the answer.
type variant struct {
	name     string
	address  string     // for the client
	requests [][]byte   // one for each connection
	servers  []*process // whose processor time is measured
	cost     []float64  // of a request in each round, µs
	logged   []float64  // bytes of log of a request in each round
}

// measure runs the turns of all variants.
func measure(ctx context.Context, s settings, variants []*variant) error {
	for round := -1; round < s.rounds; round++ { // the first round warms up
		for _, v := range variants {
			before, err := spent(v.servers)
			if err != nil {
				return err
			}
			logged, err := logSize(v.servers)
			if err != nil {
				return err
			}
			if err := ask(ctx, v, s.requests); err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			after, err := spent(v.servers)
			if err != nil {
				return err
			}
			grown, err := logSize(v.servers)
			if err != nil {
				return err
			}
			if round >= 0 {
				v.logged = append(v.logged, float64(grown-logged)/float64(s.requests))
				v.cost = append(v.cost, float64((after-before).Nanoseconds())/1e3/float64(s.requests))
			}
		}
	}
	return nil
}

// report prints the medians of the cost, and of the ratios within each round, the log that a
// request causes, and the memory of all servers at the end.
func report(out io.Writer, s settings, variants []*variant, took time.Duration) error {
	bare, plain := variants[0], variants[1]
	fmt.Fprintf(out, "%d rounds of %d requests over %d connections, in %v; sessions in %s; log %t, metrics %t, traces %g%%\n\n",
		s.rounds, s.requests, s.connections, took.Round(time.Second), s.store, !s.quiet, s.metrics, 100*s.sample)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIANT\tCPU µs\tTO BARE\tLEAST\tMOST\tTO PLAIN GRPC-GATEWAY\tLOG BYTES\tMEMORY MiB")
	for _, v := range variants {
		toBare, toPlain := ratios(v, bare), ratios(v, plain)
		memory, err := resident(v.servers)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%d\n", v.name, median(v.cost),
			median(toBare), slices.Min(toBare), slices.Max(toBare), median(toPlain), median(v.logged), memory>>20)
	}
	return table.Flush()
}

func ratios(v, to *variant) []float64 {
	all := make([]float64, len(v.cost))
	for i := range v.cost {
		all[i] = v.cost[i] / to.cost[i]
	}
	return all
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
