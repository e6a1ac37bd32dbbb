package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// With prompt=none, a user with a session at the provider is signed in without
// interaction.
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

// A silent login that fails returns to the page, without an error and with the
// session as it was.
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
	// A login that the user has started shows the error.
	b = s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login").location(), refused("login_required"))), http.StatusUnauthorized)
	// An invalid response is no refusal.
	b = s.browser()
	wantStatus(t, b.back(s.idp.authorize(b.navigate("/api/auth/login?prompt=none").location(), func(q url.Values) {
		refused("login_required")(q)
		q.Set("iss", "https://evil.example")
	})), http.StatusBadRequest)
}

// An outage of the provider does not show on a page that tries a silent login.
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

// A page that tries a silent login at each visit loops. The loop is stopped with
// an explanation.
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
