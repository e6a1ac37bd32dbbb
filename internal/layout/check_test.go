package layout_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
)

const module = "github.com/gatehouse-dev/gatehouse"

// A graph is the packages of this module, by import path.
type graph map[string]*pkg

type pkg struct {
	path        string // import path
	doc         string // first sentence of the package comment
	imports     []string
	testImports []string
	uses        []use
}

// A use is one naming of something at one place.
type use struct {
	name string // "import/path.Name", or ".Name"
	at   string // file:line
	test bool
}

// A violation says which rule is broken, by what, and why it is there.
type violation struct{ rule, what, why string }

func (v violation) String() string { return fmt.Sprintf("%s: %s\n\t%s", v.rule, v.what, v.why) }

// check holds the graph to every rule.
func check(g graph) []violation {
	var found []violation
	for _, p := range sortedPackages(g) {
		for _, r := range importRules {
			if !bound(p.path, r.of, r.except) {
				continue
			}
			for _, chain := range g.forbidden(p, r) {
				found = append(found, violation{r.name, strings.Join(chain, " imports "), r.why})
			}
		}
		for _, r := range useRules {
			if !bound(p.path, r.of, r.except) {
				continue
			}
			for _, u := range p.uses {
				if r.never.MatchString(u.name) && (r.tests || !u.test) {
					found = append(found, violation{r.name, fmt.Sprintf("%s: %s uses %s", u.at, short(p.path), u.name), r.why})
				}
			}
		}
		found = append(found, checkShape(p)...)
	}
	return found
}

// checkShape holds what concerns a package by itself.
func checkShape(p *pkg) []violation {
	var found []violation
	joined := 0
	for _, layer := range layers {
		if slices.ContainsFunc(p.imports, func(i string) bool { return matches(i, layer) }) {
			joined++
		}
	}
	if joined == len(layers) && !matchesAny(p.path, layersExact) {
		found = append(found, violation{layersRule, short(p.path) + " imports " + strings.Join(layers, ", "), layersWhy})
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(p.path, module), "/") {
		if slices.Contains(drawers, segment) {
			found = append(found, violation{drawerRule, short(p.path), drawerWhy})
		}
	}
	if p.doc == "" && !matchesAny(p.path, commentExempt) {
		found = append(found, violation{commentRule, short(p.path) + " has no package comment", commentWhy})
	}
	return found
}

// forbidden returns a chain of imports to each forbidden package. What a
// package outside this module imports is its own affair.
func (g graph) forbidden(from *pkg, r importRule) (chains [][]string) {
	type step struct {
		path  string
		chain []string
	}
	first := slices.Clone(from.imports)
	if r.tests {
		first = append(first, from.testImports...)
	}
	seen := map[string]bool{from.path: true} // a package's own external tests import it
	var queue []step
	for _, i := range first {
		queue = append(queue, step{i, []string{short(from.path)}})
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if seen[s.path] {
			continue
		}
		seen[s.path] = true
		chain := append(slices.Clone(s.chain), short(s.path))
		if matchesAny(s.path, r.never) {
			chains = append(chains, chain)
			continue // what lies behind it is no news
		}
		if next := g[s.path]; next != nil && !r.direct {
			for _, i := range next.imports {
				queue = append(queue, step{i, chain})
			}
		}
	}
	return chains
}

func bound(importPath, of string, except []string) bool {
	return matches(importPath, of) && !matchesAny(importPath, except)
}

func matchesAny(importPath string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(importPath, p) })
}

func matches(importPath, pattern string) bool {
	if rest, ok := strings.CutPrefix(pattern, "./"); ok {
		pattern = path.Join(module, rest)
	}
	if root, ok := strings.CutSuffix(pattern, "/..."); ok {
		return importPath == root || strings.HasPrefix(importPath, root+"/")
	}
	return importPath == pattern
}

func short(importPath string) string {
	if importPath == module {
		return "the root"
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func sortedPackages(g graph) []*pkg {
	all := make([]*pkg, 0, len(g))
	for _, p := range g {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return all
}

// usesIn lists what a file names. Names of packages are resolved through the
// file's imports, so that neither a renamed import nor a variable of the same
// name misleads.
func usesIn(name string, source []byte) ([]use, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, 0)
	if err != nil {
		return nil, err
	}
	var uses []use
	add := func(pos token.Pos, what string) {
		p := files.Position(pos)
		uses = append(uses, use{what, fmt.Sprintf("%s:%d", p.Filename, p.Line), strings.HasSuffix(name, "_test.go")})
	}
	imported := map[string]string{}
	var dotted []string
	for _, i := range file.Imports {
		importPath := strings.Trim(i.Path.Value, `"`)
		switch {
		case i.Name == nil:
			imported[path.Base(importPath)] = importPath
		case i.Name.Name == ".":
			dotted = append(dotted, importPath)
		default:
			imported[i.Name.Name] = importPath
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			prefix := ""
			if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil { // Obj: declared in this file
				prefix = imported[x.Name]
			}
			add(n.Pos(), prefix+"."+n.Sel.Name)
		case *ast.FuncDecl:
			if n.Recv != nil {
				add(n.Pos(), "."+n.Name.Name)
			}
		case *ast.Ident:
			for _, d := range dotted { // any name may be one of these
				if n.Obj == nil {
					add(n.Pos(), d+"."+n.Name)
				}
			}
		}
		return true
	})
	return uses, nil
}
