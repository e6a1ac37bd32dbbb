package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// prompt=none: whoever has a session at the provider is signed in without
// being asked.
func TestSilentLogin(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	location := b.navigate("/api/auth/login?prompt=none&returnTo=/public?x=1").location()
	if u, _ := url.Parse(location); u.Query().Get("prompt") != "none" {
		t.Errorf("prompt %q", u.Query()["prompt"])
	}
	res := b.back(s.idp.authorize(location))
	if res.location() != "/public?x=1" || !b.signedIn() {
		t.Errorf("status %d, to %q", res.StatusCode, res.location())
	}
}

// A silent login that comes to nothing leads back to where the person was,
// with nothing lost: nobody asked for it, so nobody is shown an error.
func TestSilentLoginRefused(t *testing.T) {
	t.Parallel()
	refused := func(code string) func(url.Values) {
		return func(q url.Values) { q.Del("code"); q.Set("error", code) }
	}
	s := start(t)
	for _, code := range []string{"login_required", "interaction_required", "consent_required", "account_selection_required", "temporarily_unavailable", "invalid_request"} {
		for _, signedIn := range []bool{false, true} {
			b := s.browser()
			if signedIn {
				b.signIn()
			}
			before := b.session()
			res := b.back(s.idp.authorize(b.navigate("/api/auth/login?prompt=none&returnTo=/public").location(), refused(code)))
			wantStatus(t, res, http.StatusSeeOther)
			if res.location() != "/public" || b.session() != before || len(b.attempts()) != 0 || b.signedIn() != signedIn {
				t.Errorf("%s: to %q, session as before: %t", code, res.location(), b.session() == before)
			}
		}
	}
	s = start(t, formPost)
	b := s.browser()
	if res := b.posts(s.idp.authorize(b.navigate("/api/auth/login?prompt=none&returnTo=/public").location(), refused("login_required"))); res.location() != "/public" {
		t.Errorf("by form: status %d, to %q", res.StatusCode, res.location())
	}
	// A login that the person has asked for says what went wrong.
	b = s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location(), refused("login_required"))), http.StatusUnauthorized)
	// An answer that does not pass the checks is no refusal.
	b = s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login?prompt=none").location(), func(q url.Values) {
		refused("login_required")(q)
		q.Set("iss", "https://evil.example")
	})), http.StatusBadRequest)
}

// Nor does an outage of the provider show on a page that only tried.
func TestSilentLoginWhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.offersPAR()
	s.idp.instead["/par"] = refuse(http.StatusServiceUnavailable, "")
	s.reconfigure()
	for name, b := range map[string]*browser{"push fails": s.browser(), "no metadata": unfollowed(t, start(t))} {
		res := b.navigate("/api/auth/login?prompt=none&returnTo=/public")
		wantStatus(t, res, http.StatusSeeOther)
		if res.location() != "/public" || len(b.attempts()) != 0 {
			t.Errorf("%s: to %q", name, res.location())
		}
	}
}

// A page that tries a silent login at each visit would go in circles for ever:
// it is stopped, and told.
func TestSilentLoginLoop(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	for range 5 {
		res := b.back(s.idp.authorize(b.navigate("/api/auth/login?prompt=none&returnTo=/public").location(), func(q url.Values) {
			q.Del("code")
			q.Set("error", "login_required")
		}))
		wantStatus(t, res, http.StatusSeeOther)
		s.clock.Advance(time.Second)
	}
	res := b.navigate("/api/auth/login?prompt=none&returnTo=/public")
	wantStatus(t, res, http.StatusBadRequest)
	if !strings.Contains(res.body, "in circles") || !strings.Contains(res.body, "without asking") || !strings.Contains(res.body, `href="/api/auth/login?returnTo=%2Fpublic"`) {
		t.Errorf("%s", res.body)
	}
}
