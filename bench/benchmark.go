//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/report"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// A series is what is measured of a row with one kind of headers.
type series struct {
	row     *rows.Row
	against bool // of the other gatehouse
	headers string
	target  *rows.Target
	load    load.Target

	cost       []float64       // processor time of a request in each round, µs
	throughput []float64       // requests/s in each round
	logged     []float64       // bytes of log of a request in each round
	full, half []time.Duration // latencies at the highest throughput, and at half of it
	err        error           // why the row was given up
}

func (s *series) String() string {
	name := s.row.Name
	if s.against {
		name += " (against)"
	}
	return name + ", " + s.headers + " headers"
}

// benchmark starts and measures the rows, and reports.
func benchmark(ctx context.Context, s settings, out, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // a row may run as another user
		return err
	}
	if err := prepare(ctx, &s, dir); err != nil {
		return err
	}
	b := &bench{settings: s, dir: dir, progress: progress}
	defer b.wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	result, err := b.result(ctx)
	if err != nil {
		return err
	}
	if err := result.Text(out); err != nil {
		return err
	}
	if s.documents != "" {
		if err := b.write(result); err != nil {
			return err
		}
	}
	return errors.Join(b.failed...)
}

// prepare finds the programs, and builds gatehouse unless there is a setting for it.
func prepare(ctx context.Context, s *settings, dir string) (err error) {
	if s.Self, err = os.Executable(); err != nil {
		return err
	}
	for name, path := range map[string]*string{"gatehouse": &s.Gatehouse, "against": &s.against} {
		if *path != "" {
			if *path, err = executable(*path); err != nil {
				return fmt.Errorf("-%s: %w", name, err)
			}
		}
	}
	if s.documents != "" { // before the run, not after it
		if err := edit(s.documents, func(old []byte) ([]byte, error) {
			_, err := new(report.Report).Document(old, nil)
			return old, err
		}); err != nil {
			return fmt.Errorf("-write: %w", err)
		}
	}
	if s.Gatehouse != "" {
		return nil
	}
	s.Gatehouse, s.built = filepath.Join(dir, "gatehouse"), true
	s.Say("building gatehouse")
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/gatehouse-dev/gatehouse").Output()
	if err != nil {
		return fmt.Errorf("find the module of gatehouse: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", s.Gatehouse, "./cmd/gatehouse")
	build.Dir, build.Stderr = strings.TrimSpace(string(root)), os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build gatehouse: %w", err)
	}
	return nil
}

// A bench is one run.
type bench struct {
	settings
	dir      string
	progress io.Writer
	envs     []*rows.Env
	groups   [][]*series // what is measured one after the other
	missing  []report.Missing
	failed   []error // of rows that were given up
	began    time.Time
	loads    [2]string // load averages at the begin and the end
}

// wait returns when all processes have ended. Their context ends them.
func (b *bench) wait() {
	for _, e := range b.envs {
		e.Wait()
	}
}

// selected returns the rows that were asked for, and can be had.
func (b *bench) selected() (all []rows.Row) {
	for _, row := range allRows() {
		if row.Name != rows.Floor && !b.only.MatchString(row.Name) {
			continue
		}
		if row.Missing != nil {
			if reason := row.Missing(&rows.Env{Settings: b.Settings}); reason != "" {
				b.skip(row.Name, reason)
				continue
			}
		}
		all = append(all, row)
	}
	return all
}

// binaries returns those of gatehouse that a row is measured with.
func (b *bench) binaries(row rows.Row) []string {
	if row.Product == rows.Gatehouse && b.against != "" {
		return []string{b.Gatehouse, b.against}
	}
	return []string{b.Gatehouse}
}

// start starts all rows. One that does not start is given up.
func (b *bench) start(ctx context.Context) error {
	selected := b.selected()
	number := 0
	for _, row := range selected {
		number += len(b.binaries(row)) * len(b.headers)
	}
	turns := b.rounds + 1 + 2*b.latencyRounds() // those at half the throughput are twice as long
	fmt.Fprintf(b.progress, "%d rows, with kinds of headers and binaries %d series: at most %v after the start of their servers\n",
		len(selected), number, (time.Duration(number*turns) * b.turn).Round(time.Second))
	for _, row := range selected {
		measured := make([][]*series, len(b.headers))
		for i, binary := range b.binaries(row) {
			began := time.Now()
			all, err := b.startRow(ctx, row, binary, i > 0)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				if row.Name == rows.Floor {
					return fmt.Errorf("%s: %w", row.Name, err)
				}
				b.failed = append(b.failed, fmt.Errorf("%s: %w", row.Name, err))
				b.skip(row.Name, "failed: "+err.Error())
				continue
			}
			fmt.Fprintf(b.progress, "started %s in %v\n", row.Name, time.Since(began).Round(time.Millisecond))
			for h, one := range all {
				measured[h] = append(measured[h], one)
			}
		}
		b.groups = append(b.groups, measured...)
	}
	return nil
}

