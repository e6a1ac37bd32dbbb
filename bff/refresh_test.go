package bff_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// A token is refreshed 60 s before it expires, or after half of a lifetime below
// two minutes. No request waits while it is valid.
func TestRefreshInTheBackground(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ lifetime, due time.Duration }{
		{5 * time.Minute, 4 * time.Minute},
		{time.Hour, 59 * time.Minute},
		{90 * time.Second, 45 * time.Second},
		{10 * time.Second, 5 * time.Second},
	} {
		t.Run(c.lifetime.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				s.idp.lifetime = c.lifetime
				b := s.browser().signIn()
				old := b.access()
				time.Sleep(c.due - time.Second)
				b.access()
				synctest.Wait()
				if n := len(s.idp.refreshes()); n != 0 {
					t.Fatalf("%d refreshes before it was due", n)
				}
				time.Sleep(time.Second)
				slow := make(chan bool)
				s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, slow) })
				for range 3 { // the provider is slow, the requests are not
					if b.access() != old {
						t.Error("another token already")
					}
				}
				close(slow)
				synctest.Wait()
				if b.access() == old || len(s.idp.refreshes()) != 1 {
					t.Errorf("%d refreshes", len(s.idp.refreshes()))
				}
				f := s.idp.refreshes()[0].form
				if f.Get("audience") != audience || f.Get("resource") != audience || f.Has("scope") {
					t.Errorf("the request: audience %q, resource %q", f["audience"], f["resource"])
				}
			})
		})
	}
}

// slowly answers as the provider does, once the gate is open.
func slowly(p *provider, gate chan bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			p.token(w, r)
		case <-r.Context().Done():
		}
	}
}

// nextjs-auth0 #1723, oauth2-proxy #841: an expired token is not forwarded; the
// request waits for a new one.
func TestRefreshOfAnExpiredToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		for range 3 { // rotation: each time with the newest refresh token
			old := b.access()
			time.Sleep(20 * time.Minute)
			if got := b.access(); got == "" || got == old {
				t.Fatal("no new token")
			}
		}
		if n := len(s.idp.refreshes()); n != 3 {
			t.Errorf("%d refreshes", n)
		}
		if !b.signedIn() {
			t.Error("signed out")
		}
	})
}

// oauth2-proxy #1992, #1006: providers with rotation end the grant at a second
// use of a refresh token. CVE-2025-67490, CVE-2026-40155: a refresh is shared
// within one session only.
func TestParallelRequestsRefreshOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		alice, bob := s.browser().signIn(), s.browser().signIn()
		time.Sleep(20 * time.Minute)
		gate := make(chan bool)
		s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, gate) })
		s.api.requests()
		var done sync.WaitGroup
		for i := range 200 {
			b := []*browser{alice, bob}[i%2]
			request := &browser{s: s, cookies: map[string]string{"gatehouse": b.session()}}
			done.Go(func() {
				name := []string{"alice", "bob"}[i%2]
				if res := request.fetch("/api/private-route?" + name); res.StatusCode != http.StatusOK {
					t.Errorf("status %d", res.StatusCode)
				}
			})
		}
		synctest.Wait()
		close(gate)
		done.Wait()
		if n := len(s.idp.refreshes()); n != 2 {
			t.Errorf("%d refreshes for two sessions", n)
		}
		tokens := map[string][]string{}
		for _, r := range s.api.requests() {
			if who := r.URL.RawQuery; !slices.Contains(tokens[who], bearer(r)) {
				tokens[who] = append(tokens[who], bearer(r))
			}
		}
		if len(tokens["alice"]) != 1 || len(tokens["bob"]) != 1 || tokens["alice"][0] == tokens["bob"][0] {
			t.Error("a token went to another session, or several to one")
		}
	})
}

