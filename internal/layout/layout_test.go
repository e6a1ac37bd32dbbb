package layout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestRules holds this module to the rules.
func TestRules(t *testing.T) {
	t.Parallel()
	g := load(t)
	for _, must := range []string{"server", "gateway", "bff", ".", "cmd/gatehouse"} {
		if g[path.Join(module, must)] == nil {
			t.Errorf("there is no package %s: if it was renamed, the rules must follow", must)
		}
	}
	for _, v := range check(g) {
		t.Error(v)
	}
}

// load asks the go command for the packages of this module, and of the modules of tests and
// measurements below it.
func load(t *testing.T) graph {
	t.Helper()
	root := root(t)
	visit(t, root)
	g := graph{}
	for _, dir := range []string{root, filepath.Join(root, "bench"), filepath.Join(root, "e2e")} {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			g.add(t, dir)
		}
	}
	return g
}

// add adds the packages of the module in dir.
func (g graph) add(t *testing.T, dir string) {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	list.Dir = dir
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, stderr.String())
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var listed struct {
			ImportPath, Dir, Doc                                         string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
			Imports, TestImports, XTestImports                           []string
		}
		if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		p := &pkg{
			path: listed.ImportPath, doc: listed.Doc,
			imports: listed.Imports, testImports: append(listed.TestImports, listed.XTestImports...),
		}
		for _, files := range [][]string{listed.GoFiles, listed.CgoFiles, listed.IgnoredGoFiles, listed.TestGoFiles, listed.XTestGoFiles} {
			for _, name := range files {
				source, err := os.ReadFile(filepath.Join(listed.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				uses, err := usesIn(filepath.Join(short(p.path), name), source)
				if err != nil {
					t.Fatal(err)
				}
				p.uses = append(p.uses, uses...)
			}
		}
		g[p.path] = p
	}
}

// visit looks into every directory, so that the go command, which remembers the
// result of a test until a file or directory changes that the test has opened,
// runs this one again when there is a new package.
func visit(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(dir string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test's, gone meanwhile
			return nil
		case err != nil || !entry.IsDir() || dir == root:
			return err
		case strings.HasPrefix(entry.Name(), "."), entry.Name() == "node_modules":
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// root is the directory of the module: the tests run in that of their package.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	name, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if name != module {
		t.Fatalf("the module is called %s; correct the constant here", name)
	}
	return dir
}
