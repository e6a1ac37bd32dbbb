package bff_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// What browsers let other origins send, request by request, at everything
// here that changes something. The cookie comes along in all of them: from a
// sibling subdomain it does, whatever SameSite says, and elsewhere a browser
// without SameSite would send it.
func TestForgery(t *testing.T) {
	t.Parallel()
	const ours, sibling, evil = "https://shop.example", "https://blog.shop.example", "https://evil.example"
	s := start(t, https)
	b := s.browser().signIn()
	handle := b.sessions()[0].Handle
	targets := []struct{ method, path string }{
		{"POST", "/api/auth/logout"}, {"GET", "/api/auth/logout"},
		{"DELETE", "/api/auth/sessions"}, {"DELETE", "/api/auth/sessions/" + handle},
		{"POST", "/api/products"}, {"DELETE", "/api/products/1"}, {"POST", "/public"},
	}
	for from, site := range map[string]string{sibling: "same-site", evil: "cross-site", "null": "cross-site"} {
		form := []edit{header("Content-Type", "application/x-www-form-urlencoded"), header("Origin", from), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"), header("Accept", "text/html")}
		for how, edits := range map[string][]edit{
			"a form":                        form,
			"a form in a frame":             append(slices.Clip(form), header("Sec-Fetch-Dest", "iframe")),
			"a form of an old browser":      append(slices.Clip(form), without("Sec-Fetch-Mode"), without("Sec-Fetch-Dest"), without("Sec-Fetch-Site")),
			"fetch without CORS, as text":   {header("Content-Type", "text/plain"), header("Origin", from), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "empty")},
			"fetch with CORS":               {header("Content-Type", "application/json"), header("Origin", from), header("Sec-Fetch-Mode", "cors"), header("Sec-Fetch-Dest", "empty")},
			"sendBeacon":                    {header("Content-Type", "text/plain"), header("Origin", from), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "empty"), header("Sec-Fetch-User", "?1")},
			"a form that hides its referer": append(slices.Clip(form), header("Origin", "null"), header("Referer", "")),
			"an image":                      {header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "image"), header("Referer", from+"/"+ours)},
			"a method smuggled in a header": append(slices.Clip(form), header("X-Http-Method-Override", "DELETE")),
		} {
			for _, target := range targets {
				s.api.requests()
				all := append([]edit{header("Sec-Fetch-Site", site)}, edits...)
				res := b.do(target.method, target.path, strings.NewReader("a=b"), all...)
				if res.StatusCode != http.StatusForbidden || len(res.Cookies()) > 0 {
					t.Errorf("%s on %s, %s %s: status %d", how, from, target.method, target.path, res.StatusCode)
				}
				if n := len(s.api.requests()); n > 0 {
					t.Errorf("%s on %s, %s %s: the API saw it", how, from, target.method, target.path)
				}
			}
		}
		// What another origin reads it is not let read: no CORS at all.
		for _, path := range []string{"/api/auth/me", "/api/auth/session", "/api/auth/sessions", "/api/private-route"} {
			res := b.fetch(path, header("Origin", from), header("Sec-Fetch-Site", site))
			if res.Header.Get("Access-Control-Allow-Origin") != "" || res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s may be read by %s", path, from)
			}
			preflight := b.do(http.MethodOptions, path, nil, header("Origin", from), header("Access-Control-Request-Method", "DELETE"))
			if preflight.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s allows %s", path, from)
			}
		}
	}
	if !b.signedIn() || len(b.sessions()) != 1 {
		t.Error("signed out")
	}
}

