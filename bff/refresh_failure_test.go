package bff_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// invalid_grant ends the session: 401, and navigations are redirected to the
// login.
func TestGrantOver(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			b := s.browser().signIn()
			s.idp.change(func(p *provider) { p.instead["/token"] = refuse(status, "invalid_grant") })
			time.Sleep(20 * time.Minute)
			s.api.requests()
			wantStatus(t, b.fetch("/api/private-route"), http.StatusUnauthorized)
			for _, r := range s.api.requests() {
				if bearer(r) != "" {
					t.Error("the expired token was forwarded")
				}
			}
			if res := b.navigate("/private"); !strings.HasPrefix(res.location(), "/api/auth/login") {
				t.Errorf("status %d", res.StatusCode)
			}
			if b.signedIn() || len(s.idp.refreshes()) != 1 {
				t.Errorf("signed in, or %d refreshes", len(s.idp.refreshes()))
			}
		})
	}
}

// Other errors keep the session: the token is used while it is valid, then 503,
// and after the outage refreshes go on.
func TestRefreshFailures(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"500":             refuse(http.StatusInternalServerError, "server_error"),
		"429":             refuse(http.StatusTooManyRequests, "slow_down"),
		"invalid_client":  refuse(http.StatusUnauthorized, "invalid_client"), // the secret was changed at the provider first
		"invalid_request": refuse(http.StatusBadRequest, "invalid_request"),
		"not JSON":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"empty":           func(http.ResponseWriter, *http.Request) {},
		"no access token": func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"token_type": "Bearer"}) },
		"not a Bearer token": func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, map[string]any{"access_token": "x", "token_type": "MAC"})
		},
		"invalid_grant in HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte("invalid_grant"))
		},
		"redirect to a login": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, issuerURL+"/userinfo", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				b := s.browser().signIn()
				old := b.access()
				s.idp.change(func(p *provider) { p.instead["/token"] = h })
				time.Sleep(4*time.Minute + 30*time.Second)
				if b.access() != old {
					t.Error("not the token that is still valid")
				}
				time.Sleep(20 * time.Second)
				s.api.requests()
				if b.access() != old {
					t.Error("not the token that is still valid")
				}
				time.Sleep(time.Minute) // now it has expired
				began := time.Now()
				res := b.fetch("/api/private-route")
				wantStatus(t, res, http.StatusServiceUnavailable)
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				if res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 || len(s.api.requests()) != 0 {
					t.Error("not a 503 that keeps the cookie and calls no provider")
				}
				if !b.signedIn() {
					t.Error("signed out")
				}
				wantStatus(t, b.navigate("/private"), http.StatusOK)
				s.idp.change(func(p *provider) { delete(p.instead, "/token") })
				time.Sleep(time.Second)
				began = time.Now()
				if b.access() == "" {
					t.Error("no token although the provider is back")
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("waited %v for a lock that is not needed", took)
				}
			})
		})
	}
}

// Failed refreshes are retried after a second, not at each request.
func TestFailurePause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b, other := s.browser().signIn(), s.browser().signIn()
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(500, "") })
		time.Sleep(20 * time.Minute)
		for range 10 {
			wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable)
			time.Sleep(99 * time.Millisecond)
		}
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes within a second", n)
		}
		wantStatus(t, other.fetch("/api/private-route"), http.StatusServiceUnavailable)
		if n := len(s.idp.refreshes()); n != 2 {
			t.Errorf("%d refreshes: the pause is of one session", n)
		}
		time.Sleep(10 * time.Millisecond)
		wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable)
		if n := len(s.idp.refreshes()); n != 3 {
			t.Errorf("%d refreshes after a second", n)
		}
	})
}

// OpenID Connect Core §12.2: an ID token about another user or another login
// discards the response and ends the session.
func TestRefreshedIDToken(t *testing.T) {
	t.Parallel()
	signedInAt := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() // when bubbles begin
	for name, c := range map[string]struct {
		claim string
		value any
		kept  bool
	}{
		"another sub":           {"sub", "user-2", false},
		"another issuer":        {"iss", "https://evil.example", false},
		"another client":        {"aud", "other", false},
		"another nonce":         {"nonce", "another", false},
		"another auth_time":     {"auth_time", signedInAt + 600, true}, // against section 12.2, as at Amazon Cognito
		"an auth_time ahead":    {"auth_time", signedInAt + 36000, true},
		"another access token":  {"at_hash", tokentest.AccessTokenHash("x"), false},
		"expired":               {"exp", signedInAt, false},
		"no nonce":              {"nonce", tokentest.Absent, true},
		"the same auth_time":    {"auth_time", signedInAt, true},
		"no auth_time any more": {"auth_time", tokentest.Absent, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				s.idp.id["auth_time"] = signedInAt
				b := s.browser().signIn()
				s.idp.change(func(p *provider) { p.id[c.claim] = c.value })
				time.Sleep(20 * time.Minute)
				s.api.requests()
				res := b.fetch("/api/private-route")
				if (res.StatusCode == http.StatusOK) != c.kept || b.signedIn() != c.kept {
					t.Fatalf("status %d", res.StatusCode)
				}
				if c.kept {
					return
				}
				for _, r := range s.api.requests() {
					if bearer(r) != "" {
						t.Error("a token of the answer was used")
					}
				}
				if len(s.idp.good()) != 0 {
					t.Error("what came was not revoked")
				}
			})
		})
	}
}

