package sessiontest

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Storage is a server that one test uses, and controls of it.
type Storage struct {
	// Open opens a store on the server, by the real clock, as another process would.
	Open func(t *testing.T) session.Store
	// OpenAway opens one whose network can be frozen, thawed and cut.
	OpenAway func(t *testing.T) (store session.Store, freeze, thaw, cut func())
	// Freeze stops the server without closing connections, and Thaw continues it. Kill ends it at
	// once, and Restart starts it again with its data.
	Freeze, Thaw, Kill, Restart func(t *testing.T)
}

const (
	// endsWithin bounds every call of a store whose server is down. It is longer than stores need,
	// for a busy machine.
	endsWithin = 15 * time.Second
	// crowd is the number of concurrent requests while the server is down.
	crowd = 200
)

// RunOutages checks a store during failures of its server and network: every call ends in time,
// none returns ErrNotFound, no ended session is found for longer than a second, and afterwards all
// sessions are found. It takes some seconds of real time.
func RunOutages(t *testing.T, start func(t *testing.T) Storage) {
	for name, test := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

var outages = map[string]func(*testing.T, Storage){
	"a frozen server is an outage": func(t *testing.T, s Storage) {
		outage(t, s, s.Freeze, s.Thaw)
	},
	"a killed server is an outage": func(t *testing.T, s Storage) {
		outage(t, s, s.Kill, s.Restart)
	},
	"a process without connection uses its cache for at most a second": func(t *testing.T, s Storage) {
		home := realFixture(s.Open(t))
		store, freeze, thaw, _ := s.OpenAway(t)
		away := realFixture(store)
		stays, ends := home.create(t), home.create(t)
		away.get(t, stays.ID)
		away.get(t, ends.ID)
		broke := away.broken(t)

		freeze()
		home.delete(t, ends.ID)
		away.neverFoundAfter(t, ends.ID, time.Now(), func(err error) bool { return err != nil })
		select {
		case <-broke:
		case <-time.After(patience):
			t.Error("Watch does not return when the feed breaks")
		}
		within(t, patience, "no answer comes from the cache", func() bool {
			_, err := away.store.Get(t.Context(), stays.ID)
			if errors.Is(err, session.ErrNotFound) {
				t.Errorf("a broken network returned ErrNotFound: %v", err)
			}
			return err != nil
		})
		thaw()
		away.isBack(t, stays)
		_, err := away.store.Get(t.Context(), ends.ID)
		wantErr(t, "Get of what ended meanwhile", err, session.ErrNotFound)
	},
	"repeatedly cut connections hide no end": func(t *testing.T, s Storage) {
		home := realFixture(s.Open(t))
		store, _, _, cut := s.OpenAway(t)
		away := realFixture(store)
		stays := home.create(t)
		for range 10 {
			r := home.create(t)
			away.isBack(t, r)
			cut()
			home.delete(t, r.ID)
			away.neverFoundAfter(t, r.ID, time.Now(), func(err error) bool { return errors.Is(err, session.ErrNotFound) })
		}
		away.isBack(t, stays)
	},
	"Manager.Watch reports an end during an outage, and no other": func(t *testing.T, s Storage) {
		home := realFixture(s.Open(t))
		store, freeze, thaw, _ := s.OpenAway(t)
		m := newManager(t, session.ManagerConfig{Store: store})
		running, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(running) }()
		defer func() { stop(); <-done }()
		login := func() (*session.Session, string, <-chan session.Change) {
			var s *session.Session
			var cookie *http.Cookie
			within(t, patience, "a login", func() (done bool) {
				var err error
				s, cookie, err = m.Create(t.Context(), session.NewSession{Issuer: issuer,
					Subject: subject, SID: "sid"})
				return err == nil
			})
			c, _ := m.Watch(s)
			return s, cookie.Value, c
		}
		ended, _, c1 := login()
		_, cookie, c2 := login()

		freeze()
		home.delete(t, ended.ID)
		within(t, patience, "the outage is seen", func() bool {
			_, err := load(t, m, cookie)
			return err != nil && !errors.Is(err, session.ErrNotFound)
		})
		thaw()
		select {
		case c := <-c1:
			if !c.Ended {
				t.Errorf("got %+v, want an end", c)
			}
		case <-time.After(patience):
			t.Error("the end is not reported")
		}
		within(t, patience, "the other is still signed in", func() bool { _, err := load(t, m, cookie); return err == nil })
		select {
		case c := <-c2:
			if c.Ended {
				t.Errorf("the other got an end: %+v", c)
			}
		default:
		}
	},
}

