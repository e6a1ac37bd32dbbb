// Package proof collects the results of the long tests that "make proof" runs. Such a test is in a
// file with the build tag proof, is named TestProof…, and reports one section.
package proof

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// DirEnv names the variable with the directory that sections are written to. Without it they go to
// the test's log.
const DirEnv = "GATEHOUSE_PROOF_DIR"

// A Section is one part of docs/proof.md: a heading, a sentence on what was done, and a table.
type Section struct {
	// Title is the heading. Sections are sorted by it.
	Title string
	// Text says what was done, with figures for load and duration.
	Text string
	// Columns and Rows are the table. Every row has as many cells as there are columns.
	Columns []string
	Rows    [][]string
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// Report writes a section. It fails the test if a row does not fit the columns.
func Report(t testing.TB, s Section) {
	t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n\n%s\n\n", s.Title, s.Text)
	line := func(cells []string) {
		if len(cells) != len(s.Columns) {
			t.Errorf("proof: %s: row %q has %d cells, want %d", s.Title, cells, len(cells), len(s.Columns))
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	if len(s.Columns) > 0 {
		line(s.Columns)
		fmt.Fprintf(&out, "|%s\n", strings.Repeat("---|", len(s.Columns)))
		for _, row := range s.Rows {
			line(row)
		}
		out.WriteByte('\n')
	}
	t.Log(out.String())
	dir := os.Getenv(DirEnv)
	if dir == "" {
		return
	}
	name := notInName.ReplaceAllString(strings.ToLower(s.Title), "-") + ".md"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(out.String()), 0o644); err != nil {
		t.Errorf("proof: write section: %v", err)
	}
}
