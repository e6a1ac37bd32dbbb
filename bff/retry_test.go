package bff_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// refusing answers 401 to some tokens, with headers and a body that must not
// reach the browser.
func refusing(challenge string, refused func(token string) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) == "" || refused(bearer(r)) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.Header().Set("X-First", "yes")
			reply(w, http.StatusUnauthorized, map[string]string{"message": "refused"})
			_ = http.NewResponseController(w).Flush()
			return
		}
		w.Header().Set("X-Second", "yes")
		reply(w, http.StatusOK, map[string]string{"message": "taken"})
	}
}

const invalidTokenChallenge = `Bearer realm="api", error="invalid_token", error_description="no"`

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		old := b.access()
		time.Sleep(time.Minute)
		s.api.set(refusing(invalidTokenChallenge, func(token string) bool { return token == old }))
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			res := b.do(method, "/api/private-route?x=1", nil, site("same-origin"))
			wantStatus(t, res, http.StatusOK)
			if res.Header.Get("X-First") != "" || res.Header.Get("Www-Authenticate") != "" || res.Header.Get("X-Second") == "" || strings.Contains(res.body, "refused") {
				t.Errorf("%s: the answer has parts of the first one: %v, %s", method, res.Header, res.body)
			}
			if len(res.Header["Vary"]) != 1 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", res.Header)
			}
		}
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes", n)
		}
		seen := s.api.requests()
		if len(seen) != 3 || seen[0].URL.RequestURI() != seen[1].URL.RequestURI() || seen[1].Method != http.MethodGet {
			t.Errorf("the API saw %d requests", len(seen))
		}
	})
}

// Other refusals, and those of requests that cannot be repeated, reach the browser.
func TestNoRetry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, body, challenge string
		change                  func(*provider)
	}{
		"POST":                      {http.MethodPost, "", invalidTokenChallenge, nil},
		"DELETE":                    {http.MethodDelete, "", invalidTokenChallenge, nil},
		"a GET with a body":         {http.MethodGet, "{}", invalidTokenChallenge, nil},
		"no challenge":              {http.MethodGet, "", "", nil},
		"no error":                  {http.MethodGet, "", `Bearer realm="api"`, nil},
		"a scope is missing":        {http.MethodGet, "", `Bearer error="insufficient_scope"`, nil},
		"step-up (RFC 9470)":        {http.MethodGet, "", `Bearer error="insufficient_user_authentication", max_age="0"`, nil},
		"there is no refresh token": {http.MethodGet, "", invalidTokenChallenge, func(p *provider) { p.answer["refresh_token"] = tokentest.Absent }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				if c.change != nil {
					c.change(s.idp)
				}
				b := s.browser().signIn()
				time.Sleep(time.Minute)
				s.api.set(refusing(c.challenge, func(string) bool { return true }))
				var res *response
				if c.body != "" {
					res = b.do(c.method, "/api/x", strings.NewReader(c.body), site("same-origin"))
				} else {
					res = b.do(c.method, "/api/x", nil, site("same-origin"))
				}
				wantStatus(t, res, http.StatusUnauthorized)
				if res.Header.Get("X-First") == "" || !strings.Contains(res.body, "refused") || res.Header.Get("Www-Authenticate") != c.challenge {
					t.Errorf("not the API's answer: %v, %s", res.Header, res.body)
				}
				if len(s.idp.refreshes()) != 0 || len(s.api.requests()) != 1 || !b.signedIn() {
					t.Errorf("%d refreshes", len(s.idp.refreshes()))
				}
			})
		})
	}
}

// An API that refuses all tokens, because of a wrong audience for example, does
// not cause a refresh for each request.
func TestAPIThatRefusesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		s.api.set(refusing(invalidTokenChallenge, func(string) bool { return true }))
		time.Sleep(time.Minute)
		for range 20 {
			res := b.fetch("/api/private-route")
			wantStatus(t, res, http.StatusUnauthorized)
			if !strings.Contains(res.body, "refused") || res.Header.Get("Www-Authenticate") != invalidTokenChallenge {
				t.Errorf("not the API's answer: %s", res.body)
			}
			time.Sleep(time.Second)
		}
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes in 20 s", n)
		}
		if !b.signedIn() {
			t.Error("signed out")
		}
	})
	// A token of a refresh of an expired one.
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		s.api.set(refusing(invalidTokenChallenge, func(string) bool { return true }))
		time.Sleep(20 * time.Minute)
		wantStatus(t, b.fetch("/api/private-route"), http.StatusUnauthorized)
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// The denial of a subject includes all tokens of its second. After a login in
// that second, the refused token is replaced by one of a later second.
func TestLoginInTheSecondOfADenial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		issued := map[string]int64{}
		s.idp.change(func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
				answer := httptest.NewRecorder()
				p.token(answer, r)
				var tokens struct {
					Access string `json:"access_token"`
				}
				if err := json.Unmarshal(answer.Body.Bytes(), &tokens); err != nil {
					t.Error(err)
				}
				issued[tokens.Access] = time.Now().Unix()
				maps.Copy(w.Header(), answer.Header())
				_, _ = w.Write(answer.Body.Bytes())
			}
		})
		time.Sleep(300 * time.Millisecond)
		denied := time.Now().Unix()
		s.api.set(refusing(invalidTokenChallenge, func(token string) bool { return issued[token] <= denied }))
		b := s.browser().signIn()
		wantStatus(t, b.fetch("/api/private-route"), http.StatusOK)
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}

func TestParallelRefusalsRefreshOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		old := b.access()
		time.Sleep(time.Minute)
		s.api.set(refusing(invalidTokenChallenge, func(token string) bool { return token == old }))
		gate := make(chan bool)
		s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, gate) })
		var done sync.WaitGroup
		for range 100 {
			request := &browser{s: s, cookies: map[string]string{"gatehouse": b.session()}}
			done.Go(func() {
				if res := request.fetch("/api/private-route"); res.StatusCode != http.StatusOK {
					t.Errorf("status %d, %v: %s", res.StatusCode, res.Header, res.body)
				}
			})
		}
		synctest.Wait()
		close(gate)
		done.Wait()
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// If the refused token cannot be renewed: 503 while the provider is unavailable,
// and the answer for signed-out users when the grant has ended.
func TestRefusedAndNotRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		time.Sleep(time.Minute)
		s.api.set(refusing(invalidTokenChallenge, func(string) bool { return true }))
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(500, "") })
		res := b.fetch("/api/private-route")
		wantStatus(t, res, http.StatusServiceUnavailable)
		if res.Header.Get("X-First") != "" || res.Header.Get("Www-Authenticate") != "" || !b.signedIn() {
			t.Errorf("headers %v", res.Header)
		}
		time.Sleep(2 * time.Second)
		s.api.requests()
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(400, "invalid_grant") })
		wantStatus(t, b.fetch("/api/private-route"), http.StatusUnauthorized)
		if seen := s.api.requests(); len(seen) != 2 || bearer(seen[1]) != "" {
			t.Errorf("%d requests", len(seen))
		}
		if b.signedIn() {
			t.Error("signed in")
		}
		s.idp.change(func(p *provider) { clear(p.instead) })
		b.signIn()
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(400, "invalid_grant") })
		time.Sleep(time.Minute)
		if res := b.navigate("/api/private-route"); !strings.HasPrefix(res.location(), "/api/auth/login?returnTo=") {
			t.Errorf("a navigation: status %d", res.StatusCode)
		}
	})
}
