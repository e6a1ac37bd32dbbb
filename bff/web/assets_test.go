package web_test

import (
	"net/http"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-dev/gatehouse/bff/web"
)

func TestEveryReferencedAsset(t *testing.T) {
	t.Parallel()
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	p := newPages(t, nil)
	seen := make(map[string]bool)
	for _, out := range everyOutput(t) {
		for _, target := range assetsOf(t, parse(t, out)) {
			if seen[target] {
				continue
			}
			seen[target] = true
			w := get(p, target)
			if w.Code != 200 || w.Body.Len() == 0 {
				t.Errorf("%s: %d with %d bytes", target, w.Code, w.Body.Len())
			}
			policy := w.Header().Get("Content-Security-Policy")
			if image := path.Ext(target) == ".svg"; image != strings.Contains(policy, "sandbox") || !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("%s: Content-Security-Policy %q", target, policy)
			}
			for name, want := range map[string]string{
				"Cache-Control":          "public, max-age=31536000, immutable",
				"Content-Type":           types[path.Ext(target)],
				"X-Content-Type-Options": "nosniff",
				"Vary":                   "",
				"Set-Cookie":             "",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %s = %q, want %q", target, name, got, want)
				}
			}
			etag := w.Header().Get("ETag")
			if len(etag) < 10 || strings.HasPrefix(etag, "W/") {
				t.Errorf("%s: ETag %q, want a strong one", target, etag)
			}
			if again := get(p, target, "If-None-Match", etag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
				t.Errorf("%s with If-None-Match: %d with %d bytes, want 304 with none", target, again.Code, again.Body.Len())
			}
			if body := w.Body.String(); strings.Contains(body, "http://") || strings.Contains(body, "https://") {
				if rest := strings.ReplaceAll(body, "http://www.w3.org/2000/svg", ""); strings.Contains(rest, "://") {
					t.Errorf("%s names another origin", target)
				}
			}
		}
	}
	if len(seen) < 5 {
		t.Errorf("only %d assets seen: %v", len(seen), seen)
	}
}

func TestAssetsOfAnotherRelease(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	current := assetsOf(t, parse(t, get(p, "/")))[0]
	old := web.AssetPrefix + "0123456789abcdef/" + path.Base(current)
	w := get(p, old)
	if w.Code != 200 || w.Body.String() != get(p, current).Body.String() {
		t.Errorf("%s: %d, want the current file", old, w.Code)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q: content under the hash of another release must not be stored", got)
	}
}

func TestMissingAssets(t *testing.T) {
	t.Parallel()
	p := newPages(t, nil)
	dir := path.Dir(assetsOf(t, parse(t, get(p, "/")))[0])
	for _, target := range []string{
		web.AssetPrefix, dir, dir + "/", dir + "/nothing.css", dir + "/../templates/layout.html", dir + "/%2e%2e/web.go",
		web.AssetPrefix + "site.css", dir + "/site.css/",
	} {
		w := get(p.Assets(), target)
		if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, Cache-Control %q", target, w.Code, w.Header().Get("Cache-Control"))
		}
	}
}

func TestHashFollowsContent(t *testing.T) {
	t.Parallel()
	hash := func(files map[string]string) string {
		t.Helper()
		fsys := make(fstest.MapFS)
		for name, body := range files {
			fsys["assets/"+name] = &fstest.MapFile{Data: []byte(body)}
		}
		h, err := web.AssetHash(fsys)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := hash(map[string]string{"a.css": "x", "b.js": "y"})
	if again := hash(map[string]string{"b.js": "y", "a.css": "x"}); again != base {
		t.Errorf("same files, hashes %s and %s", base, again)
	}
	for name, files := range map[string]map[string]string{
		"content":  {"a.css": "x2", "b.js": "y"},
		"swapped":  {"a.css": "y", "b.js": "x"},
		"renamed":  {"c.css": "x", "b.js": "y"},
		"one less": {"a.css": "x"},
	} {
		if hash(files) == base {
			t.Errorf("%s: same hash as the base", name)
		}
	}
}

func TestAssetWithoutContentType(t *testing.T) {
	t.Parallel()
	_, err := web.AssetHash(fstest.MapFS{"assets/a.exe": {Data: []byte("x")}})
	if err == nil || !strings.Contains(err.Error(), "assets/a.exe") {
		t.Errorf("error = %v, want one that names the file", err)
	}
}
