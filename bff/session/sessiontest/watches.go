package sessiontest

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// watcher collects the events of a store.
type watcher struct {
	mu     sync.Mutex
	events []session.Event
	// breaks counts breaks of the feed, which a busy machine may cause, and err is the last result
	// of Watch.
	breaks int
	err    error
	cancel context.CancelFunc
}

// watch watches until the test ends, also after the feed has broken, and returns when the feed is
// established.
func (f *fixture) watch(t *testing.T) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{cancel: cancel}
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		f.watchOn(ctx, func(e session.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		}, func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.breaks++
			w.err = err
		})
	})
	eventually(t, "the feed is established", func() bool { return len(w.all()) > 0 })
	if first := w.all()[0]; first != (session.Event{}) {
		t.Errorf("the first event is %+v, want the zero one", first)
	}
	w.forget()
	return w
}

// watchOn watches until the context ends, and reports every result of Watch.
func (f *fixture) watchOn(ctx context.Context, event func(session.Event), returned func(error)) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		returned(f.feed.Watch(ctx, event))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// over reports whether Watch has returned, and its error.
func (w *watcher) over() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.breaks > 0, w.err
}

func (w *watcher) all() []session.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]session.Event(nil), w.events...)
}

func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
}

// expect waits for an event, or, with anyWillDo or after a break, for one with the zero ID.
func (w *watcher) expect(t *testing.T, what string, want session.Event, anyWillDo bool) {
	t.Helper()
	eventually(t, what+" is told", func() bool {
		broken, _ := w.over()
		for _, e := range w.all() {
			if e == want || (anyWillDo || broken) && e.ID.IsZero() {
				return true
			}
		}
		return false
	})
	for _, e := range w.all() {
		if e.ID == want.ID && e.Ended && !want.Ended {
			t.Errorf("after %s the watcher hears %+v", what, e)
		}
	}
}

// report makes every kind of event at a fixture, and checks that the watcher gets it.
func report(t *testing.T, f *fixture, w *watcher, anyWillDo bool) {
	changes := []ending{
		{name: "Touch", do: func(ctx context.Context, r session.Record) error {
			f.clock.Advance(time.Second)
			return f.store.Touch(ctx, r.ID, f.clock.Now(), f.clock.Now().Add(idle))
		}},
		{name: "Write", do: func(ctx context.Context, r session.Record) error {
			return f.store.Write(ctx, r.ID, f.lock(t, r.ID), []byte("written"))
		}},
	}
	for i, c := range append(changes, f.endings()...) {
		r := f.create(t)
		w.forget()
		if err := c.do(t.Context(), r); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := session.Event{ID: r.ID, Ended: i >= len(changes), Reason: c.why}
		w.expect(t, c.name, want, anyWillDo)
	}
}

// watches test a session.Watcher.
var watches = map[string]func(*testing.T, *fixture){
	"ends and changes are reported": func(t *testing.T, f *fixture) {
		report(t, f, f.watch(t), false)
	},
	"every watcher gets an event": func(t *testing.T, f *fixture) {
		first, second := f.watch(t), f.watch(t)
		r := f.create(t)
		if err := f.store.Delete(t.Context(), r.ID, session.ReasonElsewhere); err != nil {
			t.Fatal(err)
		}
		want := session.Event{ID: r.ID, Ended: true, Reason: session.ReasonElsewhere}
		first.expect(t, "Delete", want, false)
		second.expect(t, "Delete", want, false)
	},
	"a reported change can be read": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.get(t, r.ID)
		seen := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.watchOn(ctx, func(e session.Event) {
			if got, err := f.store.Get(ctx, r.ID); err == nil && (e.ID == r.ID || e.ID.IsZero()) {
				seen <- string(got.Sealed)
			}
		}, func(error) {})
		<-seen // the feed is established
		f.write(t, r.ID, f.lock(t, r.ID), "changed")
		deadline := time.After(patience)
		for {
			select {
			case sealed := <-seen:
				if sealed == "changed" {
					return
				}
			case <-deadline:
				t.Fatal("the reported change was not found")
			}
		}
	},
	"Watch ends with its context and with the store": func(t *testing.T, f *fixture) {
		first, second := f.watch(t), f.watch(t)
		first.cancel()
		eventually(t, "Watch returns", func() bool { over, _ := first.over(); return over })
		watched := []*watcher{first}
		_, closes := f.store.(io.Closer)
		if closes {
			f.close(t)
			eventually(t, "Watch returns", func() bool { over, _ := second.over(); return over })
			watched = append(watched, second)
		}
		for _, w := range watched {
			if _, err := w.over(); err == nil {
				t.Error("Watch = nil, want an error")
			}
		}
		if !closes {
			return
		}
		if err := f.feed.Watch(t.Context(), func(session.Event) {}); err == nil {
			t.Error("Watch of a closed store succeeds")
		}
	},
}
