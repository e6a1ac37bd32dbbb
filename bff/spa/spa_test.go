package spa_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/spa"
)

// write writes files into a new directory and returns its "dist".
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "dist")
}

func open(t testing.TB, cfg spa.Config) *spa.App {
	t.Helper()
	a, err := spa.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func get(a http.Handler, path string, header ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "http://app.test/", nil)
	r.URL.Path = path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result()
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPathsAndFiles(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"dist/index.html": "index", "dist/app.js": "script", "dist/about.html": "about",
		"dist/docs/index.html": "docs", "dist/docs/guide.html": "guide", "dist/Readme": "readme",
		"dist/.env": "SECRET=1", "dist/.git/config": "SECRET", "dist/.well-known/security.txt": "contact",
		"secret.txt": "SECRET", "secret.html": "SECRET",
	})
	for link, target := range map[string]string{"link.txt": "../secret.txt", "page.html": "../secret.html", "up": "..", "inside.txt": "Readme"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	a := open(t, spa.Config{Dir: dir})
	for path, want := range map[string]string{
		"/": "200 index", "/app.js": "200 script", "/Readme": "200 readme",
		"/.well-known/security.txt": "200 contact", "/inside.txt": "200 readme",
		// The application's own router.
		"/orders/5": "200 index", "/orders/5/": "200 index", "/.well-known/missing": "200 index",
		// One address for each page.
		"/about": "200 about", "/about/": "308 /about", "/about.html": "308 /about",
		"/docs/": "200 docs", "/docs": "308 /docs/", "/docs/index.html": "308 /docs/", "/index.html": "308 /",
		"/docs/guide": "200 guide", "/docs/guide.html": "308 /docs/guide",
		// Missing files.
		"/missing.js": "404", "/missing.html": "404", "/app.js/": "404", "/docs/missing.png": "404",
		// Hidden files and files outside.
		"/.env": "404", "/.git/config": "404", "/.git": "404", "/x/.env": "404",
		"/link.txt": "404", "/page": "200 index", "/page.html": "404", "/up/secret.txt": "404",
		// Second names (CVE-2026-41059).
		"//app.js": "404", "/./app.js": "404", "/docs//guide": "404", "/docs/../app.js": "404", "/../secret.txt": "404",
		`/docs\guide`: "404", `/..\secret.txt`: "404", "/app.js\x00": "404", "/about//": "404", "app.js": "404", "": "404",
	} {
		resp := get(a, path)
		got := resp.Status[:3]
		body := text(t, resp)
		switch resp.StatusCode {
		case http.StatusOK:
			got += " " + body
		case http.StatusPermanentRedirect:
			got += " " + resp.Header.Get("Location")
		}
		if got != want || strings.Contains(body, "SECRET") {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" && resp.StatusCode != http.StatusPermanentRedirect {
			t.Errorf("%q: no nosniff", path)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	a := open(t, spa.Config{Dir: write(t, map[string]string{"dist/index.html": "i", "dist/docs/index.html": "d"})})
	for target, want := range map[string]string{
		"/docs?a=1&b=%2F%2Fevil.example": "/docs/?a=1&b=%2F%2Fevil.example",
		"/index.html?x":                  "/?x",
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s redirects to %q, want %q", target, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	a := open(t, spa.Config{Dir: write(t, map[string]string{"dist/index.html": "index"})})
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "TRACE": 405} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != want || w.Code == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
		if method == "HEAD" && w.Body.Len() > 0 {
			t.Error("HEAD has a body")
		}
	}
}

func TestCaching(t *testing.T) {
	t.Parallel()
	const immutable, revalidate, never = "public, max-age=31536000, immutable", "no-cache", "no-store"
	names := map[string]string{
		"index.html": never, "docs/index.html": never, "about.html": never,
		// Vite, esbuild, webpack, Create React App, Next.js, SvelteKit, Angular.
		"assets/index-BxK3d9aP.js": immutable, "assets/index-Bx_3d-aP.css": immutable, "assets/Inter-D1x5nPqT.woff2": immutable,
		"assets/app-6UBZ5JQR.js": immutable, "main.3f2a1b4c.js": immutable, "static/js/main.0a1b2c3d4e.chunk.js": immutable,
		"_next/static/chunks/main-app.js": immutable, "_next/static/kQ3/_buildManifest.js": immutable,
		"_app/immutable/entry/start.js": immutable, "main-0123456789abcdef.js": immutable, "assets/index-BxK3d9aP.js.map": immutable,
		// Words, dates and versions are not hashes, nor is a mixed one outside a build folder.
		"assets/jquery-datepicker.js": revalidate, "assets/photo-20260101.jpg": revalidate, "assets/my-Settings.js": revalidate, "assets/phone-iphone15.png": revalidate,
		"app.js": revalidate, "favicon.ico": revalidate, "jquery-3.7.1.min.js": revalidate, "report-20261125.pdf": revalidate, "logo-decaffed.svg": revalidate,
		"images/index-BxK3d9aP.png": revalidate, "robots.txt": revalidate, "sw.js": revalidate, "_nuxt/builds/latest.json": revalidate,
	}
	files := map[string]string{}
	for name := range names {
		files["dist/"+name] = "content of " + name
	}
	a := open(t, spa.Config{Dir: write(t, files)})
	for name, want := range names {
		path := "/" + strings.TrimSuffix(strings.TrimSuffix(name, "index.html"), ".html")
		resp := get(a, path)
		if got := resp.Header.Get("Cache-Control"); got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %q, want %q", path, resp.StatusCode, got, want)
		}
		etag := resp.Header.Get("Etag")
		if etag == "" || resp.Header.Get("Last-Modified") != "" {
			t.Errorf("%s: ETag %q, Last-Modified %q, want an ETag only", path, etag, resp.Header.Get("Last-Modified"))
		}
		if again := get(a, path, "If-None-Match", etag); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s with If-None-Match: %d, want 304", path, again.StatusCode)
		}
	}
}

