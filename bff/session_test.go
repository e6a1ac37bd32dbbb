package bff_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

func TestSessionCookie(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options []func(*bff.Config)
		cookie  string
	}{
		{"http", nil, "gatehouse"},
		{"https", []func(*bff.Config){https}, "__Host-gatehouse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, c.options...)
			b := s.browser()
			res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
			got := res.set(c.cookie)
			if got == nil || got.Secure != (c.name == "https") || !got.HttpOnly || got.SameSite != http.SameSiteLaxMode ||
				got.Path != "/" || got.Domain != "" || got.MaxAge != 7*24*3600 {
				t.Fatal("the cookie has wrong attributes")
			}
			if raw, err := base64.RawURLEncoding.DecodeString(got.Value); err != nil || len(raw) != 32 {
				t.Errorf("cookie value of %d bytes, want 32", len(raw))
			}
		})
	}
}

// Session fixation: a session cookie from before a login is not valid after it.
func TestFixation(t *testing.T) {
	t.Parallel()
	s := start(t)
	planted := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("m", 32)))
	mallory := s.browser().signIn()
	for name, value := range map[string]string{"made up": planted, "the attacker's own": mallory.session()} {
		b := s.browser()
		b.cookies[session.CookieName] = value
		b.signIn()
		if b.session() == value {
			t.Errorf("%s: the login kept the planted value", name)
		}
		attacker := s.browser()
		attacker.cookies[session.CookieName] = value
		if attacker.signedIn() {
			t.Errorf("%s: the planted value is signed in", name)
		}
	}
}

// A login ends the session that it replaces, and no other (CVE-2026-34454).
func TestLoginReplacesTheSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	b, elsewhere := s.browser().signIn(), s.browser().signIn()
	old := s.browser()
	old.cookies[session.CookieName] = b.session()
	b.signIn()
	if old.signedIn() {
		t.Error("the old session has not ended")
	}
	if !b.signedIn() || !elsewhere.signedIn() {
		t.Error("another session ended")
	}
	// A failed login ends no session.
	s.idp.change(func(p *provider) { p.id["nonce"] = "wrong" })
	b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	if !b.signedIn() {
		t.Error("a failed login ended the session")
	}
}

// A sibling subdomain can set a second session cookie. Both are then ignored.
func TestTwoSessionCookies(t *testing.T) {
	t.Parallel()
	s := start(t)
	alice, mallory := s.browser().signIn(), s.browser().signIn()
	res := alice.fetch("/api/auth/me", func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: session.CookieName, Value: mallory.session()})
	})
	wantStatus(t, res, http.StatusNoContent)
	if !alice.signedIn() || !mallory.signedIn() {
		t.Error("a session ended")
	}
}

func TestMe(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.id = map[string]any{
		"azp": clientID, "auth_time": time.Now().Unix(), "s_hash": "x", "c_hash": "y", "nbf": 1,
		"big": json.Number("9007199254740993"), "roles": []string{"seller"}, "email_verified": true,
	}
	b := s.browser()
	res := b.fetch("/api/auth/me")
	wantStatus(t, res, http.StatusNoContent)
	if res.body != "" || len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("signed out: %q, %v", res.body, res.Header)
	}
	b.signIn()
	res = b.fetch("/api/auth/me")
	wantStatus(t, res, http.StatusOK)
	var got map[string]any
	d := json.NewDecoder(strings.NewReader(res.body))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	delete(got, "jti")
	// As in nextjs-auth0 v3: without the claims about the ID token.
	want := map[string]any{
		"sub": "user-1", "sid": "sid-1", "name": "Ada", "email": "ada@example.com", "picture": "https://idp.example/ada.png",
		"big": json.Number("9007199254740993"), "roles": []any{"seller"}, "email_verified": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
}

// Userinfo is requested only for claims that the ID token lacks. The claims of
// the ID token take precedence, and userinfo says nothing about the login.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.browser().signIn()
	if n := len(s.idp.called("/userinfo")); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
	s.idp.id["name"] = tokentest.Absent
	s.idp.userinfo["acr"], s.idp.userinfo["sid"], s.idp.userinfo["nonce"] = "urn:mfa", "sid-2", "n"
	b := s.browser().signIn()
	calls := s.idp.called("/userinfo")
	if len(calls) != 1 || calls[0].header.Get("Authorization") != "Bearer "+b.access() {
		t.Errorf("%d calls", len(calls))
	}
	body := b.fetch("/api/auth/me").body
	for text, want := range map[string]bool{"Ada Userinfo": true, "ada@example.com": true, "ada@userinfo": false, "urn:mfa": false, "sid-2": false} {
		if strings.Contains(body, text) != want {
			t.Errorf("contains %q: %t: %s", text, !want, body)
		}
	}
}

