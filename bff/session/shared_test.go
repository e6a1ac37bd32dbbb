package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// find returns the shared session of a cookie.
func (f *fixture) find(t *testing.T, c *http.Cookie) *session.Session {
	t.Helper()
	s, err := f.Find(context.Background(), request(c))
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	return s
}

// Requests share a session only while the store has nothing else. What another process does to it
// shows at the next request.
func TestSharedSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.with(t, f.secrets...)
	_, cookie := f.login(t)
	first := f.find(t, cookie)
	if again := f.find(t, cookie); again != first {
		t.Error("a session that has not changed was opened again")
	}
	if own := f.load(t, cookie); own == first {
		t.Error("Load returned the shared session")
	}

	f.clock.Advance(10 * time.Minute)
	shared := other.find(t, cookie)
	before := shared.LastSeenAt
	used, err := other.Use(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	if used == shared || !shared.LastSeenAt.Equal(before) {
		t.Error("Use changed the session of other requests")
	}
	touched := f.find(t, cookie)
	if !touched.LastSeenAt.Equal(used.LastSeenAt) || !touched.IdleExpiresAt.Equal(used.IdleExpiresAt) || touched.LastSeenAt.Equal(first.LastSeenAt) {
		t.Errorf("after a use elsewhere: last seen %v, want %v", touched.LastSeenAt, used.LastSeenAt)
	}
	if first == touched || first.Data.Tokens != touched.Data.Tokens || first.Bearer() != touched.Bearer() || first.Handle() != touched.Handle() {
		t.Error("a use changed the session of other requests, or its tokens")
	}

	fence, err := other.Lock(t.Context(), touched, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	changed := data()
	changed.Claims["name"] = "Dinah"
	if _, err := other.Write(t.Context(), touched, fence, changed); err != nil {
		t.Fatal(err)
	}
	refreshed := f.find(t, cookie)
	if refreshed.Data.Tokens != changed.Tokens || refreshed.Bearer() != "Bearer "+changed.Tokens.Access || refreshed.Data.Claims["name"] != "Dinah" {
		t.Errorf("after a refresh elsewhere: %v, claims %v", refreshed.Data.Tokens, refreshed.Data.Claims)
	}
	if touched.Data.Claims["name"] == "Dinah" || touched.Bearer() == refreshed.Bearer() {
		t.Error("a refresh changed the session that another request has")
	}

	if err := other.End(t.Context(), refreshed, session.ReasonSignedOut); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(t.Context(), request(cookie)); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after an end elsewhere: %v, want ErrNotFound", err)
	}
}

// A secret that was removed opens no session that requests have shared.
func TestSharedSessionOfARemovedSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, cookie := f.login(t)
	f.find(t, cookie)
	if err := f.SetSecrets(t.Context(), []string{secret()}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(t.Context(), request(cookie)); err == nil {
		t.Error("the session was found without its secret")
	}
}

// Two users at the same time, whose sessions are used, refreshed and ended meanwhile: each gets
// what is its own, and never what was before.
func TestSharedSessionsOfTwoUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var users sync.WaitGroup
	for _, user := range []string{"alice", "bob"} {
		users.Go(func() {
			for range 20 {
				own := data()
				own.Claims["sub"] = user
				_, cookie := f.login(t, func(n *session.NewSession) { n.Subject, n.Data = user, own })
				for range 3 {
					var requests sync.WaitGroup
					for range 4 {
						requests.Go(func() {
							s, err := f.Find(t.Context(), request(cookie))
							if err != nil {
								t.Error(err)
								return
							}
							s, err = f.Use(t.Context(), s)
							if err != nil || s.Subject != user || s.Data.Claims["sub"] != user || s.Data.Tokens.Access != own.Tokens.Access ||
								s.Bearer() != "Bearer "+own.Tokens.Access || s.Handle() != s.ID.String() {
								t.Errorf("%s got the session of %s with another token, %v", user, s.Subject, err)
							}
						})
					}
					requests.Wait()
					f.clock.Advance(10 * time.Minute)
					s := f.find(t, cookie)
					fence, err := f.Lock(t.Context(), s, time.Minute)
					if err != nil {
						t.Error(err)
						return
					}
					own.Tokens = data().Tokens
					if _, err := f.Write(t.Context(), s, fence, own); err != nil {
						t.Error(err)
						return
					}
				}
				if err := f.End(t.Context(), f.find(t, cookie), session.ReasonSignedOut); err != nil {
					t.Error(err)
				}
				if _, err := f.Find(t.Context(), request(cookie)); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("Find after the end: %v, want ErrNotFound", err)
				}
			}
		})
	}
	users.Wait()
}