// skip leaves a row out.
func (b *bench) skip(name, reason string) {
	b.missing = append(b.missing, report.Missing{Name: name, Reason: reason})
	fmt.Fprintf(b.progress, "%s: not measured: %s\n", name, reason)
}

// startRow starts a row, and returns a series for each kind of headers.
func (b *bench) startRow(ctx context.Context, row rows.Row, binary string, against bool) ([]*series, error) {
	dir, err := os.MkdirTemp(b.dir, row.Name+"-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	env := &rows.Env{Settings: b.Settings, Dir: dir}
	env.Gatehouse = binary
	b.envs = append(b.envs, env)
	target, err := row.Start(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := row.Check(ctx, target); err != nil {
		return nil, err
	}
	var all []*series
	for _, headers := range b.headers {
		var lines []string
		if headers == browserHeaders {
			lines = load.BrowserHeaders
		}
		requests, err := target.Requests(b.Connections, lines...)
		if err != nil {
			return nil, err
		}
		all = append(all, &series{
			row: &row, against: against, headers: headers, target: target,
			load: load.Target{Address: target.Address, Requests: requests},
		})
	}
	return all, nil
}

// measure runs the turns of all rows. Within a round their order is random, so that no row has
// always the same neighbor.
func (b *bench) measure(ctx context.Context) error {
	b.began, b.loads[0] = time.Now(), loadAverage()
	for round := -1; round < b.rounds; round++ { // the first round warms up
		if err := b.round(ctx, round, (*series).saturate); err != nil {
			return err
		}
		fmt.Fprintf(b.progress, "round %d of %d, after %v\n", round+1, b.rounds, time.Since(b.began).Round(time.Second))
	}
	for round := range b.latencyRounds() {
		if err := b.round(ctx, round, (*series).pace); err != nil {
			return err
		}
		fmt.Fprintf(b.progress, "round %d of %d at half the throughput, after %v\n", round+1, b.latencyRounds(), time.Since(b.began).Round(time.Second))
	}
	b.loads[1] = loadAverage()
	return nil
}

// latencyRounds returns the number of rounds at half the throughput.
func (b *bench) latencyRounds() int {
	if !b.latency {
		return 0
	}
	return (b.rounds + 2) / 3
}

// round has a turn of each series. Those of a group follow each other, in the reverse order in
// every other round.
func (b *bench) round(ctx context.Context, round int, turn func(*series, context.Context, settings, int) error) error {
	for _, i := range rand.Perm(len(b.groups)) {
		group := b.groups[i]
		for j := range group {
			s := group[j]
			if round%2 != 0 {
				s = group[len(group)-1-j]
			}
			if s.err != nil {
				continue
			}
			if s.err = turn(s, ctx, b.settings, round); s.err == nil {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if s.row.Name == rows.Floor {
				return fmt.Errorf("%s: %w", s, s.err)
			}
			b.failed = append(b.failed, fmt.Errorf("%s: %w", s, s.err))
			fmt.Fprintf(b.progress, "%s: given up: %v\n", s, s.err)
		}
	}
	return nil
}

// saturate has a turn at the highest throughput.
func (s *series) saturate(ctx context.Context, set settings, round int) error {
	before, err := proc.Used(s.target.Processes)
	if err != nil {
		return err
	}
	result, err := load.Saturate(ctx, s.load, set.requests, set.turn)
	if err != nil {
		return err
	}
	after, err := proc.Used(s.target.Processes)
	if err != nil || round < 0 {
		return err
	}
	used, n := after.Sub(before), float64(len(result.Latencies))
	s.cost = append(s.cost, float64(used.CPU.Nanoseconds())/1e3/n)
	s.logged = append(s.logged, float64(used.Logged)/n)
	s.throughput = append(s.throughput, n/result.Elapsed.Seconds())
	s.full = append(s.full, result.Latencies...)
	return nil
}

// pace has a turn at half the highest throughput.
func (s *series) pace(ctx context.Context, set settings, _ int) error {
	result, err := load.Constant(ctx, s.load, report.Distribute(s.throughput).Median/2, 2*set.turn)
	s.half = append(s.half, result.Latencies...)
	return err
}

// series returns all series in the order of the report.
func (b *bench) series() (all []*series) {
	for _, group := range b.groups {
		all = append(all, group...)
	}
	return all
}
