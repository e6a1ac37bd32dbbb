package typescript

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// written writes files below a directory.
func written(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// present returns the files below a directory.
func present(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// generateTo writes files to a directory, as Run does.
func generateTo(dir string, content map[string]string) ([]difference, error) {
	generated := files{}
	for name, text := range content {
		generated[name] = []byte(text)
	}
	o, err := openOutput(dir)
	if err != nil {
		return nil, err
	}
	differences, err := o.compare(generated)
	if err == nil {
		err = o.write(generated, differences)
	}
	if closed := o.close(); err == nil {
		err = closed
	}
	return differences, err
}

// TestOutput checks that a second run writes what differs, deletes what is obsolete, and touches no
// other file.
func TestOutput(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "src", "gen")
	if _, err := generateTo(dir, map[string]string{"same.js": "1", "changed.js": "1", "old/deep/gone.js": "1", "old/mine/gone.js": "1"}); err != nil {
		t.Fatal(err)
	}
	written(t, dir, map[string]string{"mine.js": "mine", "old/mine/notes.txt": "mine"})
	before := time.Now().Add(-time.Hour)
	for _, name := range []string{"same.js", manifestName} {
		if err := os.Chtimes(filepath.Join(dir, name), before, before); err != nil {
			t.Fatal(err)
		}
	}
	second := map[string]string{"same.js": "1", "changed.js": "2", "new/new.js": "1"}
	differences, err := generateTo(dir, second)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(differences), "[{.generated changed} {changed.js changed} {new/new.js new} {old/deep/gone.js obsolete} {old/mine/gone.js obsolete}]"; got != want {
		t.Errorf("differences %s, want %s", got, want)
	}
	want := maps.Clone(second)
	want["mine.js"], want["old/mine/notes.txt"] = "mine", "mine"
	want[manifestName] = manifestHeader + "changed.js\nnew/new.js\nsame.js\n"
	if got := present(t, dir); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "old/deep")); err == nil {
		t.Error("an empty directory is left")
	}
	if info, err := os.Stat(filepath.Join(dir, "same.js")); err != nil || !info.ModTime().Equal(before) {
		t.Errorf("a file that is the same was written: %v", err)
	}
	if differences, err := generateTo(dir, second); err != nil || len(differences) > 0 {
		t.Errorf("a third run: %v, %v", differences, err)
	}
}

// TestForeignFiles checks that a file of others is not overwritten, and that then nothing is written.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := map[string]string{"rest.d.ts": "mine", "same.js": "1"}
	written(t, dir, mine)
	_, err := generateTo(dir, map[string]string{"rest.d.ts": "1", "same.js": "1", "new.js": "1"})
	if want := "not overwritten, because this command has not written them: " + filepath.Join(dir, "rest.d.ts") + ";"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := present(t, dir); !maps.Equal(got, mine) {
		t.Errorf("files %q, want %q", got, mine)
	}
}

// TestManifest checks that a manifest leads to no file outside, and that one with the markers of a
// merge conflict is mended.
func TestManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	written(t, dir, map[string]string{"keep.js": "1", "gen/" + manifestName: "../keep.js\n"})
	if _, err := generateTo(filepath.Join(dir, "gen"), nil); err == nil || !strings.Contains(err.Error(), `"../keep.js" is no file below`) {
		t.Errorf("a path outside: %v", err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "gen", "up")); err != nil {
		t.Fatal(err)
	}
	written(t, dir, map[string]string{"gen/" + manifestName: "up/keep.js\n"})
	if _, err := generateTo(filepath.Join(dir, "gen"), nil); err != nil {
		t.Errorf("a link outside: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "keep.js")); err != nil {
		t.Error(err)
	}
	written(t, dir, map[string]string{"gen/" + manifestName: "<<<<<<< HEAD\na.js\n=======\nb.js\n>>>>>>> other\n", "gen/a.js": "1", "gen/b.js": "1"})
	if _, err := generateTo(filepath.Join(dir, "gen"), map[string]string{"b.js": "2"}); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(present(t, filepath.Join(dir, "gen")))); !slices.Equal(got, []string{manifestName, "b.js"}) {
		t.Errorf("files %q", got)
	}
}

