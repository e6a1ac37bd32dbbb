package route

import (
	"fmt"
	"strings"
)

// placeholder stands for a wildcard in the path that finds a route at start.
// No literal segment has this name.
const placeholder = "-placeholder-"

// A Template is a path template of google.api.http:
//
//	/api/things/{thing.id}:archive    /api/files/{path=**}
type Template struct {
	source string
	// Canonical is how grpc-gateway prints the compiled pattern: every variable
	// with its segments, {id} as {id=*}.
	Canonical string
	// Shape has the variables' segments in place of the variables: two
	// templates of one shape match the same paths.
	Shape string
	// Variables are the field paths that the path fills, as proto names.
	Variables []string
}

// parseTemplate reads a template that protoc-gen-grpc-gateway has accepted; it
// does not repeat that plugin's checks of literals and names.
func parseTemplate(source string) (Template, error) {
	t := Template{source: source}
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
		t.Variables = append(t.Variables, name)
		rest = rest[open+length+1:]
	}
	t.Canonical, t.Shape = canonical.String(), shape.String()
	return t, nil
}

// Under reports whether every path that the template matches is prefix or lies
// below it.
func (t Template) Under(prefix string) bool {
	rest, ok := strings.CutPrefix(t.Shape, prefix)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == ':')
}

// Example returns a path that the template matches.
func (t Template) Example() string {
	return strings.ReplaceAll(strings.ReplaceAll(t.Shape, "**", "*"), "*", placeholder)
}
