package gateway

import (
	"fmt"
	"strings"
)

// placeholder stands for a wildcard in the path that finds a route at start.
// No literal segment is called so.
const placeholder = "-placeholder-"

// template is a path template of google.api.http:
//
//	/api/things/{thing.id}:archive    /api/files/{path=**}
type template struct {
	source string
	// canonical is how grpc-gateway prints the compiled pattern: every variable
	// with its segments, {id} as {id=*}.
	canonical string
	// shape has the variables' segments in place of the variables: two
	// templates of one shape match the same paths.
	shape string
	// variables are the field paths that the path fills, as proto names.
	variables []string
}

// parseTemplate reads a template that protoc-gen-grpc-gateway has accepted; it
// does not repeat that plugin's checks of literals and names.
func parseTemplate(source string) (template, error) {
	t := template{source: source}
	var canonical, shape strings.Builder
	for rest := source; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			canonical.WriteString(rest)
			shape.WriteString(rest)
			break
		}
		length := strings.IndexByte(rest[open:], '}')
		if length < 0 {
			return t, fmt.Errorf("path template %q: a variable is not closed", source)
		}
		name, segments, ok := strings.Cut(rest[open+1:open+length], "=")
		if !ok {
			segments = "*"
		}
		canonical.WriteString(rest[:open] + "{" + name + "=" + segments + "}")
		shape.WriteString(rest[:open] + segments)
		t.variables = append(t.variables, name)
		rest = rest[open+length+1:]
	}
	t.canonical, t.shape = canonical.String(), shape.String()
	return t, nil
}

// under reports whether every path the template matches is prefix or lies
// below it.
func (t template) under(prefix string) bool {
	rest, ok := strings.CutPrefix(t.shape, prefix)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == ':')
}

// example is a path that the template matches.
func (t template) example() string {
	return strings.ReplaceAll(strings.ReplaceAll(t.shape, "**", "*"), "*", placeholder)
}
