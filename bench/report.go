//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// report prints the medians of the cost, and of the ratios within each round.
func (b *bench) report(out io.Writer) error {
	fmt.Fprintf(out, "%d rounds of at most %d requests or %v over %d connections, in %v; load %s to %s; Gatehouse: log %t, metrics %t, traces %g%%\n\n",
		b.rounds, b.requests, b.turn, b.Connections, time.Since(b.began).Round(time.Second), b.loads[0], b.loads[1], !b.Quiet, b.Metrics, 100*b.Sample)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tCPU µs\t× FLOOR\tQUARTILES\tLEAST–MOST\tREQUESTS/s\tp50\tp99\tHALF: p50\tp99\tMiB\tLOG BYTES")
	for _, s := range b.series() {
		if s.err != nil {
			continue
		}
		memory, err := proc.Memory(s.target.Processes)
		if err != nil {
			return err
		}
		r := sorted(ratios(s.cost, b.floor(s.headers).cost))
		fmt.Fprintf(table, "%s\t%.1f\t%.2f\t%.2f–%.2f\t%.2f–%.2f\t%.0f\t%v\t%v\t%v\t%v\t%.0f\t%.0f\n",
			s, median(s.cost), quantile(r, .5), quantile(r, .25), quantile(r, .75), r[0], r[len(r)-1], median(s.throughput),
			latency(s.full, .5), latency(s.full, .99), latency(s.half, .5), latency(s.half, .99), float64(memory)/(1<<20), median(s.logged))
	}
	if err := table.Flush(); err != nil || b.against == "" {
		return err
	}
	fmt.Fprintf(out, "\n%s relative to %s, in the same rounds\n\n", b.Gatehouse, b.against)
	fmt.Fprintln(table, "ROW\tCPU\tQUARTILES\tREQUESTS/s\tQUARTILES")
	for _, group := range b.groups {
		if len(group) < 2 || group[0].err != nil || group[1].err != nil {
			continue
		}
		cost := sorted(ratios(group[0].cost, group[1].cost))
		throughput := sorted(ratios(group[0].throughput, group[1].throughput))
		fmt.Fprintf(table, "%s\t%.3f\t%.3f–%.3f\t%.3f\t%.3f–%.3f\n", group[0], quantile(cost, .5), quantile(cost, .25), quantile(cost, .75),
			quantile(throughput, .5), quantile(throughput, .25), quantile(throughput, .75))
	}
	return table.Flush()
}

// floor returns the floor with the same headers.
func (b *bench) floor(headers string) *series {
	for _, s := range b.series() {
		if s.row.Name == rows.Floor && s.headers == headers {
			return s
		}
	}
	panic("the floor is always measured")
}

func ratios(values, to []float64) []float64 {
	all := make([]float64, len(values))
	for i := range values {
		all[i] = values[i] / to[i]
	}
	return all
}

func sorted[T float64 | time.Duration](values []T) []T { return slices.Sorted(slices.Values(values)) }

func median(values []float64) float64 { return quantile(sorted(values), .5) }

// quantile returns a quantile of sorted values, interpolated.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// latency returns the latency that a share of the requests did not exceed.
func latency(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(all)))) - 1
	return sorted(all)[max(0, i)].Round(time.Microsecond)
}
