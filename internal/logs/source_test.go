package logs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// document describes the keys and the messages, from the directory of this package.
const document = "../../docs/logs.md"

// firsts returns the first code span of each row of the table under a heading of the document.
func firsts(t *testing.T, heading string) []string {
	t.Helper()
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(content), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var all []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(section, -1) {
		all = append(all, row[1])
	}
	return all
}

// A call is a call of the source that logs something or makes an attribute.
type call struct {
	at      token.Position
	level   string // "" for attributes, With and levels that are known at run time only
	message string
	keys    []string
	banned  string
}

// calls returns those in the source of this module that is no test.
func calls(t *testing.T) []call {
	t.Helper()
	var all []call
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			switch rel, _ := filepath.Rel(root, path); {
			case rel == ".":
				return nil
			case strings.HasPrefix(name, "."), name == "node_modules", name == "testdata",
				rel == "e2e", rel == "bench", rel == "tools", rel == "gen", rel == "internal/test":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if c, ok := logCall(n); ok {
					c.at = files.Position(n.Pos())
					all = append(all, c)
				}
			case *ast.CompositeLit:
				if c, ok := literal(n); ok {
					c.at = files.Position(n.Pos())
					all = append(all, c)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("only %d calls found: this test no longer recognises them", len(all))
	}
	return all
}

var (
	levels = map[string]string{"Debug": "DEBUG", "Info": "INFO", "Warn": "WARN", "Error": "ERROR"}
	// a logger is known by its name.
	loggerName = regexp.MustCompile(`(?i)^(logger|log|l)$`)
	attrMakers = []string{"String", "Int", "Int64", "Uint64", "Float64", "Bool", "Any", "Time", "Group"}
)

// logCall returns what a call logs, if it is one of a *slog.Logger, or of a function that makes an
// attribute.
func logCall(n *ast.CallExpr) (c call, ok bool) {
	f, isSelector := n.Fun.(*ast.SelectorExpr)
	if !isSelector {
		return c, false
	}
	switch name := last(f.X); {
	case name == "slog" && f.Sel.Name == "Duration":
		c.banned = "slog.Duration writes nanoseconds: use logs.Seconds"
		return c, true
	case name == "slog" && slices.Contains(attrMakers, f.Sel.Name), name == "logs" && f.Sel.Name == "Seconds":
		c.addKey(n.Args[0])
		return c, true
	case !loggerName.MatchString(name):
		return c, false
	}
	args := n.Args
	level, withContext := strings.CutSuffix(f.Sel.Name, "Context")
	switch {
	case f.Sel.Name == "With":
		c.addPairs(args)
		return c, true
	case levels[level] != "" && (withContext || len(args) > 0):
		c.level = levels[level]
		if withContext {
			args = args[1:]
		}
	case (f.Sel.Name == "Log" || f.Sel.Name == "LogAttrs") && len(args) >= 3:
		if s, isSelector := args[1].(*ast.SelectorExpr); isSelector && last(s.X) == "slog" {
			c.level = levels[strings.TrimPrefix(s.Sel.Name, "Level")]
		}
		args = args[2:]
	default:
		return c, false
	}
	c.message = text(args[0])
	if c.message == "" {
		c.message = "?"
	}
	c.addPairs(args[1:])
	return c, true
}

// literal returns the messages of an outage.Config, and the keys of arguments that are collected in a
// slice.
func literal(n *ast.CompositeLit) (c call, ok bool) {
	switch kind := n.Type.(type) {
	case *ast.SelectorExpr:
		if last(kind.X) != "outage" || kind.Sel.Name != "Config" {
			return c, false
		}
		for _, e := range n.Elts {
			if field, isField := e.(*ast.KeyValueExpr); isField && last(field.Key) == "Name" {
				c.level, c.message = "WARN", text(field.Value)+" unavailable"
				return c, true
			}
		}
	}
	return c, false
}

func (c *call) addPairs(args []ast.Expr) {
	for i := 0; i < len(args); i++ {
		if isAttr(args[i]) {
			continue
		}
		if text(args[i]) == "" {
			continue // attributes in a variable, seen where they are made
		}
		c.addKey(args[i])
		i++
	}
}

func (c *call) addKey(e ast.Expr) {
	if key := text(e); key != "" {
		c.keys = append(c.keys, key)
	}
}

func isAttr(e ast.Expr) bool {
	n, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := n.Fun.(*ast.SelectorExpr)
	return ok && (last(f.X) == "slog" || last(f.X) == "logs")
}

// last returns the last name of an expression such as h.cfg.Logger.
func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return last(e.Fun)
	}
	return ""
}

// text returns the value of a string literal, "" for anything else.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return s
	case *ast.BinaryExpr:
		if x, y := text(e.X), text(e.Y); x != "" {
			return x + y
		}
	}
	return ""
}

func TestList(t *testing.T) {
	keys := map[string]int{}
	for _, c := range calls(t) {
		for _, k := range c.keys {
			keys[k]++
		}
		if c.banned != "" || c.level == "WARN" || c.level == "ERROR" || c.message == "?" {
			fmt.Println(c.at, c.level, c.message, c.banned)
		}
	}
	fmt.Println(keys)
}