// TestBrowser checks which files of the browser package are written, and how Run reports what the
// front end lacks.
func TestBrowser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	written(t, dir, map[string]string{"package.json": `{"dependencies": {"react": "19"}}`})
	var log bytes.Buffer
	cfg := Config{
		Parts: []string{Browser}, Out: filepath.Join(dir, "src", "gen"), Log: &log,
		Browser: fstest.MapFS{
			"package.json":  {Data: []byte(`{"name": "gatehouse-browser", "scripts": {"build": "tsc"}, "devDependencies": {"typescript": "5"}, "engines": {"node": ">=20"}}`)},
			"dist/index.js": {Data: []byte("export {};\n")},
		},
	}
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	got := present(t, cfg.Out)
	if len(got) != 3 || got["gatehouse-browser/dist/index.js"] != "export {};\n" ||
		got["gatehouse-browser/package.json"] != "{\n  \"engines\": {\n    \"node\": \">=20\"\n  },\n  \"name\": \"gatehouse-browser\"\n}\n" {
		t.Errorf("files %q", got)
	}
	if want := " && npm install file:src/gen/gatehouse-browser)"; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, log.String())
	}
	cfg.Check = true
	if err := Run(t.Context(), cfg); err != nil {
		t.Errorf("check: %v", err)
	}
	written(t, cfg.Out, map[string]string{"gatehouse-browser/dist/index.js": "edited"})
	err := Run(t.Context(), cfg)
	if want := filepath.Join(cfg.Out, "gatehouse-browser", "dist", "index.js") + ": changed"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("check of an edited file: %v, want %s", err, want)
	}
	if got := present(t, cfg.Out)["gatehouse-browser/dist/index.js"]; got != "edited" {
		t.Errorf("check has written %q", got)
	}
}

// TestFindPage checks where the front end of an output directory is.
func TestFindPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	written(t, dir, map[string]string{
		"package.json": "{}", "repository/.git": "", "repository/web/package.json": "{}", "repository/broken/package.json": "{",
	})
	for out, want := range map[string]string{
		"repository/web/src/gen": "repository/web", "repository/web": "repository/web", "other/gen": "",
		"repository/api/gen": "no package.json in it or above it; create the front end first", "repository/broken/gen": "package.json: unexpected end",
	} {
		p, err := findPage(filepath.Join(dir, out))
		switch {
		case err == nil && p.dir == filepath.Join(dir, want):
		case err != nil && want != "" && strings.Contains(err.Error(), want):
		default:
			t.Errorf("%s: %v, %v, want %s", out, p, err, want)
		}
	}
}

// TestLacks checks what a front end has to add, and with which package manager.
func TestLacks(t *testing.T) {
	t.Parallel()
	pinned, err := generators.ReadFile("generators/package.json")
	if want := `"@bufbuild/protoc-gen-es": "` + strings.TrimPrefix(libraries[0].version, "^") + `"`; err != nil || !strings.Contains(string(pinned), want) {
		t.Errorf("%s is not generated for %s: %v", pinned, want, err)
	}
	all := "@bufbuild/protobuf@^2.17.0 @connectrpc/connect@^2.3.0 @connectrpc/connect-web@^2.3.0 openapi-fetch@^0.17.0 file:src/gen/gatehouse-browser"
	complete := `{"dependencies": {"@bufbuild/protobuf": "2", "@connectrpc/connect": "2"},
		"devDependencies": {"openapi-fetch": "0.17"}, "peerDependencies": {"gatehouse-browser": "*", "@connectrpc/connect-web": "*"}}`
	for name, c := range map[string]struct {
		files  map[string]string
		needed bool
		want   string
	}{
		"nothing is there":     {map[string]string{"package.json": "{}"}, true, "npm install " + all},
		"pnpm":                 {map[string]string{"package.json": "{}", "pnpm-lock.yaml": ""}, true, "pnpm add " + strings.Replace(all, "file:", "link:", 1)},
		"all is there":         {map[string]string{"package.json": complete}, false, ""},
		"an older version":     {map[string]string{"package.json": complete, "node_modules/@bufbuild/protobuf/package.json": `{"version": "2.9.1"}`}, true, "npm install @bufbuild/protobuf@^2.17.0"},
		"a newer version":      {map[string]string{"package.json": complete, "node_modules/@bufbuild/protobuf/package.json": `{"version": "2.100.0-beta.1"}`}, false, ""},
		"nothing needed lacks": {map[string]string{"package.json": strings.Replace(complete, "openapi-fetch", "other", 1)}, false, "npm install openapi-fetch@^0.17.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			written(t, dir, c.files)
			p, err := findPage(dir)
			if err != nil {
				t.Fatal(err)
			}
			packages, needed, err := p.lacks(filepath.Join(dir, "src", "gen"), Parts)
			if err != nil || needed != c.needed {
				t.Errorf("needed %v, want %v; %v", needed, c.needed, err)
			}
			if got := p.command(packages); c.want != "" && !strings.HasSuffix(got, " && "+c.want+")") || c.want == "" && len(packages) > 0 {
				t.Errorf("command %s, want %s", got, c.want)
			}
		})
	}
}

