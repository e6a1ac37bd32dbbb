package bff_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// New refuses invalid patterns and names them (GHSA-7rh7: a rule with a query
// protected nothing).
func TestPatternsRefused(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		"", "private", "private/:path*", "/private?x=1", "/private?", "/private#x", "/private/*", "/private/**", "/private/(.*)", "/(?!api)",
		"/private/:path*/x", "/private/:", "/private/:*", "/private/:a-b", "/private/:a?b", "/private/:a??", "/private//a", "/private/", "/./private",
		"/../private", "/%70rivate", `/a\b`, "/a b", "/[id]", "/{id}", "/a|b", "/^a$", "/private/:a:b", "/private+", "/private;x", "http://localhost/private",
	} {
		cfg := start(t).cfg
		cfg.Access.Protect = []string{"/fine", pattern}
		if _, err := bff.New(cfg); err == nil || !strings.Contains(err.Error(), "Access.Protect[1]") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// Spellings of /private that have bypassed other products: each gives no page, or
// a protected one.
func TestProtectedPathBypass(t *testing.T) {
	t.Parallel()
	reached := false
	s := start(t, func(c *bff.Config) {
		c.Access.Protect = []string{"/private/:path*", "/orders/:id"}
		c.Frontend = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
	})
	b := s.browser()
	for _, target := range []string{
		"/private", "/private/", "/private?x", "/private?", "/private/a/b", "/PRIVATE", "/pRiVaTe/a", "/private;x=1", "/private;/a", "/%70rivate", "/p%72ivate/a",
		"//private", "///private", "/./private", "/x/../private", "/private/.", "/private/..", "/private/../private", "/private//", "/private//a",
		"/%2e/private", "/x/%2e%2e/private", "/private%2f", "/private%2Fa", "/%2fprivate", "/private%5c", `/private\`, `/\private`, "/private%00", "/private%0a", "/private%09", "/private%252f", "/%2570rivate",
		"/public/..;/private", "/public/..;x=1/private", "/x/.;/../private", "/;/private", "/;x/private", "/private/;/a", "/orders/;/5", "/public/..%3b/private", "/public/%2e%2e;/private", "/public;/../private", "/private;/../private", "/private/%2e%2e/private", "/private/%2e", "/private/.%2e/a", "/%2e%2e/private", "/private%2f%2e%2e%2fprivate", "/PRIVATE%2F", "/private/%2F", "/private/%5ca",
		"/private%2f..%2fpublic", "/public%2f..%2fprivate", "/public/%2e%2e%2fprivate", "/public%5c..%5cprivate", `/public\..\private`, "/private%01", "/private%7f", "/private/%00/public", "/private/%0d%0a", "/private%25%32%66", "/%252e/private", "/private/?/../public", "/private/a?/../../public",
		"/private;jsessionid=x/a", "/private;/;/a", "/Private;x", "/_next/data/build/PRIVATE.json", "/_next/data/build/private.json?x", "/_NEXT/data/build/private.json", "/_next/data/build/private.JSON", "/_next/Data/build/orders/5.json", "/_next/data//private.json", "/_next/data/build//private.json",
		"http://evil.example/private", "http://evil.example//private", "/orders/5", "/orders/5;x", "/Orders/5/",
		"/_next/data/build/private.json", "/_next/data/build/private/a.json", "/_next/data/build/orders/5.json?id=5",
		// Other forms of a page: its file, compressed, and the data that Next.js
		// has of it (CVE-2026-44575, CVE-2026-45109).
		"/private.html", "/private.HTML", "/private.htm", "/private.html.gz", "/private.html.br", "/private.txt", "/private.txt.zst", "/private.html/", "/private.html;x", "/private;x.html",
		// The page with an extension, and paths below it: the data of React
		// Router, SvelteKit and Nuxt.
		"/private.data", "/private.DATA", "/private.data?_routes=routes%2Fprivate", "/private.js", "/private.css.gz", "/private.", "/private.data;x", "/private%2edata", "/private/__data.json", "/private/_payload.json", "/private/a.data", "/orders/5.data", "/orders/5/__data.json",
		"/private%20", "/private%23", "/private%3f", "/private::$DATA", "/_next/data/private.json",
		"/_ipx/w_64/private/a.png", "/_vercel/image?url=%2Fprivate%2Fa.png", "/_image?href=/private/a.png", "/docs/_next/image?url=/private/a.png",
		// Go drops a pair with a semicolon, and Node.js keeps it.
		"/_next/image?url=/private/secret.png%23;&w=64&q=75", "/_next/image?url=/logo.png%ZZ&w=64", "/_next/image?url=/logo.png;url=/private/a.png",
		"/private.rsc", "/private.segments/_tree.segment.rsc", "/Private.Segments/private/__PAGE__.segment.rsc", "/private/__next._full.txt", "/orders/5/__next._tree.txt",
		"/_next/image?url=%2Fprivate%2Fa.png&w=64&q=75", "/_next/image/?w=64&url=/Private/a.png", "/_next/Image?url=/public.png&url=/private/a.png", "/_next/image?url=/x/../private/a.png",
		"/_next/image?url=/private%252Fa.png", "/_next/image?url=//private/a.png%00", "/_next/image?url=http://localhost:3000/private/a.png", "/_next/image?url=/./private/a.png",
	} {
		for name, edits := range map[string][]edit{
			"plain":                            nil,
			"X-Forwarded-Uri (CVE-2026-40575)": {header("X-Forwarded-Uri", "/public"), header("X-Original-Url", "/public"), header("X-Rewrite-Url", "/public")},
			"a health checker's agent (CVE-2026-34457)":    {header("User-Agent", "GoogleHC/1.0"), header("X-Forwarded-For", "127.0.0.1")},
			"a method override":                            {header("X-Http-Method-Override", "OPTIONS")},
			"another session":                              {header("Authorization", "Bearer x"), header("Cookie", "gatehouse=x; appSession=y")},
			"Next's middleware recursion (CVE-2025-29927)": {header("X-Middleware-Subrequest", "middleware:middleware:middleware")},
		} {
			for i, res := range []*response{b.navigate(target, edits...), b.fetch(target, edits...), b.do(http.MethodHead, target, nil, edits...), b.do(http.MethodOptions, target, nil, edits...)} {
				if reached {
					t.Errorf("%s, %s: %s reached the front end", target, name, []string{"a navigation", "a fetch", "HEAD", "OPTIONS"}[i])
					reached = false
				}
				if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusSeeOther && !strings.HasPrefix(res.location(), "/api/auth/login") {
					t.Errorf("%s, %s: status %d, to %q", target, name, res.StatusCode, res.location())
				}
			}
		}
	}
	// A "#" in a request line is part of the path (CVE-2026-41059).
	r := httptest.NewRequest(http.MethodGet, "/private%23/../../public", nil)
	r.Host = "localhost:3000"
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); reached || w.Code < 300 {
		t.Errorf("status %d", w.Code)
	}
	for _, path := range []string{"/privateer.html", "/public/private.html", "/orders.html", "/_next/static/private.segments.js", "/__next._tree.txt",
		"/_next/image?url=%2Flogo.png&w=64", "/_next/image?url=https://cdn.example/private/a.png", "/public?url=/private"} {
		if b.fetch(path); !reached {
			t.Errorf("%s needs a login", path)
		}
		reached = false
	}
	b.signIn()
	wantStatus(t, b.navigate("/private/a"), http.StatusOK)
	if !reached {
		t.Error("not forwarded with a session")
	}
}

// Only navigations are redirected to the login. A fetch would get a CORS error
// instead of 401 (oauth2-proxy #1522, envoy #30102).
func TestNavigationOrFetch(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	type headers map[string]string
	for name, c := range map[string]struct {
		method string
		headers
		login bool
	}{
		"navigation":                     {"GET", headers{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}, true},
		"fetch":                          {"GET", headers{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "text/html"}, false},
		"frame":                          {"GET", headers{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": "text/html"}, false},
		"image":                          {"GET", headers{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "text/html"}, false},
		"mode without dest":              {"GET", headers{"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, false},
		"form":                           {"POST", headers{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}, false},
		"HEAD":                           {"HEAD", headers{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, false},
		"old browser":                    {"GET", headers{"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, true},
		"old browser, XMLHttpRequest":    {"GET", headers{"Accept": "text/html", "X-Requested-With": "xmlhttprequest"}, false},
		"old browser, fetch":             {"GET", headers{"Accept": "*/*"}, false},
		"a program":                      {"GET", headers{}, false},
		"a program that asks for JSON":   {"GET", headers{"Accept": "application/json"}, false},
		"a WebSocket without our cookie": {"GET", headers{"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://localhost:3000"}, false},
	} {
		for _, path := range []string{"/private?x=1", "/api/private-route"} {
			res := b.do(c.method, path, nil, func(r *http.Request) {
				for name, value := range c.headers {
					r.Header.Set(name, value)
				}
			})
			if c.login {
				wantStatus(t, res, http.StatusSeeOther)
				want := map[string]string{
					"/private?x=1":       "/api/auth/login?returnTo=%2Fprivate%3Fx%3D1",
					"/api/private-route": "/api/auth/login?returnTo=%2Fapi%2Fprivate-route",
				}[path]
				if res.location() != want || res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: to %q, Cache-Control %q", name, path, res.location(), res.Header.Get("Cache-Control"))
				}
				continue
			}
			wantStatus(t, res, http.StatusUnauthorized)
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("%s %s: %s", name, path, got)
			}
		}
	}
}

// By default the private embedded pages are protected; with an empty list no page
// is.
func TestDefaultProtect(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/": 200, "/public": 200, "/private": 303, "/profile": 303, "/nowhere": 404} {
		wantStatus(t, start(t).browser().navigate(path), want)
	}
	s := start(t, func(c *bff.Config) {
		c.Access.Protect = []string{}
		c.Frontend = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	wantStatus(t, s.browser().navigate("/private"), http.StatusOK)
}

// Other sites must not frame pages.
func TestPagesAreNotFramed(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) {
		c.Frontend = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Content-Security-Policy", "default-src 'self'")
		})
	})
	if got := strings.Join(s.browser().navigate("/").Header["Content-Security-Policy"], ";"); !strings.Contains(got, "frame-ancestors 'none'") || !strings.Contains(got, "default-src") {
		t.Errorf("policy %q", got)
	}
	for _, path := range []string{"/", "/nowhere", "/api/auth/callback"} {
		if got := start(t).browser().navigate(path).Header.Get("Content-Security-Policy"); !strings.Contains(got, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, got)
		}
	}
}

// No request line reaches the front end without a login that can be interpreted
// as a protected page: by decoding, cleaning, folding of case or cutting of
// parameters, in any order, three times.
func FuzzProtectedPath(f *testing.F) {
	for _, target := range []string{
		"/", "/public", "/private", "//private", "/%2570rivate", "/public/..;/private", "/private;x/a", "/PRIVATE%2f", "/x/%2e%2e/private", "/private?x", "*", "http://x/private",
		"/_next/data/b/private.json", "/\\private", "/private%09", "/%c0%afprivate", "/.%00/private",
	} {
		f.Add(target)
	}
	reached := ""
	s := start(f, func(c *bff.Config) {
		c.Access.Protect = []string{"/private/:path*"}
		c.Frontend = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = r.URL.EscapedPath() })
	})
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: localhost:3000\r\n\r\n")))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		reached = ""
		s.ServeHTTP(httptest.NewRecorder(), r)
		seen := map[string]bool{}
		readings := []string{reached}
		for range 3 {
			var next []string
			for _, reading := range readings {
				if strings.HasPrefix(strings.ToLower(reading)+"/", "/private/") {
					t.Fatalf("%q reaches the front end, which may interpret it as %q", target, reading)
				}
				decoded, err := url.PathUnescape(reading)
				if err != nil {
					decoded = reading
				}
				for _, other := range []string{decoded, path.Clean("/" + reading), cutParameters(reading), strings.ReplaceAll(reading, `\`, "/")} {
					if !seen[other] {
						seen[other] = true
						next = append(next, other)
					}
				}
			}
			readings = next
		}
	})
}

// cutParameters cuts each segment at a semicolon, as servlet containers do.
func cutParameters(reading string) string {
	segments := strings.Split(reading, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}
