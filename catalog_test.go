package gatehouse

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// TestCatalog: the file of the setting replaces the catalog of the application, and all
// errors are those of settings.
func TestCatalog(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "shop.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		embedded, path string
		name, err      string
	}{
		"built in":      {name: "Gatehouse"},
		"embedded":      {embedded: "name: Kontor\n", name: "Kontor"},
		"file":          {path: file("name: Laden\n"), name: "Laden"},
		"both":          {embedded: "name: Kontor\n", path: file("name: Laden\n"), name: "Laden"},
		"wrong":         {path: file("nome: Laden\ntexts: {x: {}}\n"), err: `shop.yaml:1: unknown key "nome"; did you mean name?`},
		"embedded, bad": {embedded: "\nnome: Kontor\n", err: `App.Catalog:2: unknown key "nome"`},
		"no file":       {path: "none.yaml", err: `GATEHOUSE_CATALOG=none.yaml (environment): cannot be read: no such file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := newProgram(App{Catalog: []byte(tc.embedded)}, &strings.Builder{})
			if err != nil {
				t.Fatal(err)
			}
			if tc.embedded == "" {
				p.app.Catalog = nil
			}
			p.read(settings.Sources{Environ: []string{"GATEHOUSE_CATALOG=" + tc.path}})
			p.setDefaults()
			err = p.validate(partSet{BFF: true})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %s", err, tc.err)
				}
				return
			}
			if p.pages == nil || p.pages.Name != tc.name {
				t.Errorf("catalog %v, want that of %s", p.pages, tc.name)
			}
		})
	}
}

// TestCommandCatalog prints what an application can start from.
func TestCommandCatalog(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	if code := Run(context.Background(), App{}, []string{"catalog"}, nil, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	if _, err := catalog.Parse("printed", []byte(out.String())); err != nil {
		t.Error(err)
	}
}
