package bff_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// The API gets the listed headers of a browser, and those of the bff.
func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.api.requests()
	listed := map[string]string{
		"Accept": "application/json", "Accept-Language": "pl", "Content-Type": "application/json", "If-Match": `"7"`, "If-None-Match": `"8"`,
		"If-Range": `"9"`, "Range": "bytes=0-1", "Last-Event-Id": "5", "Connect-Protocol-Version": "1", "X-Grpc-Web": "1",
		"Connect-Timeout-Ms": "1000", "Connect-Accept-Encoding": "gzip", "Connect-Content-Encoding": "gzip", "Grpc-Accept-Encoding": "gzip", "Grpc-Encoding": "gzip",
		"User-Agent": "test",
	}
	hostile := map[string]string{
		"Authorization": "Bearer mine", "Proxy-Authorization": "Basic x", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example",
		"X-Forwarded-Proto": "gopher", "X-Forwarded-Uri": "/public", "X-Forwarded-User": "admin", "X-Forwarded-Access-Token": "x", "Forwarded": "for=6.6.6.6",
		"X-Real-Ip": "6.6.6.6", "X-Original-Url": "/admin", "X-Original-Method": "DELETE", "X-Rewrite-Url": "/admin", "X-Auth-Request-User": "admin", "X-Auth-User": "admin",
		"Grpc-Metadata-Authorization": "Bearer mine", "Grpc-Metadata-X-User": "admin", "Grpc-Timeout": "0S", "X-Http-Method-Override": "DELETE",
		"X_Forwarded_User": "admin", "X_Auth_User": "admin", "Grpc_Metadata_X": "admin", "Authorization_": "x", "Content_Length": "0",
		"Origin": "http://localhost:3000", "Referer": "http://localhost:3000/secret", "X-Whatever": "x", "Te-": "x", "Upgrade-Insecure-Requests": "1",
		// Of a peer that is no trusted proxy.
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "a=1", "Baggage": "user=ann",
	}
	res := b.do(http.MethodPost, "/api/products?x=1", strings.NewReader(`{"a":1}`), site("same-origin"), func(r *http.Request) {
		for _, all := range []map[string]string{listed, hostile} {
			for name, value := range all {
				r.Header[name] = []string{value}
			}
		}
		r.Header.Set("X-Request-Id", "browser-1")
		r.Header.Set("Cookie", r.Header.Get("Cookie")+"; other=1")
		r.Host = "evil.localhost"
		r.RemoteAddr = "203.0.113.7:4711"
	})
	wantStatus(t, res, http.StatusOK)
	seen := s.api.requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests", len(seen))
	}
	got := seen[0]
	want := http.Header{
		"Authorization": {"Bearer " + bearer(got)}, "X-Request-Id": {"browser-1"},
		"X-Forwarded-For": {"203.0.113.7"}, "X-Forwarded-Host": {"localhost:3000"}, "X-Forwarded-Proto": {"http"},
	}
	for name, value := range listed {
		want[name] = []string{value}
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Error(strings.ReplaceAll(diff, bearer(got), "…"))
	}
	if !strings.HasPrefix(bearer(got), "at-") {
		t.Error("the bearer token is not the session's")
	}
	if body, _ := io.ReadAll(got.Body); string(body) != `{"a":1}` || got.Method != http.MethodPost || got.URL.RequestURI() != "/api/products?x=1" || got.Host != "localhost:3000" {
		t.Errorf("%s %s at %s: %s", got.Method, got.URL, got.Host, body)
	}
}

// Headers that Connection names are dropped (RFC 9110 §7.6.1) before the bff's own
// are added, so that a client cannot have the token or the address dropped.
func TestConnectionHeader(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.api.requests()
	b.fetch("/api/private-route", func(r *http.Request) {
		r.Header["Connection"] = []string{"close, Authorization, x-forwarded-for", "X-Request-Id,If-Match, Accept"}
		r.Header.Set("If-Match", `"7"`)
	})
	got := s.api.requests()[0].Header
	for _, name := range []string{"Authorization", "X-Forwarded-For", "X-Request-Id"} {
		if got.Get(name) == "" {
			t.Errorf("%s was dropped", name)
		}
	}
	for _, name := range []string{"If-Match", "Accept", "Connection"} {
		if got.Get(name) != "" {
			t.Errorf("%s = %q", name, got.Get(name))
		}
	}
}

func TestForwardWithoutSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	res := s.browser().fetch("/api/private-route", header("Authorization", "Bearer mine"))
	wantStatus(t, res, http.StatusUnauthorized)
	if got := s.api.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != "" {
		t.Errorf("%d requests, Authorization %q", len(got), got[0].Header.Get("Authorization"))
	}
	// The answer is the API's, with its challenge.
	if res.Header.Get("Www-Authenticate") != "Bearer" || !strings.Contains(res.body, "no token") || res.Header.Get("Vary") != "Cookie" {
		t.Errorf("%v: %s", res.Header, res.body)
	}
	s.api.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	wantStatus(t, s.browser().navigate("/api/private-route"), http.StatusForbidden) // for which a login is no remedy
}

func TestAnswerHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		cache  string
	}{
		{"an answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, 200, "no-store"},
		{"the API says otherwise", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "private, max-age=60")
			_, _ = w.Write([]byte("x"))
		}, 200, "private, max-age=60"},
		{"a stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "no-store, no-transform")
			_, _ = w.Write([]byte("x"))
		}, 200, "no-store, no-transform"},
		// Some shared caches ignore Vary (CVE-2025-48947).
		{"the API marks it as public", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60, s-maxage=600")
			w.Header().Set("CDN-Cache-Control", "max-age=600") // RFC 9213
			_, _ = w.Write([]byte("x"))
		}, 200, "private, max-age=60"},
		{"a status alone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, 418, "no-store"},
		{"nothing at all", func(http.ResponseWriter, *http.Request) {}, 200, "no-store"},
		{"flushed first", func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, 200, "no-store"},
		{"a status twice", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) }, 201, "no-store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, https)
			b := s.browser().signIn()
			s.api.set(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("Set-Cookie", "gatehouse=evil") // session fixation, or cached (CVE-2025-48947)
				h.Set("Access-Control-Allow-Origin", "*")
				h.Set("Access-Control-Allow-Credentials", "true")
				h.Add("X-Request-Id", "another")
				h.Add("X-Content-Type-Options", "nosniff")
				c.answer(w, r)
			})
			res := b.fetch("/api/products")
			wantStatus(t, res, c.status)
			for name, want := range map[string]string{
				"Cache-Control": c.cache, "Vary": "Cookie", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Cdn-Cache-Control": "",
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Strict-Transport-Security": "max-age=31536000",
			} {
				if got := strings.Join(res.Header[name], "|"); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if ids := res.Header["X-Request-Id"]; len(ids) != 1 || ids[0] == "another" {
				t.Errorf("X-Request-Id = %q", ids)
			}
		})
	}
}

// Each event of a stream is sent at once.
func TestStreamsAreNotBuffered(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		for _, event := range []string{"one", "two"} {
			_, _ = io.WriteString(w, event)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Value(next{}).(chan bool)
		}
	})
	for _, signedIn := range []bool{true, false} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:3000/api/watch", nil)
		if signedIn {
			r.AddCookie(&http.Cookie{Name: "gatehouse", Value: b.session()})
		}
		w := &flushes{ResponseRecorder: httptest.NewRecorder(), flushed: make(chan string)}
		gate := make(chan bool)
		go func() {
			s.ServeHTTP(w, r.WithContext(contextWith(r, gate)))
			close(w.flushed)
		}()
		for _, want := range []string{"one", "onetwo"} {
			if got := <-w.flushed; got != want {
				t.Errorf("flushed %q, want %q", got, want)
			}
			gate <- true
		}
		if got, more := <-w.flushed; more {
			t.Errorf("flushed again: %q", got)
		}
	}
}