// Whatever was under way when the person signed out brings nothing back:
// nextjs-auth0 wrote its rolling session anew with each answer, and so undid
// logouts (#2335, #2530, #2616).
func TestLogoutIsNotUndoneByARequestInFlight(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(b *browser) *response{
		"a call of the API": func(b *browser) *response { return b.fetch("/api/private-route") },
		"a page":            func(b *browser) *response { return b.navigate("/private") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived, goOn := make(chan bool), make(chan bool)
			slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				arrived <- true
				<-goOn
				_, _ = io.WriteString(w, "late")
			})
			s := start(t, func(c *bff.Config) { c.API, c.Frontend = slow, slow })
			b := s.browser().signIn()
			stolen := b.session()
			s.clock.Advance(time.Hour) // its use is to be written down
			late := b.as(s)
			late.cookies = map[string]string{"gatehouse": stolen}
			var res *response
			var done sync.WaitGroup
			done.Go(func() { res = request(late) })
			<-arrived
			wantStatus(t, b.navigate("/api/auth/logout"), http.StatusSeeOther)
			close(goOn)
			done.Wait()
			if len(res.Cookies()) != 0 {
				t.Errorf("the late answer sets %v", res.Header["Set-Cookie"])
			}
			if late.signedIn() {
				t.Error("signed in again")
			}
		})
	}
}

// The same where the use is noted only after the logout: a session that has
// ended is not brought back by its last use.
func TestLogoutIsNotUndoneByUse(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	late := b.as(s)
	late.cookies = map[string]string{"gatehouse": b.session()}
	s.clock.Advance(time.Hour)
	s.store.change(func(st *store) {
		st.beforeTouch = func() { wantStatus(t, b.navigate("/api/auth/logout"), http.StatusSeeOther) }
	})
	if res := late.fetch("/api/auth/me"); res.StatusCode != http.StatusNoContent || len(res.Cookies()) != 0 {
		t.Errorf("status %d, %v", res.StatusCode, res.Header["Set-Cookie"])
	}
	if late.signedIn() {
		t.Error("signed in again")
	}
}

// A cookie bomb: a sibling subdomain plants so many, or such big, cookies that
// servers refuse each request from then on. Here the refusal heals the browser.
func TestCookieBomb(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser().signIn()
	bomb := func(n, size int) edit {
		return func(r *http.Request) {
			for i := range n {
				r.AddCookie(&http.Cookie{Name: fmt.Sprintf("bomb%d", i), Value: strings.Repeat("a", size)})
			}
		}
	}
	for name, big := range map[string]edit{"many": bomb(2000, 8), "huge": bomb(4, 4000), "all that Chromium keeps": bomb(180, 4090)} {
		s.api.requests()
		page := b.navigate("/private", big)
		wantStatus(t, page, http.StatusRequestHeaderFieldsTooLarge)
		if page.Header.Get("Clear-Site-Data") != `"cookies"` || page.Header.Get("Cache-Control") != "no-store" || !strings.Contains(page.body, `href="/private"`) {
			t.Errorf("%s: %v", name, page.Header)
		}
		call := b.fetch("/api/private-route", big)
		if call.StatusCode != http.StatusRequestHeaderFieldsTooLarge || call.Header.Get("Clear-Site-Data") == "" || call.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: a call: %d %v", name, call.StatusCode, call.Header)
		}
		if n := len(s.api.requests()); n > 0 {
			t.Errorf("%s: the API saw it", name)
		}
	}
	// Not a bomb: what other applications of the domain keep.
	if res := b.fetch("/api/private-route", bomb(10, 500)); res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
	if !b.signedIn() {
		t.Error("the session has ended at the server, too")
	}
}

// oauth2-proxy #2163, nextjs-auth0 #1917: logins that were begun and never
// ended leave cookies, until the browser is locked out. However many are
// begun here, by whomever, what they leave fits into any server's header.
func TestLoginsDoNotPileUp(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser()
	long := "/public?q=" + strings.Repeat("a", 480)
	for range 50 {
		wantStatus(t, b.navigate("/api/auth/login?returnTo="+long), http.StatusSeeOther)
	}
	size := 0
	for name, value := range b.cookies {
		size += len(name) + len(value) + 3
	}
	if len(b.attempts()) > 5 || size > 5<<10 {
		t.Errorf("%d attempts leave %d bytes of cookies", len(b.attempts()), size)
	}
	if b.signIn(); !b.signedIn() {
		t.Error("not signed in")
	}
}
