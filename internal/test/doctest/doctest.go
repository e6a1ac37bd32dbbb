// Package doctest reads the tables of documents, so that tests can hold them to the code.
package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Rows returns the rows of the tables below a heading of a document in docs, without their headers.
// Root is the directory of the module, seen from the test. The section ends at the next heading of
// the same level.
func Rows(t testing.TB, root, document, heading string) (rows [][]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut("\n"+string(content), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/%s has no heading %q", document, heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	text, _, _ = strings.Cut(text, "\n"+level+" ")
	first := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			first = true
		case first:
			first = false
		case !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("docs/%s has no table below %q", document, heading)
	}
	return rows
}

var inline = regexp.MustCompile("`([^`]+)`")

// Code returns the pieces of inline code in a cell.
func Code(cell string) (code []string) {
	for _, found := range inline.FindAllStringSubmatch(cell, -1) {
		code = append(code, found[1])
	}
	return code
}
