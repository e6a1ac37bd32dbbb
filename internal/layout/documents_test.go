package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/doctest"
)

// constants evaluates constant expressions of strings in a package.
type constants map[string]string

// add adds the string constants of a folder, with a prefix such as "route.".
func (c constants) add(t *testing.T, dir, prefix string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no Go files (%v)", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, value := range spec.Values {
					if text, ok := c.eval(value); ok {
						c[prefix+spec.Names[i].Name] = text
					}
				}
			}
			return true
		})
	}
	return files
}

func (c constants) eval(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := c[e.Name]
		return text, ok
	case *ast.SelectorExpr:
		name, _ := e.X.(*ast.Ident)
		if name == nil {
			return "", false
		}
		text, ok := c[name.Name+"."+e.Sel.Name]
		return text, ok
	case *ast.BinaryExpr:
		x, okX := c.eval(e.X)
		y, okY := c.eval(e.Y)
		return x + y, okX && okY && e.Op == token.ADD
	}
	return "", false
}

// function returns the body of a function of the files.
func function(t *testing.T, files []*ast.File, name string) *ast.BlockStmt {
	t.Helper()
	for _, file := range files {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == name {
				return f.Body
			}
		}
	}
	t.Fatalf("there is no function %s", name)
	return nil
}

// endpoints returns the methods of each path in a table of docs/endpoints.md with the columns method
// and path.
func endpoints(t *testing.T, heading string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, row := range doctest.Rows(t, "../..", "endpoints.md", heading) {
		if paths := doctest.Code(row[1]); len(paths) == 1 && strings.HasPrefix(paths[0], "/") {
			all[strings.TrimSuffix(paths[0], "…")] = row[0]
		}
	}
	return all
}

func sameEndpoints(t *testing.T, documented, served map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(served)) {
		if documented[path] != served[path] {
			t.Errorf("docs/endpoints.md has %q for %s, want %q", documented[path], path, served[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := served[path]; !ok {
			t.Errorf("docs/endpoints.md has %s, which is not served", path)
		}
	}
}

var standard = constants{
	"http.MethodGet": http.MethodGet, "http.MethodPost": http.MethodPost, "http.MethodPut": http.MethodPut,
	"http.MethodPatch": http.MethodPatch, "http.MethodDelete": http.MethodDelete, "oidc.DiscoveryEndpoint": "/.well-known/openid-configuration",
}

// TestEndpoints holds docs/endpoints.md to the routes in the code, both ways.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	t.Run("bff", func(t *testing.T) {
		t.Parallel()
		known := maps.Clone(standard)
		known.add(t, "bff/internal/route", "route.")
		known.add(t, "bff/web", "web.")
		files := known.add(t, "bff", "")
		served := map[string]string{}
		ast.Inspect(function(t, files, "authRoutes"), func(n ast.Node) bool {
			pair, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			methods, ok := pair.Value.(*ast.CompositeLit)
			path, isPath := known.eval(pair.Key)
			if !ok || !isPath {
				t.Errorf("a route of authRoutes is not understood: %v", pair.Key)
				return false
			}
			var allowed []string
			for _, m := range methods.Elts {
				method, _ := known.eval(m.(*ast.KeyValueExpr).Key)
				allowed = append(allowed, method)
			}
			if strings.HasSuffix(path, "/") {
				path += "{handle}"
			}
			served[path] = strings.Join(allowed, ", ")
			return false
		})
		for path := range pathsIn(known, function(t, files, "route")) {
			switch path {
			case "/api/auth", "/api/", "/": // patterns of metrics, and prefixes of others
			case "/api":
				served["/api/"] = "any"
			default:
				served[path] = "GET"
			}
		}
		documented := endpoints(t, "## bff")
		sameEndpoints(t, documented, served)
	})
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		known := maps.Clone(standard)
		served := map[string]string{"/api/": "as in the `.proto`", "/api/{package.Service}/{Method}": "POST, GET"}
		for _, file := range known.add(t, "gateway", "") {
			for path := range pathsIn(known, file) {
				served[path] = "GET"
			}
		}
		sameEndpoints(t, endpoints(t, "## Gateway"), served)
	})
	t.Run("operator", func(t *testing.T) {
		t.Parallel()
		proto, err := os.ReadFile("../../proto/gatehouse/sessionadmin/v1/session_admin.proto")
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]string{"/api/admin/sessions": ""}
		for _, found := range regexp.MustCompile(`(get|post|delete): "([^"]+)"`).FindAllStringSubmatch(string(proto), -1) {
			served[strings.Replace(found[2], "{name=sessions/*}", "sessions/{session}", 1)] = strings.ToUpper(found[1])
		}
		documented := endpoints(t, "## Server")
		sameEndpoints(t, documented, served)
	})
	t.Run("admin port", func(t *testing.T) {
		t.Parallel()
		known := maps.Clone(standard)
		files := known.add(t, "internal/admin", "")
		served := patternsIn(t, known, function(t, files, "routes"), "add", "Handle", "HandleFunc")
		for path := range served {
			if strings.HasPrefix(path, "/debug/pprof/") && path != "/debug/pprof/" {
				delete(served, path)
			}
		}
		sameEndpoints(t, endpoints(t, "## Admin port"), served)
	})
	t.Run("development provider", func(t *testing.T) {
		t.Parallel()
		known := maps.Clone(standard)
		files := known.add(t, "internal/devidp", "")
		served := patternsIn(t, known, function(t, files, "routes"), "protocol", "Handle", "HandleFunc")
		sameEndpoints(t, endpoints(t, "## Development provider"), served)
	})
}