// Of two nodes with one store, the lock lets one refresh. The other gets the
// result.
func TestTwoNodesRefreshOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		other := *s
		other.reconfigure()
		time.Sleep(20 * time.Minute)
		gate := make(chan bool)
		s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, gate) })
		s.api.requests()
		var done sync.WaitGroup
		for i := range 20 {
			node := []*system{s, &other}[i%2]
			request := &browser{s: node, cookies: map[string]string{"gatehouse": b.session()}}
			done.Go(func() {
				if res := request.fetch("/api/private-route"); res.StatusCode != http.StatusOK {
					t.Errorf("status %d", res.StatusCode)
				}
			})
		}
		time.Sleep(3 * time.Second)
		close(gate)
		done.Wait()
		if n := len(s.idp.refreshes()); n != 1 {
			t.Errorf("%d refreshes", n)
		}
		seen := s.api.requests()
		for _, r := range seen {
			if bearer(r) != bearer(seen[0]) {
				t.Error("different tokens")
			}
		}
	})
}

// A node that acquires the lock after another has refreshed gets the result, and
// spends no second refresh token.
func TestLateNodeDoesNotRefreshAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		other := *s
		other.reconfigure()
		time.Sleep(20 * time.Minute)
		var theirs string
		s.store.change(func(st *store) {
			st.beforeLock = func() { theirs = (&browser{s: &other, cookies: map[string]string{"gatehouse": b.session()}}).access() }
		})
		if res := b.fetch("/api/private-route"); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		seen := s.api.requests()
		if n := len(s.idp.refreshes()); n != 1 || len(seen) != 1 || bearer(seen[0]) != theirs {
			t.Errorf("%d refreshes", n)
		}
	})
}

// When the browser closes the connection, the rotated token is stored.
func TestRefreshOutlivesTheBrowser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		time.Sleep(20 * time.Minute)
		gate := make(chan bool)
		s.idp.change(func(p *provider) { p.instead["/token"] = slowly(p, gate) })
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan bool)
		go func() {
			b.fetch("/api/private-route", func(r *http.Request) { *r = *r.WithContext(ctx) })
			close(gone)
		}()
		synctest.Wait()
		hangUp()
		<-gone
		close(gate)
		synctest.Wait()
		if b.access() == "" || len(s.idp.refreshes()) != 1 || len(s.idp.good()) != 1 {
			t.Errorf("%d refreshes", len(s.idp.refreshes()))
		}
		time.Sleep(20 * time.Minute)
		if b.access() == "" || !b.signedIn() {
			t.Error("the refresh token was lost")
		}
	})
}

// Without a new refresh token the old one is kept, without an ID token the
// claims.
func TestSparseRefreshAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		b := s.browser().signIn()
		s.idp.change(func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, _ *http.Request) {
				reply(w, 200, map[string]any{"access_token": secret("access token", "at-without-rotation"), "token_type": "Bearer", "expires_in": 300})
			}
		})
		time.Sleep(20 * time.Minute)
		if b.access() != "at-without-rotation" {
			t.Error("no new token")
		}
		time.Sleep(20 * time.Minute)
		b.access()
		calls := s.idp.refreshes()
		if len(calls) != 2 || calls[0].form.Get("refresh_token") != calls[1].form.Get("refresh_token") {
			t.Errorf("%d refreshes", len(calls))
		}
		if body := b.fetch("/api/auth/me").body; !strings.Contains(body, `"name":"Ada"`) {
			t.Errorf("me: %s", body)
		}
		// The logout sends the ID token of the login.
		if res := b.navigate("/api/auth/logout"); !strings.Contains(res.location(), "id_token_hint=ey") {
			t.Error("no id_token_hint")
		}
	})
}

// The claims of a new ID token replace the old ones. Those from userinfo stay.
func TestRefreshUpdatesClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.idp.id["email"] = tokentest.Absent
		b := s.browser().signIn()
		s.idp.change(func(p *provider) { p.id["name"], p.id["nonce"] = "Ada Lovelace", tokentest.Absent })
		time.Sleep(20 * time.Minute)
		b.access()
		var me map[string]any
		if err := json.Unmarshal([]byte(b.fetch("/api/auth/me").body), &me); err != nil {
			t.Fatal(err)
		}
		if me["name"] != "Ada Lovelace" || me["email"] != "ada@userinfo.example" {
			t.Errorf("me: %v", me)
		}
		if n := len(s.idp.called("/userinfo")); n != 1 {
			t.Errorf("%d userinfo calls", n)
		}
	})
}
