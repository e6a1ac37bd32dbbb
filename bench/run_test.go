//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/peers"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// TestMain starts this program in its roles.
func TestMain(m *testing.M) {
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
		"-rounds=0":   "rounds",
		"-headers=no": "-headers=no: want browser",
		"-rows=(":     "-rows",
		"-with=envoy": "name=path",
		"surplus":     "no arguments",
		"role":        "a role needs a name",
	} {
		if err := run(t.Context(), []string{args}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
