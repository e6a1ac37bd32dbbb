//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/report"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// TestDocument: the rows of the document are those of this program, and so are its settings.
func TestDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	current, err := report.DocumentRows(document, describedAll())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(current, document) {
		t.Error("docs/benchmarks.md describes other rows; run go run -C bench . -list -write ../docs")
	}
	measured := regexp.MustCompile("(?m)^\\| .* \\(`([a-z0-9-]+)`\\) \\|").FindAllSubmatch(document, -1)
	if len(measured) == 0 {
		t.Error("docs/benchmarks.md has no results")
	}
	for _, found := range measured {
		if !slices.ContainsFunc(allRows(), func(r rows.Row) bool { return r.Name == string(found[1]) }) {
			t.Errorf("docs/benchmarks.md has results of %s, which is no row", found[1])
		}
	}
	commands := regexp.MustCompile(`go run -C bench \.([^\n`+"`"+`]*)`).FindAllStringSubmatch(string(document), -1)
	if len(commands) < 3 {
		t.Errorf("%d commands of this program, want at least 3", len(commands))
	}
	for _, command := range commands {
		args := strings.Fields(strings.ReplaceAll(command[1], "'", ""))
		if _, err := parse(args, io.Discard); err != nil && !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: %v", command[0], err)
		}
	}
}

// TestRowsAreDescribed: a reader can judge each row, and select it.
func TestRowsAreDescribed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, r := range allRows() {
		if (i == 0) != (r.Name == rows.Floor) {
			t.Errorf("row %d is %s; the floor comes first", i, r.Name)
		}
		if seen[r.Name] || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(r.Name) {
			t.Errorf("%q is no name of its own", r.Name)
		}
		seen[r.Name] = true
		if r.Title == "" || r.Product == "" || r.Caches == "" || r.Logs == "" || r.Start == nil || strings.ContainsAny(r.Title+r.Caches+r.Logs, "|\n") {
			t.Errorf("%s: title, product, what is cached and logged, and start are required, without | and line breaks", r.Name)
		}
		if r.Credential != rows.None && r.Credential != rows.Bearer && r.Credential != rows.SignedIn {
			t.Errorf("%s: unknown credential %q", r.Name, r.Credential)
		}
	}
}
