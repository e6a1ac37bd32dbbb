//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// asProgram is the variable that makes the test binary this program.
const asProgram = "BENCH_TEST_AS_PROGRAM"

// TestMain starts this program, for a test or in one of its roles.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == rows.RoleCommand {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// TestRun measures so few requests that the figures mean nothing: every row of this project starts
// and answers each request. TestProofPeers has the rows that need installed or downloaded programs.
func TestRun(t *testing.T) {
	t.Parallel()
	own := slices.Concat(rows.All(), peers.Handwritten())
	var names []string
	for _, row := range own {
		names = append(names, row.Name)
	}
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-rows=" + strings.Join(names, "|")}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	browser, minimal, _ := strings.Cut(out.String(), "HEADERS: MINIMAL")
	for _, row := range own {
		if line := "\n" + row.Name + " "; row.Missing == nil && (!strings.Contains(browser, line) || !strings.Contains(minimal, line)) {
			t.Errorf("%s was not measured with both kinds of headers:\n%s", row.Name, out.String())
		}
	}
}

// TestSettings: a wrong setting is an error that names it.
func TestSettings(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-rounds=0":              "-rounds=0",
		"-headers=no":            "-headers=no: want browser",
		"-rows=(":                "-rows",
		"-rows=grpc-gatewy":      "-rows=grpc-gatewy: no row has such a name",
		"-with=envoy":            "want name=path",
		"-with=envoi=/bin/true":  "want name=path",
		"-with=envoy=/no/envoy":  "/no/envoy",
		"-sample=2":              "-sample=2: want a share",
		"-against=/no/gatehouse": "-against: exec: \"/no/gatehouse\"",
		"-write=/no/documents":   "-write: open /no/documents/benchmarks.md",
		"surplus":                "unexpected argument \"surplus\"",
		"role":                   "a role needs a name",
	} {
		if err := run(t.Context(), []string{args}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestSignal: a run that SIGTERM ends leaves neither servers nor files.
func TestSignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-gatehouse=/bin/true", "-rows=floor", "-rounds=100000")
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+dir)
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "started floor") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted run succeeds")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("after the end: %v %v, want nothing: files are removed when all servers have ended", left, err)
	}
}
