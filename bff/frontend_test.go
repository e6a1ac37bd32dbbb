package bff_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
)

// A front end can set its own cookies, and none of the bff: neither a session
// (session fixation) nor a login in progress.
func TestFrontEndSetsNoCookieOfTheBFF(t *testing.T) {
	t.Parallel()
	for _, instance := range []struct{ base, cookie, name string }{
		{"http://localhost:3000", "", "gatehouse"},
		{"https://shop.example", "", "__Host-gatehouse"},
		{"http://localhost:3000", "shop", "shop"},
		{"https://shop.example", "shop", "__Host-shop"},
	} {
		base, name := instance.base, instance.name
		s := start(t, func(c *bff.Config) {
			c.BaseURL, c.Sessions.CookieName = base, instance.cookie
			c.Frontend = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for _, line := range []string{
					name + "=planted; Path=/", " " + name + " =planted", name + "-login-x=planted; Path=/", "theme=dark; Path=/", strings.TrimPrefix(name, "__Host-") + "-like=mine",
					name + "-answer-x=planted", name + "-trail=planted", name,
					// Without a name, which browsers send like one with it (CVE-2022-2860).
					"=" + name + "=planted; Path=/", " = " + name + "=planted",
				} {
					w.Header().Add("Set-Cookie", line)
				}
			})
		})
		got := strings.Join(s.browser().navigate("/public").Header["Set-Cookie"], " | ")
		if got != "theme=dark; Path=/ | "+strings.TrimPrefix(name, "__Host-")+"-like=mine" {
			t.Errorf("%s: the front end set %q", name, got)
		}
	}
}

// No shared cache stores protected pages (CVE-2025-48947), whatever the front end
// allows.
func TestProtectedPagesAreNotShared(t *testing.T) {
	t.Parallel()
	said := ""
	s := start(t, func(c *bff.Config) {
		c.Frontend = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if said != "" {
				w.Header().Set("Cache-Control", said)
			}
			for _, name := range []string{"CDN-Cache-Control", "Some-CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires"} {
				w.Header().Set(name, "max-age=60")
			}
			_, _ = w.Write([]byte("page"))
		})
	})
	b := s.browser().signIn()
	for _, c := range []struct{ path, said, want string }{
		{"/private/app.js", "public, max-age=31536000, immutable", "private, max-age=31536000, immutable"},
		{"/private", "s-maxage=60, stale-while-revalidate=5", "private, stale-while-revalidate=5"},
		{"/private", "", "private, no-cache"},
		{"/private", "max-age=5, no-store", "no-store"},
		{"/private", "PUBLIC", "private, no-cache"},
		{"/public", "public, max-age=60", "public, max-age=60"},
		{"/public", "", ""},
	} {
		said = c.said
		// RFC 9213: it takes precedence over Cache-Control.
		res := b.navigate(c.path)
		for _, name := range []string{"Cdn-Cache-Control", "Some-Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires"} {
			if private := strings.HasPrefix(c.path, "/private"); (res.Header.Get(name) == "") != private {
				t.Errorf("%s has %s %q", c.path, name, res.Header.Get(name))
			}
		}
		if got := b.navigate(c.path).Header.Get("Cache-Control"); got != c.want {
			t.Errorf("%s with %q of the front end: %q, want %q", c.path, c.said, got, c.want)
		}
	}
}

// Other paths to a protected page of a static export do not bypass the login.
func TestProtectedPagesOfDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index.html": "index", "private.html": "secret", "orders/index.html": "secret", "orders/data.json": "secret", "app.js": "script",
		"private.html.gz": "secret", "private.html.br": "secret", "private.txt": "secret", "private.segments/_tree.txt": "secret",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	app, err := spa.New(spa.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *bff.Config) {
		c.Frontend = app
		c.Access.Protect = []string{"/private", "/orders/:path*"}
	})
	b := s.browser()
	for _, path := range []string{
		"/private", "/private/", "/private.html", "/PRIVATE", "/private;x", "//private", "/./private", "/private%2f", "/private%2ehtml",
		"/orders", "/orders/", "/orders/index.html", "/orders/data.json", "/ORDERS/data.json", "/x/../orders/data.json",
		// Files beside the page: compressed, and its data.
		"/private.html.gz", "/private.html.br", "/private.txt", "/private.segments/_tree.txt", "/private.HTML.GZ",
	} {
		res := b.navigate(path)
		for range 3 { // redirects of the front end included
			if to := res.Header.Get("Location"); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/api/auth/") {
				res = b.navigate(to)
			}
		}
		if strings.Contains(res.body, "secret") {
			t.Errorf("%s shows the page without a session", path)
		}
	}
	if res := b.navigate("/"); res.StatusCode != http.StatusOK || len(res.Header["Content-Security-Policy"]) != 2 {
		t.Errorf("index: %d, policies %q, want the bff's and its own", res.StatusCode, res.Header["Content-Security-Policy"])
	}
	b.signIn()
	if res := b.navigate("/private"); res.body != "secret" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("signed in: %d %q, %q", res.StatusCode, res.body, res.Header.Get("Cache-Control"))
	}
}
