package bff_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/spa"
)

// told is what the headers of a request tell a front end of the session.
type told struct{ session, subject string }

// listening gives the bff a front end that records the headers of its last request.
func listening(last *told) func(*bff.Config) {
	return func(c *bff.Config) {
		c.Frontend = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			*last = told{strings.Join(r.Header["Gatehouse-Session"], "|"), strings.Join(r.Header["Gatehouse-Subject"], "|")}
		})
	}
}

// A front-end server gets the state of the session and the subject.
func TestSessionHeader(t *testing.T) {
	t.Parallel()
	var got told
	s := start(t, listening(&got))
	b := s.browser()
	wantStatus(t, b.navigate("/public"), http.StatusOK)
	if got != (told{"none", ""}) {
		t.Errorf("signed out: told %q", got)
	}
	b.signIn()
	for _, path := range []string{"/public", "/private"} {
		wantStatus(t, b.navigate(path), http.StatusOK)
		if got != (told{"active", "user-1"}) {
			t.Errorf("%s, signed in: told %q", path, got)
		}
	}
	b.cookies[session.CookieName] = strings.Repeat("A", 43)
	wantStatus(t, b.navigate("/public"), http.StatusOK)
	if got != (told{"none", ""}) {
		t.Errorf("unknown session: told %q", got)
	}
}

// Any subject of the provider is encoded as a header value.
func TestSubjectHeader(t *testing.T) {
	t.Parallel()
	for sub, want := range map[string]string{
		"auth0|5f7c8ec7c33c6c004bbafe82": "auth0|5f7c8ec7c33c6c004bbafe82",
		"Zoë Müller":                     "Zo%C3%AB%20M%C3%BCller",
		"100%25":                         "100%2525",
		"a\r\nGatehouse-Session: active": "a%0D%0AGatehouse-Session:%20active",
		" x\t":                           "%20x%09",
	} {
		var got told
		s := start(t, listening(&got))
		s.idp.change(func(p *provider) { p.id["sub"], p.userinfo = sub, nil })
		wantStatus(t, s.browser().signIn().navigate("/public"), http.StatusOK)
		if back, err := url.PathUnescape(got.subject); got != (told{"active", want}) || err != nil || back != sub {
			t.Errorf("%q: told %q, want %q", sub, got, want)
		}
	}
}

// Headers of browsers with these names are removed, also in spellings that
// servers take for them.
func TestSessionHeaderForged(t *testing.T) {
	t.Parallel()
	var seen http.Header
	var trailer http.Header
	front := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen, trailer = r.Header, r.Trailer
	}))
	t.Cleanup(front.Close)
	target, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *bff.Config) { c.Frontend = bff.NewProxy(target, nil) })
	public := httptest.NewServer(s)
	t.Cleanup(public.Close)
	for _, forged := range []string{
		"Gatehouse-Session: active", "gatehouse-session: active", "GATEHOUSE-SESSION: active", "Gatehouse_Session: active", "Gatehouse-Session_: active", "gatehouse.session: active", "Gatehouse--Session: active", "Gatehouse~Session: active", "Gatehouse!Session: active",
		"GatehouseSession: active", "Gatehouse-Subject: admin", "Gatehouse_Subject: admin", "Gatehouse-Session-: active", "-Gatehouse-Session: active",
		"Connection: Gatehouse-Session", "Connection: close, gatehouse-session, Gatehouse-Subject", "Connection: Upgrade, Gatehouse-Session\r\nUpgrade: h2c",
		"Trailer: Gatehouse-Session", "TE: trailers\r\nTrailer: Gatehouse-Session, Gatehouse_Subject",
	} {
		conn, err := net.Dial("tcp", public.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(conn, "POST /public HTTP/1.1\r\nHost: localhost:3000\r\n"+forged+"\r\nGatehouse-Session: active\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nGatehouse-Session: active\r\nGatehouse_Subject: admin\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%q: %v, %v", forged, resp, err)
		}
		_ = conn.Close()
		for name, values := range seen {
			if strings.Contains(strings.ToLower(name), "gatehouse") && (name != "Gatehouse-Session" || strings.Join(values, "|") != "none") {
				t.Errorf("%q: the front end sees %s: %q", forged, name, values)
			}
		}
		if len(seen["Gatehouse-Session"]) != 1 || len(trailer) > 0 {
			t.Errorf("%q: the front end sees %q, trailer %v", forged, seen["Gatehouse-Session"], trailer)
		}
	}
}

