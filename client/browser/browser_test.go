package browser_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/client/browser"
)

// maxSize is how large the core may be, minified and compressed, in bytes.
const maxSize = 6 << 10

func TestSize(t *testing.T) {
	t.Parallel()
	core, err := browser.Files.ReadFile("dist/gatehouse-browser.min.js")
	if err != nil {
		t.Fatal(err)
	}
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(core); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the core has %d bytes, %d with gzip -9", len(core), compressed.Len())
	if compressed.Len() > maxSize {
		t.Errorf("the core has %d bytes with gzip -9, want at most %d", compressed.Len(), maxSize)
	}
}

// TestFiles: what package.json names is embedded, and each module has its types.
func TestFiles(t *testing.T) {
	t.Parallel()
	manifest, err := browser.Files.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct {
		Types                string
		SideEffects          *bool
		Dependencies         map[string]string
		Exports              map[string]string
		PeerDependencies     map[string]string
		PeerDependenciesMeta map[string]struct{ Optional bool }
	}
	if err := json.Unmarshal(manifest, &pkg); err != nil {
		t.Fatal(err)
	}
	if pkg.SideEffects == nil || *pkg.SideEffects || len(pkg.Dependencies) > 0 {
		t.Errorf("sideEffects is %v and the dependencies are %v, want false and none", pkg.SideEffects, pkg.Dependencies)
	}
	for name := range pkg.PeerDependencies {
		if !pkg.PeerDependenciesMeta[name].Optional {
			t.Errorf("the peer dependency %s is not optional: pages without it could not use the core", name)
		}
	}
	for name, target := range pkg.Exports {
		module, ok := strings.CutSuffix(target, ".js")
		names := []string{target}
		if ok {
			names = append(names, module+".d.ts")
		}
		for _, file := range names {
			if _, err := fs.Stat(browser.Files, strings.TrimPrefix(file, "./")); err != nil {
				t.Errorf("package.json exports %s: %v", name, err)
			}
		}
	}
	if pkg.Types != strings.Replace(pkg.Exports["."], ".js", ".d.ts", 1) {
		t.Errorf("types is %q, and the module %q", pkg.Types, pkg.Exports["."])
	}
}