// oauth2-proxy #2503, #1325, #2904: an outage of the store ends no session.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser().signIn()
	s.store.change(func(s *store) { s.get = outage })
	for _, path := range []string{"/api/auth/me", "/api/auth/session", "/api/private-route", "/private", "/api/auth/logout"} {
		for _, res := range []*response{b.fetch(path), b.navigate(path)} {
			wantStatus(t, res, http.StatusServiceUnavailable)
			if res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 {
				t.Errorf("%s: Retry-After %q, %d cookies", path, res.Header.Get("Retry-After"), len(res.Cookies()))
			}
			if strings.Contains(res.body, errOutage.Error()) {
				t.Errorf("%s: the answer has the error: %s", path, res.body)
			}
		}
	}
	for _, r := range s.api.requests() { // the API knows which routes are public
		if r.Method != http.MethodGet || bearer(r) != "" {
			t.Errorf("%s forwarded with the token %q", r.Method, bearer(r))
		}
	}
	// A public page is shown, and keeps the cookie.
	wantStatus(t, s.browser().navigate("/public"), http.StatusOK)
	res := b.navigate("/public")
	wantStatus(t, res, http.StatusOK)
	if strings.Contains(res.body, "signed out") || res.Header.Get("Cache-Control") != "no-store" || len(res.Cookies()) != 0 {
		t.Errorf("Cache-Control %q, %d cookies: %s", res.Header.Get("Cache-Control"), len(res.Cookies()), res.body)
	}
	s.store.change(func(s *store) { s.get = nil })
	if !b.signedIn() {
		t.Error("signed out by an outage")
	}
}

func TestSessionTimeouts(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Sessions.IdleTimeout, c.Sessions.AbsoluteTimeout = time.Hour, 3*time.Hour })
	s.idp.lifetime = 24 * time.Hour // so that no refresh is due
	b := s.browser().signIn()
	left := func() (idle, absolute int) {
		t.Helper()
		var got struct {
			Idle     int `json:"idle_seconds"`
			Absolute int `json:"absolute_seconds"`
		}
		if err := json.Unmarshal([]byte(b.fetch("/api/auth/session").body), &got); err != nil {
			t.Fatal(err)
		}
		return got.Idle, got.Absolute
	}
	s.clock.Advance(50 * time.Minute)
	if idle, absolute := left(); idle != 600 || absolute != 130*60 {
		t.Errorf("left: %d, %d", idle, absolute)
	}
	if idle, _ := left(); idle != 600 {
		t.Error("the request has extended it")
	}
	for range 2 { // use extends it, up to the absolute end
		if !b.signedIn() {
			t.Fatal("not signed in")
		}
		s.clock.Advance(50 * time.Minute)
	}
	if idle, absolute := left(); idle != 10*60 || absolute != 30*60 {
		t.Errorf("left: %d, %d", idle, absolute)
	}
	if !b.signedIn() {
		t.Fatal("not signed in")
	}
	s.clock.Advance(30 * time.Minute)
	if b.signedIn() {
		t.Error("signed in after the absolute timeout")
	}
	wantStatus(t, b.fetch("/api/auth/session"), http.StatusNoContent)

	b = s.browser().signIn()
	s.clock.Advance(time.Hour)
	if b.signedIn() {
		t.Error("signed in after the idle timeout")
	}
}

// Without a refresh token a session ends with its access token: 401, and
// navigations are redirected to the login (nextjs-auth0 #1723: expired tokens
// were forwarded).
func TestNoRefreshToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.answer["refresh_token"] = tokentest.Absent
	b := s.browser().signIn()
	s.clock.Advance(5*time.Minute - time.Second)
	if !b.signedIn() {
		t.Fatal("ended too early")
	}
	s.clock.Advance(time.Second)
	s.api.requests()
	wantStatus(t, b.fetch("/api/private-route"), http.StatusUnauthorized)
	for _, r := range s.api.requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("an expired token was forwarded (oauth2-proxy #841)")
		}
	}
	if res := b.navigate("/private"); !strings.HasPrefix(res.location(), "/api/auth/login") {
		t.Errorf("status %d, to %q", res.StatusCode, res.location())
	}
	if b.signedIn() {
		t.Error("signed in")
	}
}
