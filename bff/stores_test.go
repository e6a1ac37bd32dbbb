//go:build unix

package bff_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// A realStore is a server of session data for one test.
type realStore struct {
	open          func(cfg *bff.Config) (sessiontest.Store, error)
	kill, restart func()
}

var realStores = map[string]func(t *testing.T) realStore{
	"postgres": func(t *testing.T) realStore {
		server := pgtest.Start(t)
		address := server.New(t)
		return realStore{
			open: func(cfg *bff.Config) (sessiontest.Store, error) {
				return postgres.Open(t.Context(), postgres.Config{URL: address, Now: cfg.Now})
			},
			kill: func() { server.Kill(t) }, restart: func() { server.Restart(t) },
		}
	},
	"redis": func(t *testing.T) realStore {
		server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		return realStore{
			open: func(cfg *bff.Config) (sessiontest.Store, error) {
				return redis.Open(t.Context(), redis.Config{URL: "redis://" + server.Addr(), Now: cfg.Now})
			},
			kill: server.Kill, restart: func() { server.Restart(t) },
		}
	},
}

// handle returns a connection of a node to the store.
func (r realStore) handle(t *testing.T) func(*bff.Config) {
	return func(cfg *bff.Config) {
		real, err := r.open(cfg)
		for range 4 {
			if err == nil {
				break
			}
			real, err = r.open(cfg) // a busy machine may take longer than the store's 2 s
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = real.Close() })
		cfg.Sessions.Store = &store{Store: real}
	}
}

// Parallel requests at several nodes cause one refresh (oauth2-proxy #1992).
func TestThreeNodesRefreshOnce(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := begin(t)
			s := start(t, real.handle(t))
			nodes := []*system{s}
			for range 2 {
				other := *s
				real.handle(t)(&other.cfg)
				other.reconfigure()
				nodes = append(nodes, &other)
			}
			b := s.browser().signIn()
			old := b.access()
			for _, n := range nodes { // each caches the session
				if b.as(n).access() != old {
					t.Fatal("another token")
				}
			}
			s.clock.Advance(20 * time.Minute) // the access token has expired, the session has not
			var asking sync.WaitGroup
			for i := range 300 { // more in one process reach the time limits of the stores
				asking.Go(func() {
					if res := b.as(nodes[i%len(nodes)]).fetch("/api/private-route"); res.StatusCode != http.StatusOK {
						t.Errorf("status %d: %s", res.StatusCode, res.body)
					}
				})
			}
			asking.Wait()
			if n := len(s.idp.refreshes()); n != 1 {
				t.Errorf("%d refreshes, want 1", n)
			}
			for _, r := range s.api.requests() {
				if bearer(r) == "" {
					t.Error("a request was forwarded without a token")
				}
			}
		})
	}
}

// A session that ends at one node ends at the others: their streams get the
// event with the reason, and their requests have no token.
func TestEndsAtEveryNode(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := begin(t)
			s := start(t, real.handle(t))
			other := *s
			real.handle(t)(&other.cfg)
			other.reconfigure()
			s.run()
			other.run()
			b := s.browser().signIn()
			there := &browser{s: &other, cookies: map[string]string{session.CookieName: b.session()}}
			if there.access() == "" {
				t.Fatal("not signed in at the other node")
			}
			stream := open(t, &other, there, "/api/auth/events")
			wantEvent(t, stream, "session")
			wantStatus(t, b.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
			ended := time.Now()
			if e := wantEvent(t, stream, "ended"); e.data["reason"] != "signed_out" {
				t.Errorf("ended: %v, want signed_out", e.data)
			}
			t.Logf("heard of after %v", time.Since(ended).Round(time.Millisecond))
			wantEnd(t, stream)
			// A copy of the cookie.
			thief := &browser{s: &other, cookies: map[string]string{session.CookieName: there.session()}}
			if thief.signedIn() {
				t.Error("the session is found at the other node")
			}
		})
	}
}

// An outage of the store ends no session (oauth2-proxy #2503).
func TestRealStoreOutage(t *testing.T) {
	t.Parallel()
	for name, begin := range realStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := begin(t)
			s := start(t, real.handle(t))
			b := s.browser().signIn()
			cookie := b.session()
			wantStatus(t, b.fetch("/readyz"), http.StatusOK)
			unasked := s.node() // as if it had not reached the store yet
			real.kill()
			eventually(t, "the outage is seen", func() bool {
				return b.fetch("/api/auth/me").StatusCode == http.StatusServiceUnavailable
			})
			for _, res := range []*response{b.fetch("/api/auth/me"), b.fetch("/api/private-route"), b.navigate("/private"), b.navigate("/api/auth/logout")} {
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 {
					t.Errorf("status %d, Retry-After %q, %d cookies; want 503, a time and none", res.StatusCode, res.Header.Get("Retry-After"), len(res.Cookies()))
				}
			}
			// It still serves what works without the store.
			wantStatus(t, b.fetch("/readyz"), http.StatusOK)
			wantStatus(t, b.navigate("/"), http.StatusOK)
			wantStatus(t, b.as(unasked).fetch("/readyz"), http.StatusServiceUnavailable)
			wantStatus(t, b.fetch("/healthz"), http.StatusOK)
			real.restart()
			eventually(t, "the store is back", func() bool { return b.fetch("/api/auth/me").StatusCode != http.StatusServiceUnavailable })
			wantStatus(t, b.fetch("/api/auth/me"), http.StatusOK)
			if b.session() != cookie || b.access() == "" {
				t.Error("signed out by the outage")
			}
		})
	}
}