// frozen blocks all calls of the store until the test ends. A context does not
// end them.
func (s *system) frozen(t *testing.T) {
	t.Helper()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.store.change(func(s *store) { s.get = func() error { <-release; return errOutage } })
}

// A public page of a front-end server waits for a frozen store for 200 ms.
func TestFrozenStorePublicPage(t *testing.T) {
	t.Parallel()
	for name, embedded := range map[string]bool{"a front-end server": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got told
				s := bubble(t, listening(&got), func(c *bff.Config) {
					if embedded {
						c.Frontend = nil
					}
				})
				b := s.browser().signIn()
				release := make(chan struct{})
				s.store.change(func(s *store) { s.get = func() error { <-release; return errOutage } })
				began := time.Now()
				res := b.navigate("/public")
				wantStatus(t, res, http.StatusOK)
				if took := time.Since(began); took > 200*time.Millisecond {
					t.Errorf("answered after %v", took)
				}
				if !embedded && got != (told{"unknown", ""}) || embedded && strings.Contains(res.body, "signed out") {
					t.Errorf("told %q: %s", got, res.body)
				}
				if len(res.Cookies()) > 0 {
					t.Errorf("sets %v", res.Cookies())
				}
				// Assets need no store.
				began = time.Now()
				if b.fetch("/api/auth/assets/x/site.css"); time.Since(began) > 0 {
					t.Errorf("an asset after %v", time.Since(began))
				}
				// A request without a cookie does not wait.
				began = time.Now()
				wantStatus(t, s.browser().navigate("/public"), http.StatusOK)
				if took := time.Since(began); took > 0 || !embedded && got.session != "none" {
					t.Errorf("without a cookie: after %v, told %q", took, got)
				}
				close(release)
				synctest.Wait()
				s.store.change(func(s *store) { s.get = nil })
				wantStatus(t, b.navigate("/public"), http.StatusOK)
				if !embedded && got != (told{"active", "user-1"}) {
					t.Errorf("after the outage: told %q", got)
				}
			})
		})
	}
}

// Streams and WebSockets, which end with their session, are 503 while it is
// unknown.
func TestFrozenStoreLastingAnswers(t *testing.T) {
	t.Parallel()
	var got told
	s := start(t, listening(&got))
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.get = outage })
	for _, edits := range [][]edit{
		{header("Connection", "Upgrade"), header("Upgrade", "websocket"), header("Origin", "http://localhost:3000")},
		{header("Accept", "text/event-stream")},
	} {
		got = told{}
		wantStatus(t, b.fetch("/public", edits...), http.StatusServiceUnavailable)
		if got != (told{}) {
			t.Errorf("reached the front end, told %q", got)
		}
	}
}

// Public files of a directory are served while the store is frozen or
// unavailable.
func TestFrozenStorePublicFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"index.html", "app.js", "private.html"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, option := range map[string]func(*bff.Config){
		"protected pages": func(c *bff.Config) { c.Access.Protect = []string{"/private"} },
		"public paths":    func(c *bff.Config) { c.Access.Public = []string{"/", "/app.js", "/router/:path*"} },
	} {
		s := start(t, option, func(c *bff.Config) {
			app, err := spa.New(spa.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			c.Frontend = app
		})
		b := s.browser().signIn()
		s.frozen(t)
		for _, path := range []string{"/", "/app.js", "/router/5"} {
			if res := b.navigate(path); res.StatusCode != http.StatusOK || res.body != "content" {
				t.Errorf("%s: %s: %d %s", name, path, res.StatusCode, res.body)
			}
		}
		s.store.change(func(s *store) { s.get = outage })
		wantStatus(t, b.navigate("/private"), http.StatusServiceUnavailable)
	}
}

