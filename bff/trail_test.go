package bff_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// round signs in once, as a browser in a loop does without a question.
func (b *browser) round(t *testing.T, query string, lose func(*browser)) *response {
	t.Helper()
	res := b.navigate("/api/auth/login?" + query)
	if res.StatusCode != http.StatusSeeOther {
		return res
	}
	wantStatus(t, b.back(b.s.idp.authorize(res.location())), http.StatusSeeOther)
	if lose != nil {
		lose(b)
	}
	b.s.clock.Advance(time.Second)
	return res
}

// A login that leads back to itself is stopped after a few rounds. The page
// names the reason.
func TestLoginLoop(t *testing.T) {
	t.Parallel()
	noCookie := func(b *browser) {
		for name := range b.cookies {
			if !strings.Contains(name, "trail") {
				delete(b.cookies, name)
			}
		}
	}
	notFound := func(b *browser) {
		for name := range b.cookies {
			if !strings.Contains(name, "trail") && !strings.Contains(name, "login") {
				b.cookies[name] = strings.Repeat("A", 43)
			}
		}
	}
	for name, c := range map[string]struct {
		lose func(*browser)
		says string
	}{
		"the browser keeps no session cookie": {noCookie, "does not keep the cookie"},
		"the session is not found":            {notFound, "did not know you afterwards"},
		"the page asks again and again":       {nil, "asked for another sign-in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			b := s.browser()
			for i := range 5 {
				if res := b.round(t, "returnTo=/private", c.lose); res.StatusCode != http.StatusSeeOther {
					t.Fatalf("stopped in round %d", i+1)
				}
			}
			res := b.round(t, "returnTo=/private", c.lose)
			wantStatus(t, res, http.StatusBadRequest)
			if !strings.Contains(res.body, "in circles") || !strings.Contains(res.body, c.says) || len(b.attempts()) != 0 {
				t.Errorf("%s", res.body)
			}
			// After a correction the next login succeeds.
			wantStatus(t, b.round(t, "returnTo=/private", nil), http.StatusSeeOther)
		})
	}
}

// Other repeated logins are no loop.
func TestNoLoginLoop(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	for range 8 { // signing out in between
		b.round(t, "returnTo=/private", nil)
		wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
	}
	b = s.browser()
	for range 8 { // slowly, as a user does
		wantStatus(t, b.round(t, "returnTo=/private", nil), http.StatusSeeOther)
		s.clock.Advance(15 * time.Second)
	}
	b = s.browser()
	for _, to := range []string{"/a", "/b", "/c", "/d", "/e", "/f", "/g"} { // other pages
		wantStatus(t, b.round(t, "returnTo="+to, nil), http.StatusSeeOther)
	}
	// A cookie with another content is ignored.
	for _, value := range []string{"", "x", strings.Repeat("A", 200)} {
		b.cookies["gatehouse-trail"] = value
		wantStatus(t, b.navigate("/api/auth/login"), http.StatusSeeOther)
	}
}

// Parallel tabs that all start before the first one ends are all signed in.
func TestParallelTabs(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	var callbacks []string
	for range 5 {
		callbacks = append(callbacks, s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location()))
	}
	for _, callback := range callbacks {
		res := b.back(callback)
		wantStatus(t, res, http.StatusSeeOther)
		if res.location() != "/private" || !b.signedIn() {
			t.Errorf("to %q", res.location())
		}
	}
}

// A browser without cookies does not loop: its first callback explains the
// problem.
func TestCookiesBlocked(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	b.cookies = map[string]string{}
	res := b.back(callback)
	wantStatus(t, res, http.StatusBadRequest)
	if !strings.Contains(res.body, "does not keep cookies for this site") {
		t.Errorf("%s", res.body)
	}
	b.cookies["other"] = "x" // it keeps some cookies
	if res := b.back(callback); strings.Contains(res.body, "does not keep cookies") || !strings.Contains(res.body, "has run out") {
		t.Errorf("%s", res.body)
	}
}
