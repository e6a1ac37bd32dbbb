package audit_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/audit"
)

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// constants returns the values of the constants of a type in this package.
func constants(t *testing.T, typeName string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == typeName {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	slices.Sort(values)
	return values
}

// The document has every action, cause and field of the package, and no other.
func TestDocumentedSchema(t *testing.T) {
	t.Parallel()
	_, tables, _ := strings.Cut(document(t), "## Fields\n")
	fields, rest, _ := strings.Cut(tables, "## Actions and causes\n")
	actions, _, _ := strings.Cut(rest, "## Examples\n")
	var documentedFields, documentedActions, documentedCauses []string
	code := regexp.MustCompile("`([a-z_]+)`")
	for line := range strings.Lines(fields) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
				documentedFields = append(documentedFields, m[1])
			}
		}
	}
	for line := range strings.Lines(actions) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		documentedActions = append(documentedActions, strings.Trim(cells[1], " `"))
		if cause := strings.Trim(cells[2], " `"); cause != "" {
			documentedCauses = append(documentedCauses, cause)
		}
	}
	var declaredFields []string
	for field := range reflect.TypeFor[audit.Event]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		declaredFields = append(declaredFields, name)
	}
	slices.Sort(declaredFields)
	for _, c := range []struct {
		what           string
		documented, is []string
	}{
		{"fields", documentedFields, declaredFields},
		{"actions", documentedActions, constants(t, "Action")},
		{"causes", documentedCauses, constants(t, "Cause")},
	} {
		slices.Sort(c.documented)
		if got := slices.Compact(c.documented); !slices.Equal(got, c.is) {
			t.Errorf("%s in docs/audit.md are %q, want %q", c.what, got, c.is)
		}
	}
}

// Every action has an example that is written as the document shows it.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(document(t), "```json\n")
	examples, _, _ := strings.Cut(text, "```")
	var actions []string
	for line := range strings.Lines(examples) {
		var e audit.Event
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var out strings.Builder
		if err := audit.To(&out)(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if out.String() != line {
			t.Errorf("example is\n%swant\n%s", line, out.String())
		}
		actions = append(actions, string(e.Action))
	}
	slices.Sort(actions)
	if want := constants(t, "Action"); !slices.Equal(slices.Compact(actions), want) {
		t.Errorf("examples are of %q, want %q", actions, want)
	}
}
