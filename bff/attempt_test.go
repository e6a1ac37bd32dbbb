package bff_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
)

func TestAttemptCookie(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options []func(*bff.Config)
		prefix  string
		secure  bool
	}{
		{"http", nil, "gatehouse-login-", false},
		{"https", []func(*bff.Config){https}, "__Host-gatehouse-login-", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, c.options...).browser()
			res := b.navigate("/api/auth/login?returnTo=/private")
			if len(res.Cookies()) != 1 {
				t.Fatalf("%d cookies", len(res.Cookies()))
			}
			got := res.Cookies()[0]
			if !strings.HasPrefix(got.Name, c.prefix) || got.Secure != c.secure || !got.HttpOnly || got.SameSite != http.SameSiteLaxMode ||
				got.Path != "/" || got.Domain != "" || got.MaxAge != 15*60 {
				t.Errorf("cookie: %s", strings.ReplaceAll(got.String(), got.Value, "…"))
			}
			q := sentTo(t, res)
			for _, name := range []string{"state", "nonce"} {
				if strings.Contains(got.String(), q.Get(name)) {
					t.Errorf("the cookie shows the %s", name)
				}
			}
		})
	}
}

// Login cookies must not grow or accumulate until the server answers 431
// (oauth2-proxy #2163, nextjs-auth0 #1917).
func TestAttemptCookieIsSmall(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	long := "/orders?" + strings.Repeat("a=1&", 510)
	for _, c := range []struct {
		name, query, back string
		status            int
	}{
		{"a long address", "returnTo=" + url.QueryEscape(long), long, http.StatusSeeOther},
		{"one too long", "returnTo=" + url.QueryEscape(long+"1234567"), "/", http.StatusSeeOther},
		{"long step-up", "acr_values=" + strings.Repeat("a+", 250), "/", http.StatusSeeOther},
		{"both: the address gives way", "returnTo=" + url.QueryEscape(long) + "&acr_values=" + strings.Repeat("%22", 500), "/", http.StatusSeeOther},
	} {
		b := s.browser()
		res := b.navigate("/api/auth/login?" + c.query)
		wantStatus(t, res, c.status)
		for _, cookie := range res.Cookies() {
			if n := len(cookie.String()); n > 4096 {
				t.Errorf("%s: a cookie of %d bytes", c.name, n)
			}
		}
		if c.status != http.StatusSeeOther {
			continue
		}
		if acr := sentTo(t, res).Get("acr_values"); acr != "" {
			s.idp.change(func(p *provider) { p.id["acr"] = strings.Fields(acr)[0] })
		}
		if back := b.back(s.idp.authorize(res.location())); back.location() != c.back {
			t.Errorf("%s: status %d, back to %q, want %q", c.name, back.StatusCode, back.location(), c.back)
		}
	}
}

func TestAtMostFiveAttempts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		step time.Duration
	}{{"one after the other", time.Second}, {"in the same second", 0}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			b := s.browser()
			var locations []string
			for i := range 12 {
				locations = append(locations, b.navigate(fmt.Sprintf("/api/auth/login?returnTo=/%d", i)).location())
				if n := len(b.attempts()); n != min(i+1, 5) {
					t.Fatalf("%d attempts after %d logins", n, i+1)
				}
				s.clock.Advance(c.step)
			}
			if c.step == 0 {
				return // this browser sends its cookies by name, so that their age is not known
			}
			// The five newest are completed in any order (oauth2-proxy #611, #817).
			for _, i := range []int{9, 11, 7, 8, 10} {
				res := b.back(s.idp.authorize(locations[i]))
				if want := fmt.Sprintf("/%d", i); res.location() != want {
					t.Errorf("login %d: status %d, back to %q", i, res.StatusCode, res.location())
				}
			}
			wantStatus(t, b.back(s.idp.authorize(locations[6])), http.StatusBadRequest)
			if len(b.attempts()) != 0 {
				t.Errorf("left over: %v", b.attempts())
			}
		})
	}
}

// The next login removes cookies with our prefix that were not sealed here, or
// with another secret. Other cookies stay.
func TestForeignAttemptsAreCleared(t *testing.T) {
	t.Parallel()
	b := start(t).browser()
	b.cookies = map[string]string{"gatehouse-login-old": "AAAA", "gatehouse-login-": "x", "theme": "dark", "xgatehouse-login-1": "y"}
	b.navigate("/api/auth/login")
	for _, name := range []string{"theme", "xgatehouse-login-1"} {
		if b.cookies[name] == "" {
			t.Errorf("%s is gone", name)
		}
	}
	if len(b.attempts()) != 2 { // the new one, and xgatehouse-login-1
		t.Errorf("attempts: %v", b.attempts())
	}
}

// A callback removes the cookie of its own attempt, whether the login succeeds
// or not, and no other.
func TestCallbackTakesItsAttempt(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	one := b.navigate("/api/auth/login").location()
	before := b.attempts()
	two := b.navigate("/api/auth/login").location()
	wantStatus(t, b.back(s.idp.authorize(two, func(q url.Values) { q.Set("code", "wrong") })), http.StatusBadRequest)
	if !slices.Equal(b.attempts(), before) {
		t.Errorf("attempts %v, want %v", b.attempts(), before)
	}
	wantStatus(t, b.back(s.idp.authorize(one)), http.StatusSeeOther)
	if len(b.attempts()) != 0 {
		t.Errorf("attempts %v", b.attempts())
	}
}

func TestAttemptRunsOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	location := b.navigate("/api/auth/login").location()
	s.clock.Advance(15*time.Minute + 2*time.Second)
	// The browser would have dropped the cookie; this one did not.
	res := b.back(s.idp.authorize(location))
	wantStatus(t, res, http.StatusBadRequest)
	if !strings.Contains(res.body, "run out") || !strings.Contains(res.body, "/api/auth/login") || b.session() != "" {
		t.Errorf("the page does not help: %s", res.body)
	}
	if len(s.idp.called("/token")) != 0 {
		t.Error("the code was redeemed")
	}
}

// An attempt that started with the former secret is completed with the new one,
// and with no other.
func TestAttemptSurvivesRotation(t *testing.T) {
	t.Parallel()
	s := start(t)
	old := s.cfg.Sessions.Secrets[0]
	fresh := "kJ8#mQ2$vX5&zB7*nL4!wR9@tY6^pD3%"
	for _, c := range []struct {
		secrets []string
		status  int
	}{{[]string{fresh, old}, http.StatusSeeOther}, {[]string{fresh}, http.StatusBadRequest}} {
		b := s.browser()
		s.cfg.Sessions.Secrets = []string{old}
		s.reconfigure()
		location := b.navigate("/api/auth/login").location()
		s.cfg.Sessions.Secrets = c.secrets
		s.reconfigure()
		wantStatus(t, b.back(s.idp.authorize(location)), c.status)
	}
}

// A node that cannot open an attempt of another live node leaves it to that
// node.
func TestAttemptOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		other := *s
		other.cfg.Sessions.Secrets = []string{rand.Text() + rand.Text()}
		other.cfg.Sessions.SecretsCompromised = true
		other.reconfigure()
		for _, node := range []*system{s, &other} {
			if err := node.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		b := s.browser()
		there := b.as(&other)
		callback := s.idp.authorize(there.navigate("/api/auth/login").location())
		kept := b.attempts()
		res := b.back(callback)
		if wantStatus(t, res, http.StatusServiceUnavailable); res.Header.Get("Retry-After") == "" || !slices.Equal(b.attempts(), kept) {
			t.Errorf("Retry-After %q, attempts %v, want one and %v", res.Header.Get("Retry-After"), b.attempts(), kept)
		}
		wantStatus(t, b.navigate("/api/auth/login"), http.StatusSeeOther)
		if len(b.attempts()) != 2 {
			t.Errorf("after another login was begun the attempts are %v, want both", b.attempts())
		}
		wantStatus(t, there.back(callback), http.StatusSeeOther)
	})
}

// A deep link is kept, and all attempts together send less than 6 KB: the oldest
// are removed.
func TestAttemptsTogether(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	for _, c := range []struct{ length, kept int }{{600, 5}, {1000, 3}, {2048, 2}} {
		b := s.browser()
		link := func(i int) string {
			to := fmt.Sprintf("/orders/%d?", i)
			return to + strings.Repeat("q", c.length-len(to))
		}
		var locations []string
		for i := range 8 {
			locations = append(locations, b.navigate("/api/auth/login?returnTo="+url.QueryEscape(link(i))).location())
			total := 0
			for _, name := range b.attempts() {
				total += len(name) + len("=; ") + len(b.cookies[name])
			}
			if total > 6<<10 || len(b.attempts()) != min(i+1, c.kept) {
				t.Errorf("%d bytes: %d attempts of %d bytes after %d logins, want %d", c.length, len(b.attempts()), total, i+1, c.kept)
			}
			s.clock.Advance(time.Second)
		}
		for i := 8 - c.kept; i < 8; i++ {
			if res := b.back(s.idp.authorize(locations[i])); res.location() != link(i) {
				t.Errorf("%d bytes: status %d, back to %d bytes", c.length, res.StatusCode, len(res.location()))
			}
		}
		wantStatus(t, b.back(s.idp.authorize(locations[7-c.kept])), http.StatusBadRequest)
	}
}

// Tabs that are restored at once start parallel logins. Their cookies are not
// treated as a cookie bomb, which would cost the session.
func TestManyTabsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser().signIn()
	all := map[string]string{}
	for i := range 10 {
		tab := s.browser()
		tab.navigate("/api/auth/login?returnTo=" + url.QueryEscape(fmt.Sprintf("/%d?%s", i, strings.Repeat("q", 2000))))
		maps.Copy(all, tab.cookies)
	}
	maps.Copy(b.cookies, all)
	if res := b.navigate("/private"); res.StatusCode != http.StatusOK || res.Header.Get("Clear-Site-Data") != "" {
		t.Fatalf("status %d, Clear-Site-Data %q", res.StatusCode, res.Header.Get("Clear-Site-Data"))
	}
	callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/public").location())
	if n := len(b.attempts()); n > 5 {
		t.Errorf("%d attempts are left", n)
	}
	if res := b.back(callback); res.location() != "/public" || !b.signedIn() {
		t.Errorf("status %d, to %q", res.StatusCode, res.location())
	}
}
