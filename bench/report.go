//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/report"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// result returns the report of the run. The servers still run.
func (b *bench) result(ctx context.Context) (*report.Report, error) {
	r := &report.Report{
		Commit: b.commit(ctx), Date: b.began, Took: time.Since(b.began), Command: b.command, Machine: machine(), Missing: b.missing,
		Turns: fmt.Sprintf("%d rounds, each with a turn of at most %d requests or %v for each row and kind of headers, over %d connections", b.rounds, b.requests, b.turn, b.Connections),
		Setup: fmt.Sprintf("Gatehouse: request log %s, metrics %s, %g%% of traces recorded.", onOff(!b.Quiet), onOff(b.Metrics), 100*b.Sample),
	}
	r.Machine.Loads = b.loads
	for _, s := range b.series() {
		if s.err != nil {
			r.Missing = append(r.Missing, report.Missing{Name: s.row.Name, Reason: fmt.Sprintf("given up with %s headers: %v", s.headers, s.err)})
			continue
		}
		memory, err := proc.Memory(s.target.Processes)
		if err != nil {
			return nil, err
		}
		r.Series = append(r.Series, report.Series{
			Row: described(s.row), Headers: s.headers, Against: s.against,
			CPU: report.Distribute(s.cost), Ratio: report.Ratios(s.cost, b.floor(s.headers).cost), Throughput: report.Distribute(s.throughput),
			Full: report.Quantiles(s.full), Half: report.Quantiles(s.half), Memory: memory, Logged: report.Distribute(s.logged).Median,
		})
		for _, version := range s.target.Versions {
			if !slices.Contains(r.Versions, version) {
				r.Versions = append(r.Versions, version)
			}
		}
	}
	for _, group := range b.groups {
		if len(group) == 2 && group[0].err == nil && group[1].err == nil {
			r.Against = append(r.Against, report.Comparison{
				Name: group[0].row.Name, Headers: group[0].headers,
				CPU: report.Ratios(group[0].cost, group[1].cost), Throughput: report.Ratios(group[0].throughput, group[1].throughput),
			})
		}
	}
	return r, nil
}

// write writes the generated parts of benchmarks.md, and the plot.
func (b *bench) write(r *report.Report) error {
	err := edit(b.documents, func(document []byte) ([]byte, error) { return r.Document(document, describedAll()) })
	if err != nil {
		return err
	}
	var plot bytes.Buffer
	if err := r.Plot(&plot); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.documents, "benchmarks.svg"), plot.Bytes(), 0o644)
}

// edit changes benchmarks.md in a folder.
func edit(folder string, change func([]byte) ([]byte, error)) error {
	path := filepath.Join(folder, "benchmarks.md")
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if document, err = change(document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, document, 0o644)
}

func described(r *rows.Row) report.Row {
	return report.Row{Name: r.Name, Title: r.Title, Product: string(r.Product), Credential: string(r.Credential), Caches: r.Caches, Logs: r.Logs}
}

func describedAll() (all []report.Row) {
	for _, row := range allRows() {
		all = append(all, described(&row))
	}
	return all
}

// floor returns the floor with the same headers.
func (b *bench) floor(headers string) *series {
	for _, s := range b.series() {
		if s.row.Name == rows.Floor && s.headers == headers {
			return s
		}
	}
	return &series{} // not reached: the floor is always measured
}

// commit returns what was measured.
func (b *bench) commit(ctx context.Context) string {
	if !b.built {
		return "unknown (" + filepath.Base(b.Gatehouse) + ")"
	}
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=10", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(commit))
	if status, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "-uno").Output(); err != nil || len(status) > 0 {
		name += " with changes"
	}
	return name
}

func machine() report.Machine {
	m := report.Machine{CPU: "unknown processor", Processors: runtime.NumCPU(), Kernel: "unknown", Go: runtime.Version()}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err == nil {
		m.Kernel = unix.ByteSliceToString(uname.Release[:])
	}
	if content, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(content)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// loadAverage returns the load average of the last minute.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(content), " ")
	return first
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
