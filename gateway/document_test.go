package gateway_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/gateway/reference"
)

func described(t *testing.T, document gateway.DocumentConfig, services ...gateway.Service) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(gateway.Config{
		Conn: connect(t, &backend{}), Access: gateway.AccessConfig{BaseURL: "https://app.example.com"}, Document: document,
		Services: append(services, exposeStatus(), exposeDynamic(thingService)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestDocument checks that the document is public, has its media type, and can be
// revalidated.
func TestDocument(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{Title: "Things"})
	got := send(g, http.MethodGet, "/api/openapi.json", nil, "")
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("got %s, %v", got.Status, got.Header)
	}
	if body := read(t, got); body != string(g.OpenAPI()) || !json.Valid([]byte(body)) {
		t.Errorf("got another document than OpenAPI returns:\n%s", body)
	}
	etag := got.Header.Get("Etag")
	if again := send(g, http.MethodGet, "/api/openapi.json", []string{"If-None-Match: " + etag}, ""); again.StatusCode != http.StatusNotModified {
		t.Errorf("with the entity tag %s: got %s, want 304", etag, again.Status)
	}
	zipped := send(g, http.MethodGet, "/api/openapi.json", []string{"Accept-Encoding: gzip"}, "")
	plain, err := gzip.NewReader(strings.NewReader(read(t, zipped)))
	if err != nil || zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Header.Get("Etag") == etag {
		t.Fatalf("compressed: got %v, %v", zipped.Header, err)
	}
	if content, err := io.ReadAll(plain); err != nil || !bytes.Equal(content, g.OpenAPI()) {
		t.Errorf("the compressed document differs (%v)", err)
	}
	head := send(g, http.MethodHead, "/api/openapi.json", nil, "")
	if head.StatusCode != http.StatusOK || head.Header.Get("Etag") != etag || read(t, head) != "" {
		t.Errorf("HEAD: got %s, %v", head.Status, head.Header)
	}
	for _, path := range []string{"/api/openapi.json", "/api/docs"} {
		for method, status := range map[string]int{http.MethodPost: http.StatusMethodNotAllowed, http.MethodOptions: http.StatusNoContent} {
			if got := send(g, method, path, nil, ""); got.StatusCode != status || got.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("%s %s: got %s, Allow %q; want %d, \"GET, HEAD, OPTIONS\"", method, path, got.Status, got.Header.Get("Allow"), status)
			}
		}
	}
	other := send(g, http.MethodGet, "/api/openapi.json", []string{"Origin: https://evil.example"}, "")
	if allowed := other.Header.Get("Access-Control-Allow-Origin"); allowed != "" {
		t.Errorf("another origin may read the document: %q", allowed)
	}
}

// TestDocumentMadeOnce checks that first requests at the same time get the same document.
func TestDocumentMadeOnce(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{Title: "Things"})
	var requests sync.WaitGroup
	for i := range 16 {
		requests.Go(func() {
			path := []string{"/api/openapi.json", "/api/docs"}[i%2]
			if got := send(g, http.MethodGet, path, nil, ""); got.StatusCode != http.StatusOK || read(t, got) == "" {
				t.Errorf("%s: got %s", path, got.Status)
			}
		})
	}
	requests.Wait()
	if !json.Valid(g.OpenAPI()) {
		t.Errorf("OpenAPI returned %q", g.OpenAPI())
	}
}

// TestReference checks that the page and its files come from the gateway, under a
// Content-Security-Policy that allows nothing inline.
func TestReference(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{Title: `<Things> & "more"`})
	page := send(g, http.MethodGet, "/api/docs", nil, "")
	body := read(t, page)
	if page.StatusCode != http.StatusOK || !strings.Contains(body, "&lt;Things&gt; &amp;") || strings.Contains(body, "<Things>") {
		t.Errorf("got %s\n%s", page.Status, body)
	}
	csp := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
		t.Errorf("the policy is %q", csp)
	}
	if regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\son\w+=|\sstyle=`).MatchString(body) {
		t.Errorf("the page has something inline:\n%s", body)
	}
	if !strings.Contains(body, `href="https://app.example.com/api/auth/login?returnTo=%2fapi%2fdocs"`) {
		t.Errorf("the page does not say where to sign in:\n%s", body)
	}
	links := regexp.MustCompile(`(?:src|href)="(/api/docs/[^"]+)"`).FindAllStringSubmatch(body, -1)
	if len(links) != 4 {
		t.Fatalf("the page names %d files of its own, want 4:\n%s", len(links), body)
	}
	for _, link := range links {
		plain := send(g, http.MethodGet, link[1], nil, "")
		zipped := send(g, http.MethodGet, link[1], []string{"Accept-Encoding: br, gzip"}, "")
		content := read(t, plain)
		if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Encoding") != "" || content == "" || strings.HasPrefix(content, "\x1f\x8b") {
			t.Errorf("%s: got %s, %v; want 200 without Content-Encoding", link[1], plain.Status, plain.Header)
		}
		if zipped.StatusCode != http.StatusOK || !strings.Contains(zipped.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: got %s, %v; want 200, immutable", link[1], zipped.Status, zipped.Header)
		}
		if encoded := zipped.Header.Get("Content-Encoding") == "gzip"; encoded != strings.HasPrefix(read(t, zipped), "\x1f\x8b") {
			t.Errorf("%s: Content-Encoding %q does not match the content", link[1], zipped.Header.Get("Content-Encoding"))
		}
		if refused := send(g, http.MethodGet, link[1], []string{"Accept-Encoding: gzip;q=0"}, ""); refused.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: got gzip for gzip;q=0", link[1])
		}
		if plain.Header.Get("X-Content-Type-Options") != "nosniff" || plain.Header.Get("Content-Security-Policy") != csp {
			t.Errorf("%s: got %v, want nosniff and the policy %q", link[1], plain.Header, csp)
		}
	}
	for _, path := range []string{"/api/docs/", "/api/docs/nothing", "/api/docs/0/swagger-ui.css", "/api/docsy"} {
		if got := send(g, http.MethodGet, path, nil, ""); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", path, got.Status)
		}
	}
}

