package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// frame makes the request of a frame in a page of the provider.
func frame(b *browser, iss, sid string, edits ...edit) *response {
	b.s.t.Helper()
	edits = append([]edit{
		site("cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "iframe"), header("Accept", "text/html"),
		header("Referer", issuerURL+"/"),
	}, edits...)
	return b.do(http.MethodGet, "/api/auth/frontchannel-logout?"+url.Values{"iss": {iss}, "sid": {sid}}.Encode(), nil, edits...)
}

// OpenID Connect Front-Channel Logout: the frame is of another site, so that its
// request has no cookie. iss and sid name the session.
func TestFrontchannelLogout(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	laptop := s.browser().signIn()
	s.idp.change(func(p *provider) { p.id["sid"] = "sid-2" })
	phone := s.browser().signIn()

	res := frame(s.browser(), issuerURL, "sid-1")
	wantStatus(t, res, http.StatusOK)
	if laptop.signedIn() {
		t.Error("still signed in")
	}
	if !phone.signedIn() {
		t.Error("another session has ended")
	}
	// Only the provider may frame the answer. X-Frame-Options would forbid that.
	if csp := res.Header["Content-Security-Policy"]; len(csp) != 1 || csp[0] != "default-src 'none'; frame-ancestors "+issuerURL {
		t.Errorf("Content-Security-Policy %q", csp)
	}
	for name, want := range map[string]string{"X-Frame-Options": "", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Set-Cookie": ""} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}

	// An unknown sid gives the same answer.
	unknown := frame(s.browser(), issuerURL, "sid-1")
	if unknown.StatusCode != res.StatusCode || unknown.body != res.body || len(unknown.Header) != len(res.Header) {
		t.Errorf("the answer for an unknown sid differs: %d %q %v", unknown.StatusCode, unknown.body, unknown.Header)
	}
}

// A request needs iss and sid, once each.
func TestFrontchannelLogoutRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.change(func(p *provider) { p.id["sid"] = tokentest.Absent })
	nameless := s.browser().signIn()
	s.idp.change(func(p *provider) { p.id["sid"] = "sid-1" })
	b := s.browser().signIn()
	for query, status := range map[string]int{
		"":                                   400,
		"iss=" + issuerURL:                   400,
		"sid=sid-1":                          400,
		"iss=&sid=sid-1":                     400,
		"iss=" + issuerURL + "&sid=":         400,
		"iss=https://evil.example&sid=sid-1": 400,
		"iss=" + issuerURL + "/&sid=sid-1":   400,
		"iss=" + issuerURL + "&sid=sid-1&sid=sid-2":                400,
		"iss=" + issuerURL + "&iss=https://evil.example&sid=sid-1": 400,
		"iss=" + issuerURL + "&sid=SID-1":                          200, // of no session
		"iss=" + issuerURL + "&sid=user-1":                         200,
	} {
		res := s.browser().do(http.MethodGet, "/api/auth/frontchannel-logout?"+query, nil)
		if res.StatusCode != status {
			t.Errorf("%s: status %d, want %d", query, res.StatusCode, status)
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "frame-ancestors "+issuerURL) {
			t.Errorf("%s: Content-Security-Policy %q", query, csp)
		}
	}
	good := "/api/auth/frontchannel-logout?iss=" + issuerURL + "&sid=sid-1"
	wantStatus(t, s.browser().do(http.MethodGet, good, nil, header("Sec-Purpose", "prefetch")), http.StatusForbidden)
	for _, method := range []string{http.MethodPost, http.MethodHead} {
		wantStatus(t, s.browser().do(method, good, nil), http.StatusMethodNotAllowed)
	}
	if !b.signedIn() || !nameless.signedIn() {
		t.Error("signed out")
	}
}

// If provider and bff are of one site, the cookie is sent. It is cleared, and the
// refresh token revoked. The cookie of another session is kept.
func TestFrontchannelLogoutWithCookie(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	res := frame(b, issuerURL, "sid-2", site("same-site"))
	wantStatus(t, res, http.StatusOK)
	if len(res.Cookies()) != 0 || !b.signedIn() {
		t.Fatal("signed out by the logout of another session")
	}
	refresh := s.idp.good()
	res = frame(b, issuerURL, "sid-1", site("same-site"))
	if cleared := res.set("gatehouse"); cleared == nil || cleared.MaxAge >= 0 || b.signedIn() {
		t.Error("the cookie is not cleared")
	}
	eventually(t, "the refresh token is revoked", func() bool { return len(s.idp.revoked()) == 1 && s.idp.revoked()[0] == refresh[0] })
}

// A logout that fails is answered with 503.
func TestFrontchannelLogoutDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.bySID = outage })
	res := frame(s.browser(), issuerURL, "sid-1")
	wantStatus(t, res, http.StatusServiceUnavailable)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.store.change(func(s *store) { s.bySID = nil })
	if !b.signedIn() {
		t.Error("signed out")
	}
	// Before the provider was reached, its issuer is not verified.
	unfollowed(t, s)
	wantStatus(t, frame(s.browser(), issuerURL, "sid-1"), http.StatusServiceUnavailable)
}