// pathsIn returns the paths among the strings of a piece of code.
func pathsIn(known constants, code ast.Node) map[string]bool {
	paths := map[string]bool{}
	ast.Inspect(code, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		if text, ok := known.eval(e); ok && regexp.MustCompile(`^/[a-z.][^ *]*$`).MatchString(text) {
			paths[text] = true
		}
		return true
	})
	return paths
}

// patternsIn returns the patterns of http.ServeMux that a piece of code registers by the functions,
// as methods by path.
func patternsIn(t *testing.T, known constants, code ast.Node, functions ...string) map[string]string {
	t.Helper()
	patterns := map[string][]string{}
	ast.Inspect(code, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		if !slices.Contains(functions, name) {
			return true
		}
		pattern, ok := known.eval(call.Args[0])
		method, path, found := strings.Cut(pattern, " ")
		switch {
		case !ok || pattern == "/": // a variable of a loop, and what is not found
			return true
		case !found:
			method, path = "any", pattern
		}
		path = strings.TrimSuffix(path, "{$}")
		patterns[path] = append(patterns[path], method)
		return true
	})
	served := map[string]string{}
	for path, methods := range patterns {
		served[path] = strings.Join(methods, ", ")
	}
	return served
}

// TestPublicPackages holds docs/go-api.md to the public packages of this module. Those of the sample
// application, and of the service that a copy adds, are not for other modules.
func TestPublicPackages(t *testing.T) {
	t.Parallel()
	private := regexp.MustCompile(`(^|/)internal(/|$)|^(cmd|bench|e2e|gen)(/|$)`)
	var public []string
	for name := range load(t) {
		name, ours := strings.CutPrefix(name, module)
		name = strings.TrimPrefix(name, "/")
		switch {
		case !ours:
		case name == "":
			public = append(public, "gatehouse")
		case !private.MatchString(name) || strings.HasPrefix(name, "gen/gatehouse/"):
			public = append(public, name)
		}
	}
	var documented []string
	for _, row := range doctest.Rows(t, "../..", "go-api.md", "# Go API") {
		documented = append(documented, doctest.Code(row[0])...)
	}
	slices.Sort(public)
	slices.Sort(documented)
	if !slices.Equal(documented, public) {
		t.Errorf("docs/go-api.md has the packages\n%s\nwant\n%s", strings.Join(documented, "\n"), strings.Join(public, "\n"))
	}
}