// outage stops and restores the server.
func outage(t *testing.T, s Storage, goes, comes func(t *testing.T)) {
	a, b := realFixture(s.Open(t)), realFixture(s.Open(t))
	var signedIn []session.Record
	for range 5 {
		r := a.create(t)
		signedIn = append(signedIn, a.get(t, r.ID))
		b.get(t, r.ID)
	}
	fence := a.lock(t, signedIn[0].ID)
	a.write(t, signedIn[0].ID, fence, "written before")
	signedIn[0].Sealed = []byte("written before")
	n := a.note("k")
	n.ExpiresAt = time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	a.put(t, n)

	goes(t)
	went := time.Now()
	// The cache may be used for a moment.
	for _, f := range []*fixture{a, b} {
		within(t, patience, "no answer comes from the cache", func() bool {
			_, err := f.store.Get(t.Context(), signedIn[1].ID)
			if errors.Is(err, session.ErrNotFound) {
				t.Fatalf("an outage returned ErrNotFound: %v", err)
			}
			return err != nil
		})
	}
	t.Logf("noticed within %v", time.Since(went).Round(time.Millisecond))
	calls := a.calls(signedIn[0])
	maps.Copy(calls, a.noteCalls(a.note("other")))
	maps.Copy(calls, map[string]func(context.Context) error{
		"Create":      func(ctx context.Context) error { return a.store.Create(ctx, a.record(), session.ID{}) },
		"DeleteBySID": func(ctx context.Context) error { _, err := a.index.DeleteBySID(ctx, issuer, "s", 0); return err },
		"DeleteBySubject": func(ctx context.Context) error {
			_, err := a.index.DeleteBySubject(ctx, issuer, "another subject", 0)
			return err
		},
		"ListBySubject": func(ctx context.Context) error { _, err := a.index.ListBySubject(ctx, issuer, subject); return err },
		"List":          func(ctx context.Context) error { _, _, err := a.store.List(ctx, "", 10); return err },
	})
	delete(calls, "Delete") // the server may execute it when it continues
	delete(calls, "Write")
	var asking sync.WaitGroup
	ask := func(name string, call func(context.Context) error) {
		asking.Go(func() {
			asked := time.Now()
			if err := call(t.Context()); err == nil || errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s during an outage: %v, want another error", name, err)
			}
			if took := time.Since(asked); took > endsWithin {
				t.Errorf("%s during an outage took %v", name, took)
			}
		})
	}
	for name, call := range calls {
		ask(name, call)
	}
	for i := range crowd {
		ask("one of many Gets", func(ctx context.Context) error { _, err := b.store.Get(ctx, signedIn[i%5].ID); return err })
	}
	asking.Wait()

	comes(t)
	came := time.Now()
	for _, f := range []*fixture{a, b} {
		for _, r := range signedIn[1:] {
			f.isBack(t, r)
		}
	}
	t.Logf("back within %v", time.Since(came).Round(time.Millisecond))
	if got := a.get(t, signedIn[0].ID); string(got.Sealed) != "written before" {
		t.Errorf("Sealed = %q", got.Sealed)
	}
	a.hasNote(t, n)
	// It accepts writes again, although a lock requested meanwhile may have to expire first.
	fence = a.lock(t, signedIn[1].ID)
	a.write(t, signedIn[1].ID, fence, "written after")
	within(t, patience, "the other sees what is written", func() bool {
		r, err := b.store.Get(t.Context(), signedIn[1].ID)
		return err == nil && string(r.Sealed) == "written after"
	})
}

// realFixture returns a fixture by the real clock.
func realFixture(s session.Store) *fixture { return newFixture(nil, s) }

// isBack waits until a session is found again, and fails if an error before is ErrNotFound.
func (f *fixture) isBack(t *testing.T, r session.Record) {
	t.Helper()
	within(t, patience, "the session is found", func() bool {
		_, err := f.store.Get(t.Context(), r.ID)
		if errors.Is(err, session.ErrNotFound) {
			t.Fatalf("an outage returned ErrNotFound: %v", err)
		}
		return err == nil
	})
}

// neverFoundAfter reads a session until the error is the wanted one, and fails if it is found a
// second or more after it ended.
func (f *fixture) neverFoundAfter(t *testing.T, id session.ID, ended time.Time,
	until func(error) bool) {
	t.Helper()
	within(t, patience, "the end is known", func() bool {
		asked := time.Now()
		_, err := f.store.Get(t.Context(), id)
		if late := asked.Sub(ended); err == nil && late > seenWithin {
			t.Fatalf("%v after its end the session is found", late)
		}
		return until(err)
	})
}

// broken starts a feed, and returns a channel that is closed when it breaks.
func (f *fixture) broken(t *testing.T) <-chan struct{} {
	t.Helper()
	stands, broke := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(broke)
		once := sync.OnceFunc(func() { close(stands) })
		_ = f.feed.Watch(t.Context(), func(session.Event) { once() })
	}()
	select {
	case <-stands:
	case <-time.After(patience):
		t.Fatal("the feed is not established")
	}
	return broke
}
