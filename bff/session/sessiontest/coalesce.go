package sessiontest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// newManager returns a Manager, with a secret unless the configuration has one.
func newManager(t *testing.T, cfg session.ManagerConfig) *session.Manager {
	t.Helper()
	if cfg.Secrets == nil {
		cfg.Secrets = []string{"a secret for this test alone, thirty-two bytes"}
	}
	m, err := session.NewManager(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load returns the session of a request with a cookie.
func load(t *testing.T, m *session.Manager, cookie string) (*session.Session, error) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: m.CookieName(), Value: cookie})
	return m.Load(t.Context(), r)
}

// counting counts calls of Touch.
type counting struct {
	session.Store
	session.NoteStore
	touches *atomic.Int64
}

func (c counting) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	c.touches.Add(1)
	return c.Store.Touch(ctx, id, lastSeen, idleExpires)
}

// usedAtBoth uses a session at two processes for a quarter of an hour. Use is recorded every five
// minutes, not at each process and not for each request.
func usedAtBoth(t *testing.T, a, b *fixture) {
	var touches atomic.Int64
	var managers []*session.Manager
	for _, f := range []*fixture{a, b} {
		managers = append(managers, newManager(t, session.ManagerConfig{
			Store: counting{f.store, f.notes, &touches}, Now: f.clock.Now}))
	}
	_, cookie, err := managers[0].Create(t.Context(), session.NewSession{Issuer: issuer,
		Subject: subject})
	if err != nil {
		t.Fatal(err)
	}
	use := func(m *session.Manager) *session.Session {
		s, err := load(t, m, cookie.Value)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Touch(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	const every, minutes = 5, 15
	for range minutes * 60 / every {
		a.clock.Advance(every * time.Second)
		before := touches.Load()
		seen := use(managers[0])
		if touches.Load() != before {
			// The other learns of it; other tests check how soon.
			within(t, patience, "the other process sees the use", func() bool {
				r, err := b.store.Get(t.Context(), seen.ID)
				return err == nil && r.LastSeenAt.Equal(seen.LastSeenAt)
			})
		}
		use(managers[1])
	}
	if n := touches.Load(); n < 2 || n > 3 {
		t.Errorf("%d touches in %d minutes of use at two processes, want one every 5 minutes", n,
			minutes)
	}
}