// Paths below /api/ with a second spelling are not forwarded.
func TestAPIPaths(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	for target, want := range map[string]string{
		"/api": "/api", "/api/": "/api/", "/api/a/b": "/api/a/b", "/api/a%2Fb": "/api/a%2Fb", "/API/x": "/API/x", "/api/a%20b?c=%2e%2e": "/api/a%20b?c=%2e%2e",
		"/api/../x": "", "/api/a/../b": "", "/api//a": "", "/api/./a": "", "/api/%2e%2e/x": "", "/api/a%2f..%2fauth": "", "/api/a%5cb": "", "/api/a%00b": "",
		"/api/auth": "", "/api/auth/": "", "/api/auth/other": "", "/API/AUTH/login": "", "/api/auth/login/": "", "/api/Auth/me": "", "//api/a": "", "/apis": "", "/x/api/a": "",
	} {
		s.api.requests()
		res := b.fetch(target)
		seen := s.api.requests()
		if want == "" {
			if len(seen) != 0 || res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: status %d, %d requests", target, res.StatusCode, len(seen))
			}
		} else if len(seen) != 1 || seen[0].URL.RequestURI() != want {
			t.Errorf("%s: status %d, %d requests", target, res.StatusCode, len(seen))
		}
	}
}

// X-Forwarded-For is believed of Access.TrustedProxies only.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		remote    string
		forwarded []string
		trust     bool
		want      string
	}{
		{"203.0.113.7:1", nil, true, "203.0.113.7"},
		{"203.0.113.7:1", []string{"6.6.6.6"}, true, "203.0.113.7"},
		{"10.0.0.1:1", []string{"6.6.6.6"}, false, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.9"}, true, "198.51.100.9"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.9"}, true, "198.51.100.9"},
		{"10.0.0.1:1", []string{"6.6.6.6", "198.51.100.9, 10.0.0.2"}, true, "198.51.100.9"},
		{"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, true, "10.0.0.3"},
		{"10.0.0.1:1", []string{"6.6.6.6, <script>"}, true, "10.0.0.1"},
		{"[fd00::1]:1", []string{"2001:db8::7"}, true, "2001:db8::7"},
		{"[::ffff:10.0.0.1]:1", []string{"198.51.100.9"}, true, "198.51.100.9"},
		{"@", []string{"6.6.6.6"}, true, ""},
	} {
		s := start(t, func(cfg *bff.Config) {
			if c.trust {
				cfg.Access.TrustedProxies = trusted
			}
		})
		s.browser().fetch("/api/x", func(r *http.Request) {
			r.RemoteAddr = c.remote
			r.Header["X-Forwarded-For"] = c.forwarded
		})
		if got := s.api.requests()[0].Header["X-Forwarded-For"]; strings.Join(got, "") != c.want {
			t.Errorf("%s %v (%t): %q, want %q", c.remote, c.forwarded, c.trust, got, c.want)
		}
	}
}

// Bodies are forwarded unchanged, request trailers are not.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	large := bytes.Repeat([]byte("x"), 1<<20)
	s.api.set(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(r.Trailer) > 0 {
			t.Errorf("trailers %v", r.Trailer)
		}
		_, _ = w.Write(body)
	})
	res := b.do(http.MethodPut, "/api/upload", bytes.NewReader(large), site("same-origin"), func(r *http.Request) {
		r.Trailer = http.Header{"X-Auth-User": {"admin"}}
	})
	if res.StatusCode != http.StatusOK || !slices.Equal([]byte(res.body), large) {
		t.Errorf("status %d, %d bytes", res.StatusCode, len(res.body))
	}
}

// Header fields that the application lists reach the API, and no others.
func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) { cfg.RequestHeaders = []string{"idempotency-key"} })
	s.browser().signIn().fetch("/api/private-route", header("Idempotency-Key", "1"), header("X-Tenant", "acme"))
	seen := s.api.requests()
	if got := seen[len(seen)-1].Header; got.Get("Idempotency-Key") != "1" || got.Get("X-Tenant") != "" {
		t.Errorf("the API got %v, want Idempotency-Key and not X-Tenant", got)
	}
	cfg := s.cfg
	cfg.RequestHeaders = []string{"X-Forwarded-For"}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "RequestHeaders[0]") {
		t.Errorf("got %v, want an error about RequestHeaders", err)
	}
}
