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

// feed is a store whose feed and answers can be broken.
type feed struct {
	sessiontest.Store
	mu     sync.Mutex
	broken chan struct{} // closed to break the feed; nil while it cannot be had
	outage error
	asked  int
}

var errFeed = errors.New("the connection is gone")

func (f *feed) Watch(ctx context.Context, event func(session.Event)) error {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	if broken == nil {
		return errFeed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-broken:
			cancel()
		case <-ctx.Done():
		}
	}()
	return f.Store.Watch(ctx, event)
}

func (f *feed) Get(ctx context.Context, id session.ID) (session.Record, error) {
	f.mu.Lock()
	f.asked++
	outage := f.outage
	f.mu.Unlock()
	if outage != nil {
		return session.Record{}, outage
	}
	return f.Store.Get(ctx, id)
}

func (f *feed) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *feed) set(broken chan struct{}, outage error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken, f.outage = broken, outage
}

// watching runs a manager on a feed in a synctest bubble.
func watching(t *testing.T, test func(t *testing.T, f *fixture, store *feed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inner, err := memory.New(memory.Config{})
		if err != nil {
			t.Fatal(err)
		}
		store := &feed{Store: inner, broken: make(chan struct{})}
		f := newFixture(t, func(c *session.ManagerConfig) {
			c.Store, c.Now, c.IdleTimeout, c.AbsoluteTimeout = store, time.Now, time.Hour, 8*time.Hour
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		synctest.Wait()
		test(t, f, store)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// next returns the change that a watcher gets within a second.
func next(t *testing.T, c <-chan session.Change) session.Change {
	t.Helper()
	select {
	case change, ok := <-c:
		if !ok {
			t.Error("the channel is closed")
		}
		return change
	case <-time.After(time.Second):
		t.Error("nothing was heard within a second")
		return session.Change{}
	}
}

func quiet(t *testing.T, c <-chan session.Change) {
	t.Helper()
	time.Sleep(2 * time.Second) // of the bubble
	select {
	case change, ok := <-c:
		t.Errorf("heard %+v, %t", change, ok)
	default:
	}
}

func ends(t *testing.T, c <-chan session.Change, why session.Reason) {
	t.Helper()
	if got := next(t, c); !got.Ended || got.Reason != why {
		t.Errorf("heard %+v, want an end: %v", got, why)
	}
	if change, open := <-c; open {
		t.Errorf("after the end: %+v", change)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for why, end := range map[session.Reason]func(f *fixture, s *session.Session) error{
		session.ReasonSignedOut: func(f *fixture, s *session.Session) error {
			return f.End(context.Background(), s, session.ReasonSignedOut)
		},
		session.ReasonElsewhere: func(f *fixture, s *session.Session) error {
			return f.EndByID(context.Background(), s.ID, session.ReasonElsewhere)
		},
		session.ReasonProvider: func(f *fixture, s *session.Session) error {
			_, err := f.EndBySID(context.Background(), s.Issuer, s.SID)
			return err
		},
		session.ReasonOperator: func(f *fixture, s *session.Session) error {
			_, err := f.EndBySubject(context.Background(), s.Issuer, s.Subject, session.ReasonOperator)
			return err
		},
	} {
		t.Run(why.String(), func(t *testing.T) {
			t.Parallel()
			watching(t, func(t *testing.T, f *fixture, _ *feed) {
				s, _ := f.login(t)
				other, _ := f.login(t, func(n *session.NewSession) { n.Subject = "bob" })
				first, _ := f.Watch(s)
				second, stop := f.Watch(s)
				bystander, stopOther := f.Watch(other)
				quiet(t, first)
				if err := end(f, s); err != nil {
					t.Error(err)
				}
				ends(t, first, why)
				ends(t, second, why)
				stop()
				quiet(t, bystander)
				stopOther()
				stopOther()
				if _, open := <-bystander; open {
					t.Error("stop does not close the channel")
				}
			})
		})
	}
}

func TestWatchReplaced(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, cookie := f.login(t)
		c, _ := f.Watch(s)
		f.login(t, func(n *session.NewSession) { n.Replaces = cookie.Value })
		ends(t, c, session.ReasonReplaced)
	})
}

// An end between Load and Watch is reported.
func TestWatchWhatHasEnded(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, _ := f.login(t)
		if err := f.End(t.Context(), s, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the event is delivered before the watch
		c, stop := f.Watch(s)
		defer stop()
		ends(t, c, session.ReasonUnknown)
	})
}

func TestWatchExpiry(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, _ := f.login(t)
		began := time.Now()
		c, _ := f.Watch(s)
		time.Sleep(30 * time.Minute)
		// Another copy of the session, as of another request.
		again := *s
		if err := f.Touch(t.Context(), &again); err != nil {
			t.Fatal(err)
		}
		if got := next(t, c); got.Ended || !got.Record.IdleExpiresAt.Equal(again.IdleExpiresAt) || got.Record.Sealed != nil {
			t.Errorf("heard %+v, want the new idle timeout %v", got, again.IdleExpiresAt)
		}
		time.Sleep(time.Until(began.Add(89*time.Minute + 59*time.Second)))
		select {
		case got := <-c:
			t.Errorf("before its end: %+v", got)
		default:
		}
		time.Sleep(time.Until(began.Add(90 * time.Minute)))
		ends(t, c, session.ReasonExpired)
	})
}