// TestDocumentOff checks that nothing is published, and that the paths are free.
func TestDocumentOff(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{Off: true}, exposeDynamic(declareService(t, `get: "/api/docs"`)))
	if g.OpenAPI() != nil {
		t.Error("there is a document")
	}
	for path, status := range map[string]int{"/api/openapi.json": http.StatusNotFound, "/api/docs": http.StatusOK, "/api/docs/x": http.StatusNotFound} {
		if got := send(g, http.MethodGet, path, nil, ""); got.StatusCode != status {
			t.Errorf("%s: got %s, want %d", path, got.Status, status)
		}
	}
}

// TestDocumentBeforeWildcards checks that a wildcard route does not answer at the
// paths of the description.
func TestDocumentBeforeWildcards(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{}, exposeDynamic(declareService(t, `get: "/api/{id}"`, `get: "/api/{id}/{title}"`)))
	if got := send(g, http.MethodGet, "/api/openapi.json", nil, ""); read(t, got) != string(g.OpenAPI()) {
		t.Error("a route has taken the document's place")
	}
	if got := send(g, http.MethodGet, "/api/docs/x", nil, ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("got %s", got.Status)
	}
	if got := send(g, http.MethodGet, "/api/doc", nil, ""); got.StatusCode != http.StatusOK {
		t.Errorf("the wildcard's own paths: got %s", got.Status)
	}
}

// TestDocumentHasEveryRoute checks that each route is in the document once.
func TestDocumentHasEveryRoute(t *testing.T) {
	t.Parallel()
	g := described(t, gateway.DocumentConfig{})
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(g.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	operations := 0
	for _, item := range doc.Paths {
		operations += len(item)
	}
	if routes := g.Routes(); operations != len(routes) || slices.ContainsFunc(routes, func(r gateway.Route) bool { return r.RPC == "" }) {
		t.Errorf("got %d operations, want %d, one for each route", operations, len(routes))
	}
}

// TestReferenceBrand checks that the page has the name, the logo and the accent of the
// application.
func TestReferenceBrand(t *testing.T) {
	t.Parallel()
	logo := `<svg xmlns="http://www.w3.org/2000/svg"/>`
	g := described(t, gateway.DocumentConfig{Title: "Things", Brand: reference.Brand{
		Name: "<b>Kontor</b>", Logo: []byte(logo), LogoType: "image/svg+xml", Accent: "#0b6b57", DarkAccent: "#4cc9ab",
	}})
	body := read(t, send(g, http.MethodGet, "/api/docs", nil, ""))
	if !strings.Contains(body, "<title>Things: API reference · &lt;b&gt;Kontor&lt;/b&gt;</title>") {
		t.Errorf("the title lacks the name:\n%s", body)
	}
	image := regexp.MustCompile(`<img src="([^"]+)" alt="&lt;b&gt;Kontor`).FindStringSubmatch(body)
	style := regexp.MustCompile(`href="([^"]+/reference.css)"`).FindStringSubmatch(body)
	if image == nil || style == nil {
		t.Fatalf("no logo or style:\n%s", body)
	}
	got := send(g, http.MethodGet, image[1], nil, "")
	if read(t, got) != logo || got.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(got.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox") {
		t.Errorf("the logo: %s, %v", got.Status, got.Header)
	}
	if css := read(t, send(g, http.MethodGet, style[1], nil, "")); !strings.Contains(css, "--accent: #0b6b57;") || !strings.Contains(css, "--accent: #4cc9ab;") {
		t.Errorf("the style lacks the accents: %.200s", css)
	}
}
