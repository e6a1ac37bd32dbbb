package sessiontest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// limitedUser is the user of the tests of ManagerConfig.MaxPerUser.
func limitedUser() session.NewSession { return session.NewSession{Issuer: issuer, Subject: subject} }

// signIn begins a session of a user through a Manager.
func signIn(t *testing.T, m *session.Manager, n session.NewSession) *session.Session {
	t.Helper()
	s, _, err := m.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// limits test the number of sessions of a user, which a Manager limits.
var limits = map[string]func(*testing.T, *fixture){
	"a login ends the least recently used session beyond the limit": func(t *testing.T, f *fixture) {
		var evicted []session.ID
		m := newManager(t, session.ManagerConfig{Store: f.store, Now: f.clock.Now, MaxPerUser: 3,
			Evicted: func(_ context.Context, r session.Record) { evicted = append(evicted, r.ID) }})
		bystanders := []*session.Session{
			signIn(t, m, session.NewSession{Issuer: issuer, Subject: subject + "x"}),
			signIn(t, m, session.NewSession{Issuer: "https://other.example/", Subject: subject}),
		}
		var all []*session.Session
		for range 3 { // at the limit
			all = append(all, signIn(t, m, limitedUser()))
			f.clock.Advance(time.Minute)
		}
		if len(evicted) > 0 {
			t.Fatalf("evicted %v at the limit", evicted)
		}
		f.clock.Advance(10 * time.Minute)
		if err := m.Touch(t.Context(), all[0]); err != nil { // the second is now unused for longest
			t.Fatal(err)
		}
		f.clock.Advance(time.Minute)
		all = append(all, signIn(t, m, limitedUser()))
		if !slices.Equal(evicted, []session.ID{all[1].ID}) {
			t.Errorf("evicted %v, want %v", evicted, all[1].ID)
		}
		for i, s := range append(all, bystanders...) {
			_, err := f.store.Get(t.Context(), s.ID)
			if gone := errors.Is(err, session.ErrNotFound); err != nil && !gone || gone != (i == 1) {
				t.Errorf("session %d: Get: %v", i, err)
			}
		}
		// A login that replaces a session needs no room.
		value := session.NewSession{Issuer: issuer, Subject: subject}
		_, cookie, err := m.Create(t.Context(), value) // ends the third
		if err != nil {
			t.Fatal(err)
		}
		n := len(evicted)
		value.Replaces = cookie.Value
		signIn(t, m, value)
		if len(evicted) != n {
			t.Errorf("a login that replaces a session evicted %d more", len(evicted)-n)
		}
	},
	"a lower limit ends several": func(t *testing.T, f *fixture) {
		m := newManager(t, session.ManagerConfig{Store: f.store, Now: f.clock.Now})
		for range 12 {
			signIn(t, m, limitedUser())
			f.clock.Advance(time.Second)
		}
		lower := newManager(t, session.ManagerConfig{Store: f.store, Now: f.clock.Now, MaxPerUser: 1})
		last := signIn(t, lower, limitedUser())
		if list := f.listed(t, issuer, subject); len(list) != 1 || list[0].ID != last.ID {
			t.Errorf("%d sessions after a login with the limit 1, want the new one", len(list))
		}
	},
	"concurrent logins keep to the limit": func(t *testing.T, f *fixture) {
		const limit, logins = 4, 16
		m := newManager(t, session.ManagerConfig{Store: f.store, Now: f.clock.Now, MaxPerUser: limit})
		var all sync.WaitGroup
		for range logins {
			all.Go(func() {
				if _, _, err := m.Create(t.Context(), limitedUser()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		f.clock.Advance(time.Second)
		last := signIn(t, m, limitedUser())
		list := f.listed(t, issuer, subject)
		if len(list) > limit || list[0].ID != last.ID {
			t.Errorf("%d sessions, want at most %d and the newest first", len(list), limit)
		}
	},
}