// TestInstall checks the errors about Node.js and npm, and that the generators are installed once,
// with the .npmrc of the front end, which does not stay.
func TestInstall(t *testing.T) { // not parallel: it changes PATH
	cache := filepath.Join(t.TempDir(), "cache")
	var log bytes.Buffer
	attempt := func(programs map[string]string) (*tools, error) {
		bin := t.TempDir()
		written(t, bin, programs)
		t.Setenv("PATH", bin)
		return install(context.Background(), cache, []byte("registry=https://npm.shop.example\n"), &log)
	}
	node := "#!/bin/sh\necho v22.1.0\n"
	for _, c := range []struct {
		programs map[string]string
		want     string
	}{
		{nil, "the generators need Node.js, which is not installed: install version 20 or newer from https://nodejs.org"},
		{map[string]string{"node": "#!/bin/sh\necho v18.20.4\n"}, "the generators need Node.js 20 or newer, and v18.20.4 is installed"},
		{map[string]string{"node": node}, "the generators need npm"},
		{map[string]string{"node": node, "npm": "#!/bin/sh\necho E401 >&2\nexit 1\n"}, "npm could not install the generators (exit status 1):\nE401"},
		// As with dry-run=true in .npmrc. The front ends of other projects share the directory.
		{map[string]string{"node": node, "npm": "#!/bin/sh\n"}, "npm has not installed the generators, perhaps because of a setting in .npmrc"},
	} {
		if _, err := attempt(c.programs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	npm := "#!/bin/sh\necho \"$*\" >args\nread -r line <.npmrc && echo \"$line\" >registry\n" +
		"for p in " + connectProgram + " " + restProgram + "; do /bin/mkdir -p node_modules/${p%/*} && : >node_modules/$p; done\n"
	tools, err := attempt(map[string]string{"node": node, "npm": npm})
	if err != nil {
		t.Fatal(err)
	}
	got := present(t, tools.dir)
	if !strings.HasPrefix(got["args"], "ci --ignore-scripts ") || got["registry"] != "registry=https://npm.shop.example\n" || !strings.Contains(got["package-lock.json"], "openapi-typescript") {
		t.Errorf("files %q", got)
	}
	if _, ok := got[".npmrc"]; ok {
		t.Error("the .npmrc stays")
	}
	if again, err := attempt(map[string]string{"node": node}); err != nil || again.dir != tools.dir { // without npm
		t.Errorf("a second time: %v, %v", again, err)
	}
	// A program that cleans up caches has deleted a part of it.
	if err := os.RemoveAll(filepath.Join(tools.dir, "node_modules", "openapi-typescript")); err != nil {
		t.Fatal(err)
	}
	if _, err := attempt(map[string]string{"node": node, "npm": npm}); err != nil || complete(tools.dir) != nil {
		t.Errorf("after a part was deleted: %v, %v", err, complete(tools.dir))
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) != 1 {
		t.Errorf("the cache has %v, %v", left, err)
	}
	if lines := strings.Count(log.String(), "Installing the generators"); lines != 4 {
		t.Errorf("%d lines about installing, want one of each npm:\n%s", lines, log.String())
	}
}
