package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

func timeouts(idle, absolute time.Duration) func(*session.ManagerConfig) {
	return func(c *session.ManagerConfig) { c.IdleTimeout, c.AbsoluteTimeout = idle, absolute }
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, timeouts(time.Hour, 24*time.Hour))
	_, cookie := f.login(t)
	// Load does not extend a session: a page may ask how much time is left.
	f.clock.Advance(59 * time.Minute)
	s := f.load(t, cookie)
	if idle, absolute := f.TimeLeft(s); idle != time.Minute || absolute != 24*time.Hour-59*time.Minute {
		t.Errorf("TimeLeft = %v, %v", idle, absolute)
	}
	if err := f.Touch(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if idle, _ := f.TimeLeft(s); idle != time.Hour {
		t.Errorf("TimeLeft after Touch = %v", idle)
	}
	if idle, _ := f.TimeLeft(f.load(t, cookie)); idle != time.Hour {
		t.Errorf("TimeLeft after Touch, loaded again = %v", idle)
	}
	f.clock.Advance(time.Hour)
	f.signedOut(t, cookie)
	if idle, absolute := f.TimeLeft(s); idle != 0 || absolute <= 0 {
		t.Errorf("TimeLeft of an ended session = %v, %v", idle, absolute)
	}
}

func TestAbsoluteTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, timeouts(time.Hour, 3*time.Hour))
	_, cookie := f.login(t)
	for range 5 {
		f.clock.Advance(30 * time.Minute)
		s := f.load(t, cookie)
		if err := f.Touch(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if idle, absolute := f.TimeLeft(s); idle > absolute || s.IdleExpiresAt.After(s.ExpiresAt) {
			t.Errorf("TimeLeft = %v, %v of %+v: idle beyond the end", idle, absolute, s.Record)
		}
	}
	f.clock.Advance(30 * time.Minute)
	f.signedOut(t, cookie)
}

func TestIdleTimeoutDefaultsToTheAbsoluteWhenShorter(t *testing.T) {
	t.Parallel()
	f := newFixture(t, timeouts(0, time.Hour))
	s, cookie := f.login(t)
	if idle, absolute := f.TimeLeft(s); idle != time.Hour || absolute != time.Hour {
		t.Errorf("TimeLeft = %v, %v", idle, absolute)
	}
	if cookie.MaxAge != 3600 {
		t.Errorf("Max-Age = %d", cookie.MaxAge)
	}
}

// Touches are coalesced, not one for each request.
func TestTouchIsCoalesced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		idle           time.Duration
		every, used    time.Duration
		atLeast, below int
	}{
		{"a day's timeout: every 5 minutes", 24 * time.Hour, time.Second, time.Hour, 11, 13},
		{"20 minutes' timeout: every minute", 20 * time.Minute, time.Second, 10 * time.Minute, 9, 11},
		{"used seldom: every time", 24 * time.Hour, 10 * time.Minute, time.Hour, 6, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			spy := newSpy(t, f.clock.Now)
			m := newFixture(t, timeouts(c.idle, 48*time.Hour), func(mc *session.ManagerConfig) { mc.Store, mc.Now = spy, f.clock.Now })
			_, cookie := m.login(t)
			for range int(c.used / c.every) {
				f.clock.Advance(c.every)
				if err := m.Touch(t.Context(), m.load(t, cookie)); err != nil {
					t.Fatal(err)
				}
			}
			if spy.touches < c.atLeast || spy.touches >= c.below {
				t.Errorf("%d writes in %v of use, want %d", spy.touches, c.used, c.atLeast)
			}
		})
	}
}

// The requests of a page come at once, and after a pause each finds that a write is due.
func TestTouchesAtOnceAreOneWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spy := newSpy(t, f.clock.Now)
	m := newFixture(t, func(mc *session.ManagerConfig) { mc.Store, mc.Now = spy, f.clock.Now })
	_, cookie := m.login(t)
	f.clock.Advance(time.Hour)
	first, second := m.load(t, cookie), m.load(t, cookie)
	spy.onTouch = func() {
		// The second does not wait for the first.
		if err := m.Touch(t.Context(), second); err != nil {
			t.Error(err)
		}
	}
	if err := m.Touch(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if spy.touches != 1 {
		t.Errorf("%d writes, want 1", spy.touches)
	}
	spy.onTouch = nil
	f.clock.Advance(time.Hour)
	if err := m.Touch(t.Context(), second); err != nil || spy.touches != 2 {
		t.Errorf("a touch an hour later: %v, %d writes, want 2", err, spy.touches)
	}
}

func TestRunRemovesWhatExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := memory.New(memory.Config{})
		if err != nil {
			t.Fatal(err)
		}
		swept := &sweeps{Store: store}
		m, err := session.NewManager(session.ManagerConfig{Store: swept, Secrets: []string{secret()},
			IdleTimeout: 30 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, _, err := m.Create(t.Context(), session.NewSession{Issuer: issuer, Subject: subject}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()

		swept.failNext(errors.New("the store is down for a moment"))
		time.Sleep(time.Hour) // the bubble's clock
		synctest.Wait()
		if calls, removed := swept.count(); calls < 11 || calls > 14 || removed != 3 {
			t.Errorf("%d sweeps removed %d sessions, want about 12 and 3", calls, removed)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil when its context ends", err)
		}
	})
}

type sweeps struct {
	sessiontest.Store
	mu             sync.Mutex
	fail           error
	calls, removed int
}

func (s *sweeps) failNext(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *sweeps) count() (calls, removed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.removed
}

func (s *sweeps) DeleteExpired(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if err := s.fail; err != nil {
		s.fail = nil
		return 0, err
	}
	n, err := s.Store.(session.Sweeper).DeleteExpired(ctx)
	s.removed += n
	return n, err
}