// The look-up for a request ends when its browser disconnects.
func TestSessionHeaderOfAbandonedRequest(t *testing.T) {
	t.Parallel()
	var got told
	s := start(t, listening(&got))
	b := s.browser().signIn()
	s.frozen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.navigate("/public", func(r *http.Request) { *r = *r.WithContext(ctx) })
	if got.session == "active" {
		t.Errorf("told %q", got)
	}
}

// With public paths all others need a login: pages, their data under any name,
// files, pictures for an image optimizer.
func TestPublicPaths(t *testing.T) {
	t.Parallel()
	reached := false
	s := start(t, func(c *bff.Config) {
		c.Access.Public = []string{"/", "/about", "/_next/static/:path*", "/_next/image", "/img/:path+", "/favicon.ico"}
		c.Frontend = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
	})
	b := s.browser()
	for _, path := range []string{"/", "/about", "/about?x=1;%ZZ", "/_next/static/chunks/a.js", "/_next/image?url=%2Fimg%2Fa.png&w=64&q=75", "/favicon.ico"} {
		reached = false
		if wantStatus(t, b.fetch(path), http.StatusOK); !reached {
			t.Errorf("%s did not reach the front end", path)
		}
	}
	for _, path := range []string{
		"/private", "/PRIVATE", "/anything", "/about.data", "/ABOUT", "/about/x", "/_root.data", "/__data.json", "/_payload.json", "/_next/data/b/about.json", "/_next/image?url=%2Fprivate%2Fa.png&w=64&q=75",
		"/_next/image?url=/img/a.png%23;&w=64", "/about;x", "/about%3F", "//about", "/./about", "/about/../private", "/about%2f..%2fprivate", "/robots.txt", "/.well-known/x", "/_app/remote/hash/list", "/__nuxt_island/Card_1.json",
	} {
		for i, res := range []*response{b.fetch(path), b.navigate(path), b.do(http.MethodHead, path, nil), b.do(http.MethodOptions, path, nil), b.do(http.MethodPost, path, strings.NewReader("x"))} {
			login := i == 1 && res.StatusCode == http.StatusSeeOther && strings.HasPrefix(res.location(), "/api/auth/login?returnTo=")
			if reached = false; !login && res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusNotFound {
				t.Errorf("%s, kind %d: status %d", path, i, res.StatusCode)
			}
		}
		if reached {
			t.Errorf("%s reached the front end", path)
		}
	}
	// Next.js would show the page of this header around the other.
	wantStatus(t, b.fetch("/about", header("Next-Url", "/private")), http.StatusUnauthorized)
	wantStatus(t, b.fetch("/about", header("Next-Url", "/%zz")), http.StatusUnauthorized)
	wantStatus(t, b.fetch("/about", header("Next-Url", "/")), http.StatusOK)
	b.signIn()
	for _, path := range []string{"/private", "/about.data", "/_next/image?url=%2Fprivate%2Fa.png&w=64&q=75"} {
		res := b.fetch(path)
		if wantStatus(t, res, http.StatusOK); res.Header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("%s: Cache-Control %q", path, res.Header.Get("Cache-Control"))
		}
	}
}

// New refuses both lists together, and invalid patterns.
func TestPublicPathsRefused(t *testing.T) {
	t.Parallel()
	cfg := start(t).cfg
	cfg.Access.Protect, cfg.Access.Public = []string{"/private"}, []string{"/"}
	if _, err := bff.New(cfg); err == nil || !strings.Contains(err.Error(), "remove one") {
		t.Errorf("both lists: %v", err)
	}
	cfg.Access.Protect, cfg.Access.Public = nil, []string{"/", "/a?b=c"}
	if _, err := bff.New(cfg); err == nil || !strings.Contains(err.Error(), `Access.Public[1] "/a?b=c"`) {
		t.Errorf("a query: %v", err)
	}
	cfg.Access.Public = []string{}
	b, err := bff.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:3000/", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("with no public path: status %d", w.Code)
	}
}
