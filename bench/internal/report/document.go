package report

import (
	"bytes"
	"fmt"
	"strings"
)

// The generated parts of the document.
const (
	partResults = "results"
	partRows    = "rows"
)

// Document returns the document with new results and rows.
func (r *Report) Document(old []byte, rows []Row) ([]byte, error) {
	document, err := replace(old, partResults, r.results())
	if err != nil {
		return nil, err
	}
	return DocumentRows(document, rows)
}

// DocumentRows returns the document with a new description of the rows alone.
func DocumentRows(old []byte, rows []Row) ([]byte, error) {
	var b strings.Builder
	b.WriteString("| row | what it is | credential | remembered between requests | logged for a request |\n|---|---|---|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", row.Name, row.label(), row.Credential, row.Caches, row.Logs)
	}
	return replace(old, partRows, b.String())
}

// replace replaces the text between the markers of a part.
func replace(document []byte, part, text string) ([]byte, error) {
	begin, end := "<!-- generated: "+part+" -->\n", "<!-- end of "+part+" -->\n"
	before, rest, ok := bytes.Cut(document, []byte(begin))
	_, after, found := bytes.Cut(rest, []byte(end))
	if !ok || !found {
		return nil, fmt.Errorf("the document has no lines %q and %q", begin, end)
	}
	return bytes.Join([][]byte{before, []byte(begin), []byte("\n" + text + "\n"), []byte(end), after}, nil), nil
}

// results returns the conditions of a run, a table for each kind of headers, and what is missing.
func (r *Report) results() string {
	var b strings.Builder
	for _, line := range r.conditions() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- Command: `%s`\n", r.Command)
	for _, kind := range r.headers() {
		fmt.Fprintf(&b, "\n### %s headers\n\n", strings.ToUpper(kind[:1])+kind[1:])
		b.WriteString("| row | CPU µs | × floor: median | quartiles | least–most | requests/s | p50, p99 ms | p50, p99 ms at half | MiB | log bytes |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range r.Series {
			if s.Headers == kind && !s.Against {
				cells := s.cells()
				if s.Product == "Gatehouse" {
					cells[1] = "**" + cells[1] + "**"
				}
				fmt.Fprintf(&b, "| %s (`%s`) | %s |\n", s.label(), s.Name, strings.Join(cells, " | "))
			}
		}
	}
	if len(r.Missing) > 0 {
		b.WriteString("\nNot measured:\n\n")
		for _, m := range r.Missing {
			fmt.Fprintf(&b, "- `%s`: %s\n", m.Name, m.Reason)
		}
	}
	return b.String()
}