// A new build is served although its files have the modification time of the
// old one, as with reproducible builds.
func TestNewBuild(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"dist/index.html": "one", "dist/app.js": "one"})
	a := open(t, spa.Config{Dir: dir})
	before := get(a, "/app.js").Header.Get("Etag")
	epoch := time.Unix(0, 0)
	for _, name := range []string{"app.js", "index.html"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("two!"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), epoch, epoch); err != nil {
			t.Fatal(err)
		}
	}
	resp := get(a, "/app.js", "If-None-Match", before)
	if got := text(t, resp); resp.StatusCode != http.StatusOK || got != "two!" {
		t.Errorf("after a new build: %d %q", resp.StatusCode, got)
	}
	other := open(t, spa.Config{Dir: write(t, map[string]string{"dist/index.html": "", "dist/app.js": "two!"})})
	if a, b := resp.Header.Get("Etag"), get(other, "/app.js").Header.Get("Etag"); a != b {
		t.Errorf("ETags of two nodes for the same file: %s and %s", a, b)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if resp := get(a, "/"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without the directory: %d, want 503 with Retry-After", resp.StatusCode)
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	files := map[string]string{"dist/index.html": "<p>"}
	want := map[string]string{
		"a.js": "text/javascript; charset=utf-8", "a.mjs": "text/javascript; charset=utf-8", "a.css": "text/css; charset=utf-8",
		"a.wasm": "application/wasm", "a.svg": "image/svg+xml", "a.webmanifest": "application/manifest+json", "a.woff2": "font/woff2",
		"a.json": "application/json", "a.png": "image/png", "a.unheardof": "application/octet-stream", "A.JS": "text/javascript; charset=utf-8",
	}
	for name := range want {
		files["dist/"+name] = "<script>alert(1)</script>" // HTML to a browser that sniffs
	}
	a := open(t, spa.Config{Dir: write(t, files)})
	for name, want := range want {
		if got := get(a, "/"+name).Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := get(a, "/").Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("/: %q", got)
	}
}

func TestCompressedFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("const answer = 42;\n", 500)
	a := open(t, spa.Config{Dir: write(t, map[string]string{
		"dist/index.html": "<p>", "dist/index.html.br": "BR-INDEX",
		"dist/app.js": "plain", "dist/app.js.br": "BR", "dist/app.js.gz": "GZ", "dist/app.js.zst": "ZST",
		"dist/long.js": long, "dist/photo.jpg": long,
	})})
	for _, c := range []struct{ path, accept, encoding, body string }{
		{"/app.js", "", "", "plain"},
		{"/app.js", "gzip, deflate, br, zstd", "br", "BR"},
		{"/app.js", "gzip, deflate", "gzip", "GZ"},
		{"/app.js", "GZIP;q=0.5, zstd;q=0.8", "zstd", "ZST"},
		{"/app.js", "br;q=0, gzip;q=0.001", "gzip", "GZ"},
		{"/app.js", "identity", "", "plain"},
		{"/app.js", "identity;q=1, br;q=0.5", "", "plain"},
		{"/app.js", "*", "br", "BR"},
		{"/app.js", "*;q=0.1, br;q=0", "zstd", "ZST"},
		{"/app.js", "br;q=nonsense", "", "plain"},
		{"/app.js", "br;q=NaN, gzip;q=2", "", "plain"},
		{"/", "br", "br", "BR-INDEX"},
		{"/orders", "br", "br", "BR-INDEX"},
	} {
		resp := get(a, c.path, "Accept-Encoding", c.accept)
		body := text(t, resp)
		if got := resp.Header.Get("Content-Encoding"); got != c.encoding || body != c.body || !strings.Contains(strings.Join(resp.Header["Vary"], ","), "Accept-Encoding") {
			t.Errorf("%s with %q: encoding %q, %q, Vary %q, want %q, %q", c.path, c.accept, got, body, resp.Header["Vary"], c.encoding, c.body)
		}
	}
	plain, br := get(a, "/app.js"), get(a, "/app.js", "Accept-Encoding", "br")
	if plain.Header.Get("Etag") == br.Header.Get("Etag") {
		t.Error("equal ETags of two encodings")
	}
	if got := br.Header.Get("Content-Type"); got != "text/javascript; charset=utf-8" {
		t.Errorf("media type of a compressed script: %q", got)
	}
	// Other files are compressed on the fly, except images.
	resp := get(a, "/long.js", "Accept-Encoding", "gzip")
	unpacked, err := gzip.NewReader(resp.Body)
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("encoding of a long script: %q, %v, want gzip", resp.Header.Get("Content-Encoding"), err)
	}
	if body, err := io.ReadAll(unpacked); err != nil || string(body) != long {
		t.Errorf("decompressed script differs: %v", err)
	}
	if got := get(a, "/photo.jpg", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"); got != "" {
		t.Errorf("encoding of a photograph: %q, want none", got)
	}
	part := get(a, "/long.js", "Range", "bytes=6-11")
	if body := text(t, part); part.StatusCode != http.StatusPartialContent || body != "answer" {
		t.Errorf("range: %d %q", part.StatusCode, body)
	}
}

