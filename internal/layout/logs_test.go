package layout_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// document describes the keys and the messages, from the directory of this package.
const document = "../../docs/logs.md"

// rows returns the cells of the tables under a heading of the document, without those of the heads.
func rows(t *testing.T, heading string) [][]string {
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
	var all [][]string
	for line := range strings.Lines(section) {
		if cells, isRow := strings.CutPrefix(strings.TrimSpace(line), "| `"); isRow {
			all = append(all, strings.Split(strings.TrimSuffix("`"+cells, " |"), " | "))
		}
	}
	return all
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// fields returns the keys of the document, and their types.
func fields(t *testing.T) map[string]string {
	t.Helper()
	types := map[string]string{}
	for _, row := range rows(t, "Fields") {
		for _, key := range codeSpan.FindAllStringSubmatch(row[0], -1) {
			types[key[1]] = row[1]
		}
	}
	return types
}

// A call is a call of the source that logs something or makes an attribute.
type call struct {
	at      token.Position
	logs    bool   // it writes a line
	level   string // "" if it is known at run time only
	message string // "" if it is known at run time only
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
			if c, ok := collected(n); ok {
				c.at = files.Position(n.Pos())
				all = append(all, c)
			}
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
	if last(n.Fun) == "await" && len(n.Args) > 1 {
		return outageOf(n.Args[1])
	}
	f, isSelector := n.Fun.(*ast.SelectorExpr)
	if !isSelector {
		return c, false
	}
	switch name := last(f.X); {
	case f.Sel.Name == "monitor" && len(n.Args) == 1:
		return outageOf(n.Args[0])
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
	c.logs, c.message = true, text(args[0])
	if last(args[0]) == "Request" { // logs.Request
		c.message = logs.Request
	}
	c.addPairs(args[1:])
	return c, true
}

// outageOf returns the message of an outage of what has this name. What varies in a name is NAME.
func outageOf(name ast.Expr) (c call, ok bool) {
	fixed := text(name)
	if e, isSum := name.(*ast.BinaryExpr); isSum && fixed == "" {
		fixed = text(e.X) + "NAME"
	}
	c.logs, c.level, c.message = true, "WARN", fixed+" unavailable"
	return c, fixed != ""
}

// literal returns the message of an outage.Config or a peers.Config.
func literal(n *ast.CompositeLit) (c call, ok bool) {
	kind, isSelector := n.Type.(*ast.SelectorExpr)
	if !isSelector || last(kind.X) != "outage" && last(kind.X) != "peers" || kind.Sel.Name != "Config" {
		return c, false
	}
	for _, e := range n.Elts {
		if field, isField := e.(*ast.KeyValueExpr); isField && last(field.Key) == "Name" {
			return outageOf(field.Value)
		}
	}
	return c, false
}

// collected returns the keys of arguments that are collected in a variable attrs.
func collected(n ast.Node) (c call, ok bool) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if list, isList := n.Rhs[0].(*ast.CompositeLit); isList && last(n.Lhs[0]) == "attrs" {
			c.addPairs(list.Elts)
			return c, true
		}
	case *ast.CallExpr:
		if last(n.Fun) == "append" && last(n.Args[0]) == "attrs" {
			c.addPairs(n.Args[1:])
			return c, true
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
		if x, y := text(e.X), text(e.Y); x != "" && y != "" {
			return x + y
		}
	}
	return ""
}

// Every key of the source is in the document, and every key of the document in the source.
func TestKeys(t *testing.T) {
	t.Parallel()
	types := fields(t)
	used := map[string]bool{slog.TimeKey: true, slog.LevelKey: true, slog.MessageKey: true, logs.RequestID: true, logs.TraceID: true, logs.SpanID: true}
	for _, c := range calls(t) {
		if c.banned != "" {
			t.Errorf("%s: %s", c.at, c.banned)
		}
		for _, key := range c.keys {
			used[key] = true
			if types[key] == "" {
				t.Errorf("%s: the key %q is not among the fields of %s: use one of those, or add it", c.at, key, document)
			}
		}
	}
	for key := range types {
		if !used[key] {
			t.Errorf("%s: no line has the field %q any more", document, key)
		}
	}
}

// Messages are constant, so that they can be searched for, counted and documented.
func TestMessages(t *testing.T) {
	t.Parallel()
	for _, c := range calls(t) {
		if c.logs && c.message == "" && !strings.Contains(c.at.Filename, "internal/outage/") {
			t.Errorf("%s: the message is not a constant text: put what varies into fields", c.at)
		}
	}
}

// Every message at WARN or ERROR is in the table of the document, with its level, and every one of the
// table in the source.
func TestWarnings(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	_, err := os.Stat("../audioarchive")
	withoutSample := errors.Is(err, fs.ErrNotExist) // a copy of the repository, with its own services
	for _, row := range rows(t, "Warnings and errors") {
		if withoutSample && strings.Contains(strings.Join(row, " "), "sample application") {
			continue
		}
		if len(row) != 5 {
			t.Errorf("%s: the row of %s has %d cells, want message, level, cause, check and remedy", document, row[0], len(row))
			continue
		}
		documented[codeSpan.FindStringSubmatch(row[0])[1]] = row[1]
	}
	logged := map[string][]string{}
	for _, c := range calls(t) {
		if c.message == "" || c.level == "DEBUG" || c.level == "INFO" || strings.Contains(c.at.Filename, "internal/devidp/") {
			continue
		}
		level := c.level
		if level == "" {
			level = "varies"
		}
		if !slices.Contains(logged[c.message], level) {
			logged[c.message] = append(logged[c.message], level)
		}
		if documented[c.message] == "" {
			t.Errorf("%s: %q is not among the warnings of %s: add its cause, a check and a remedy", c.at, c.message, document)
		}
	}
	for message, level := range documented {
		switch in := logged[message]; {
		case in == nil:
			t.Errorf("%s: no line has the message %q any more", document, message)
		case !slices.Contains(in, level) && !slices.Contains(in, "varies"):
			t.Errorf("%s: %q has the level %s, it is logged at %v", document, message, level, in)
		}
	}
}
