package refresh

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedTable holds docs/login.md to the table here.
func TestDocumentedTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/login.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	code := regexp.MustCompile("`([a-z_]+)`")
	for _, class := range classNames[1:] {
		_, row, ok := strings.Cut(string(page), "\n| "+class+" |")
		if !ok {
			t.Fatalf("no row for class %s", class)
		}
		codes, _, _ := strings.Cut(row, "|")
		for _, match := range code.FindAllStringSubmatch(codes, -1) {
			documented[match[1]] = class
		}
	}
	for code, class := range byError {
		if documented[code] != class.String() {
			t.Errorf("%s is documented as %q, want %q", code, documented[code], class)
		}
	}
	for code, class := range documented {
		if byError[code].String() != class {
			t.Errorf("%s is documented as %q, and of class %q", code, class, byError[code])
		}
	}
}