func TestContentSecurityPolicy(t *testing.T) {
	t.Parallel()
	hash := func(script string) string {
		sum := sha256.Sum256([]byte(script))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	page := "<!doctype html><script>one()</script><script src=/app.js></script><script type=module>\r\n  two(\"<b>\")\r\n</script><p onclick='three()'>"
	dir := write(t, map[string]string{"dist/index.html": page, "dist/index.html.br": "packed", "dist/other.html": "<p>", "dist/app.js": "x"})
	a := open(t, spa.Config{Dir: dir})
	for _, accept := range []string{"", "br"} {
		got := get(a, "/", "Accept-Encoding", accept).Header.Get("Content-Security-Policy")
		want := "script-src 'self' 'wasm-unsafe-eval' " + hash("one()") + " " + hash("\n  two(\"<b>\")\n") + ";"
		if !strings.Contains(got, want) {
			t.Errorf("encoding %q: %q lacks %q", accept, got, want)
		}
		for _, never := range []string{"'unsafe-eval'", "script-src 'unsafe-inline'", "*"} {
			if strings.Contains(got, never) {
				t.Errorf("%q has %s", got, never)
			}
		}
	}
	if got := get(a, "/other").Header.Get("Content-Security-Policy"); strings.Contains(got, "sha256") || !strings.Contains(got, "frame-ancestors 'none'") {
		t.Errorf("policy of a page without scripts: %q", got)
	}
	if got := get(a, "/app.js").Header.Get("Content-Security-Policy"); got != "" {
		t.Errorf("policy of a script: %q, want none", got)
	}
	own := open(t, spa.Config{Dir: dir, ContentSecurityPolicy: "default-src 'self' https://fonts.example"})
	if got := get(own, "/").Header.Get("Content-Security-Policy"); got != "default-src 'self' https://fonts.example" {
		t.Errorf("configured policy: %q", got)
	}
	none := open(t, spa.Config{Dir: dir, ContentSecurityPolicy: "none"})
	if got, ok := get(none, "/").Header["Content-Security-Policy"]; ok {
		t.Errorf("policy of none: %q", got)
	}
}

func TestInvalidConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(write(t, map[string]string{"dist/index.html": ""}), "index.html")
	empty := t.TempDir()
	for want, cfg := range map[string]spa.Config{
		"is not a directory; build the front end first": {Dir: filepath.Join(empty, "nowhere")},
		"is not a directory":                            {Dir: file},
		"has no index.html":                             {Dir: empty},
		"has a line break":                              {Dir: filepath.Dir(file), ContentSecurityPolicy: "a\r\nSet-Cookie: x"},
	} {
		if _, err := spa.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func FuzzPaths(f *testing.F) {
	dir := write(f, map[string]string{"dist/index.html": "index", "dist/a/b.js": "b", "dist/.env": "SECRET", "secret.txt": "SECRET"})
	a, err := spa.New(spa.Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{"/", "/a/b.js", "/../secret.txt", "//evil.example", "/a/..%2f..", `/\evil`, "/.env", "/a/", "/a.html", "/index.html"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		resp := get(a, path)
		if strings.Contains(text(t, resp), "SECRET") {
			t.Errorf("%q is answered with a secret", path)
		}
		if to := resp.Header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`)) {
			t.Errorf("%q redirects to %q", path, to)
		}
	})
}
