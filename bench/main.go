//go:build linux

package main

import (
	"context"
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

// settings of one run.
type settings struct {
	binary      string // gatehouse, built already; "" builds it
	rounds      int
	requests    int // of each variant in each round
	connections int
	minimal     bool
	store       string
	quiet       bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && (args[0] == roleBare || args[0] == rolePlain) {
		return serve(ctx, args[0], out)
	}
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.binary, "gatehouse", "", "the program to measure; without it, it is built")
	flags.IntVar(&s.rounds, "rounds", 9, "how many turns each variant has")
	flags.IntVar(&s.requests, "requests", 6000, "requests in a turn")
	flags.IntVar(&s.connections, "connections", 16, "connections, each of which waits for an answer before it asks again")
	flags.BoolVar(&s.minimal, "minimal", false, "send no header but Host and the credential, rather than what a browser's fetch sends")
	flags.StringVar(&s.store, "store", "sqlite", "where sessions are kept: sqlite or memory")
	flags.BoolVar(&s.quiet, "quiet", false, "log errors alone, to see what the request log costs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.rounds < 1 || s.requests < 1 || s.connections < 1 || flags.NArg() > 0 {
		return fmt.Errorf("rounds, requests and connections must be positive, and %d further arguments are not understood", flags.NArg())
	}
	dir, err := os.MkdirTemp("", "gatehouse-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	variants, stop, err := start(ctx, s, dir)
	defer stop()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := measure(ctx, s, variants); err != nil {
		return err
	}
	return report(out, s, variants, time.Since(started))
}

// A variant is one way to get the answer.
type variant struct {
	name     string
	address  string     // where the client asks
	requests [][]byte   // one for each connection
	servers  []*process // whose processor time counts
	cost     []float64  // of a request in each round, µs
}

// measure gives each variant its turns.
func measure(ctx context.Context, s settings, variants []*variant) error {
	for round := -1; round < s.rounds; round++ { // the first warms up
		for _, v := range variants {
			before, err := spent(v.servers)
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
			if round >= 0 {
				v.cost = append(v.cost, float64((after-before).Nanoseconds())/1e3/float64(s.requests))
			}
		}
	}
	return nil
}

// report prints medians: of the cost, and of the ratios within each round.
func report(out io.Writer, s settings, variants []*variant, took time.Duration) error {
	bare, plain := variants[0], variants[1]
	fmt.Fprintf(out, "%d rounds of %d requests over %d connections, in %v; sessions in %s\n\n",
		s.rounds, s.requests, s.connections, took.Round(time.Second), s.store)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIANT\tCPU µs\tTO BARE\tLEAST\tMOST\tTO PLAIN GRPC-GATEWAY")
	for _, v := range variants {
		toBare, toPlain := ratios(v, bare), ratios(v, plain)
		fmt.Fprintf(table, "%s\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\n", v.name, median(v.cost),
			median(toBare), slices.Min(toBare), slices.Max(toBare), median(toPlain))
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