// A watcher that loaded the session before it was extended gets the change that another watcher
// already got.
func TestWatchWhatWasExtended(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, _ := f.login(t)
		first, stop := f.Watch(s)
		defer stop()
		quiet(t, first)
		time.Sleep(30 * time.Minute)
		again := *s
		if err := f.Touch(t.Context(), &again); err != nil {
			t.Fatal(err)
		}
		next(t, first)
		second, stop := f.Watch(s)
		defer stop()
		if got := next(t, second); got.Ended || !got.Record.IdleExpiresAt.Equal(again.IdleExpiresAt) {
			t.Errorf("heard %+v, want the new idle timeout %v", got, again.IdleExpiresAt)
		}
		quiet(t, first)
	})
}

func TestWatchWritten(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, _ := f.login(t)
		c, stop := f.Watch(s)
		defer stop()
		quiet(t, c)
		fence, err := f.Lock(t.Context(), s, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(t.Context(), s, fence, data()); err != nil {
			t.Fatal(err)
		}
		if got := next(t, c); got.Ended || got.Record.ID != s.ID {
			t.Errorf("heard %+v, want that it was written", got)
		}
	})
}

// Without a feed the store is polled. While the store is down too, no end is reported (oauth2-proxy
// #2503). When it is back, changes are reported within a second.
func TestWatchThroughAnOutage(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, store *feed) {
		here, _ := f.login(t)
		there, _ := f.login(t)
		stays, _ := f.login(t)
		c1, _ := f.Watch(here)
		c2, _ := f.Watch(there)
		c3, stop := f.Watch(stays)
		defer stop()
		quiet(t, c1)

		broken := store.broken
		store.set(nil, nil)
		close(broken)
		synctest.Wait()
		if err := store.Delete(t.Context(), here.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		ends(t, c1, session.ReasonUnknown) // why, only the feed could have told

		store.set(nil, errFeed)
		if err := store.Delete(t.Context(), there.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		quiet(t, c2)
		before := store.questions()
		time.Sleep(10 * time.Second)
		if asked := store.questions() - before; asked > 100 {
			t.Errorf("a store that is down was asked %d times in 10 s", asked)
		}
		store.set(make(chan struct{}), nil)
		ends(t, c2, session.ReasonUnknown)

		quiet(t, c3)
		if err := f.End(t.Context(), stays, session.ReasonElsewhere); err != nil {
			t.Fatal(err)
		}
		ends(t, c3, session.ReasonElsewhere)
	})
}

// A slow reader blocks no other, and then reads the latest change.
func TestWatchSlowReader(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, f *fixture, _ *feed) {
		s, _ := f.login(t)
		c, stop := f.Watch(s)
		defer stop()
		for range 3 {
			time.Sleep(10 * time.Minute)
			if err := f.Touch(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := f.End(t.Context(), s, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ends(t, c, session.ReasonSignedOut)
	})
}