// nextjs-auth0 #2335, #2530, #2616: a logout that a request in flight undoes. A
// refresh that ends after its session revokes the new tokens.
func TestLogoutDuringRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		stolen := b.session()
		time.Sleep(20 * time.Minute)
		gate := make(chan bool)
		s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, gate) })
		flying := &browser{s: s, cookies: map[string]string{"gatehouse": stolen}}
		answer := make(chan *response)
		go func() { answer <- flying.fetch("/api/private-route") }()
		synctest.Wait()
		b.navigate("/api/auth/logout")
		close(gate)
		res := <-answer
		wantStatus(t, res, http.StatusUnauthorized)
		if res.set("gatehouse") != nil {
			t.Error("the answer sets a session cookie")
		}
		synctest.Wait()
		if flying.signedIn() {
			t.Error("the session was revived")
		}
		if len(s.idp.good()) != 0 || len(s.idp.revoked()) != 1 {
			t.Errorf("%d refresh tokens are good, %d revoked", len(s.idp.good()), len(s.idp.revoked()))
		}
	})
}

// The store fails between the provider's response and the write. The write is
// repeated, because the old refresh token is spent.
func TestStoreOutageDuringRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		time.Sleep(20 * time.Minute)
		s.store.change(func(s *store) { s.write = outage })
		answer := make(chan *response)
		go func() { answer <- b.fetch("/api/private-route") }()
		time.Sleep(3 * time.Second)
		s.store.change(func(s *store) { s.write = nil })
		wantStatus(t, <-answer, http.StatusOK)
		time.Sleep(20 * time.Minute)
		if b.access() == "" || len(s.idp.refreshes()) != 2 {
			t.Errorf("%d refreshes", len(s.idp.refreshes()))
		}
		// For longer: 503 within a bounded time.
		time.Sleep(20 * time.Minute)
		s.store.change(func(s *store) { s.write = outage })
		began := time.Now()
		wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable)
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// invalid_grant ends the session only if the refresh token that was sent is
// still the stored one: a node that was suspended for longer than its lease must
// not end a session that another node has refreshed.
func TestGrantOverOfAnOldToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		awake := *s
		awake.reconfigure()
		time.Sleep(20 * time.Minute)
		s.idp.change(func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
				// While this call is under way, the lease runs out and the other
				// node refreshes.
				p.change(func(p *provider) { delete(p.instead, "/token") })
				s.store.expireLock(t)
				if (&browser{s: &awake, cookies: map[string]string{"gatehouse": b.session()}}).access() == "" {
					t.Error("the other node got no token")
				}
				refuse(http.StatusBadRequest, "invalid_grant")(w, r)
			}
		})
		if b.access() == "" || !b.signedIn() {
			t.Error("signed out, although another node had renewed the session")
		}
	})
}

// A node that waits for another's lock gives up before the browser does, and
// stops waiting when the lease ends.
func TestLockOfADeadNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		time.Sleep(20 * time.Minute)
		id := s.store.newest()
		if _, err := s.store.Lock(t.Context(), id, 4*time.Second); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.api.requests()
		wantStatus(t, b.fetch("/api/private-route"), http.StatusOK)
		if took := time.Since(began); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(20 * time.Minute)
		if _, err := s.store.Lock(t.Context(), id, time.Hour); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		if !b.signedIn() {
			t.Error("signed out")
		}
	})
}

// A token request that starts late has its full time: the lock was acquired
// after 8 of the 10 seconds, and the provider takes 4.
func TestLateLockKeepsTheCallsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		time.Sleep(20 * time.Minute)
		if _, err := s.store.Lock(t.Context(), s.store.newest(), 8*time.Second); err != nil {
			t.Fatal(err)
		}
		s.idp.change(func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(4 * time.Second):
					p.token(w, r)
				case <-r.Context().Done():
				}
			}
		})
		wantStatus(t, b.fetch("/api/private-route"), http.StatusServiceUnavailable) // after 10 s
		time.Sleep(5 * time.Second)
		if b.access() == "" || len(s.idp.refreshes()) != 1 {
			t.Errorf("%d refreshes: the first was cut off and its token lost", len(s.idp.refreshes()))
		}
	})
}

// An access token without a known lifetime is used until the API refuses it.
func TestUnknownLifetime(t *testing.T) {
	t.Parallel()
	for _, value := range []any{tokentest.Absent, nil, json.Number("0"), -5} {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.idp.answer["expires_in"] = value
			b := s.browser().signIn()
			time.Sleep(20 * time.Hour)
			if b.access() == "" || len(s.idp.refreshes()) != 0 {
				t.Errorf("%v: %d refreshes", value, len(s.idp.refreshes()))
			}
		})
	}
}
