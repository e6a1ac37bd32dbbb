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
	// breaks is how often the feed has broken, which a machine that is busy may cause, and err why
	// Watch returned last.
	breaks int
	err    error
	cancel context.CancelFunc
}

// watch watches until the test ends, also after the feed has broken, and returns when the feed
// stands.
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
	eventually(t, "the feed stands", func() bool { return len(w.all()) > 0 })
	if first := w.all()[0]; first != (session.Event{}) {
		t.Errorf("the first event is %+v, want the zero one", first)
	}
	w.forget()
	return w
}

// watchOn watches until the context ends, and tells of every return of Watch.
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

// over tells whether Watch has returned, and why.
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

// hears waits for an event, or, if that will do or the feed has broken, for one that says that
// anything may have happened.
func (w *watcher) hears(t *testing.T, what string, want session.Event, anyWillDo bool) {
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

// told has one fixture do everything that makes an event, and the watcher hear of it.
func told(t *testing.T, f *fixture, w *watcher, anyWillDo bool) {
	for _, c := range []struct {
		name string
		do   func(r session.Record) error
		want session.Event
	}{
		{"Touch", func(r session.Record) error {
			f.clock.Advance(time.Second)
			return f.store.Touch(t.Context(), r.ID, f.clock.Now(), f.clock.Now().Add(idle))
		}, session.Event{}},
		{"Write", func(r session.Record) error {
			return f.store.Write(t.Context(), r.ID, f.lock(t, r.ID), []byte("written"))
		}, session.Event{}},
		{"Delete", func(r session.Record) error {
			return f.store.Delete(t.Context(), r.ID, session.ReasonSignedOut)
		}, session.Event{Ended: true, Reason: session.ReasonSignedOut}},
		{"DeleteBySID", func(r session.Record) error {
			_, err := f.index.DeleteBySID(t.Context(), r.Issuer, r.SID, session.ReasonProvider)
			return err
		}, session.Event{Ended: true, Reason: session.ReasonProvider}},
		{"DeleteBySubject", func(r session.Record) error {
			_, err := f.index.DeleteBySubject(t.Context(), r.Issuer, r.Subject, session.ReasonOperator)
			return err
		}, session.Event{Ended: true, Reason: session.ReasonOperator}},
		{"Create", func(r session.Record) error {
			return f.store.Create(t.Context(), f.record(), r.ID)
		}, session.Event{Ended: true, Reason: session.ReasonReplaced}},
	} {
		r := f.create(t)
		w.forget()
		if err := c.do(r); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		c.want.ID = r.ID
		w.hears(t, c.name, c.want, anyWillDo)
	}
}

// watches are about being told.
var watches = map[string]func(*testing.T, *fixture){
	"who watches hears of ends and changes": func(t *testing.T, f *fixture) {
		told(t, f, f.watch(t), false)
	},
	"every watcher hears": func(t *testing.T, f *fixture) {
		first, second := f.watch(t), f.watch(t)
		r := f.create(t)
		if err := f.store.Delete(t.Context(), r.ID, session.ReasonElsewhere); err != nil {
			t.Fatal(err)
		}
		want := session.Event{ID: r.ID, Ended: true, Reason: session.ReasonElsewhere}
		first.hears(t, "Delete", want, false)
		second.hears(t, "Delete", want, false)
	},
	"who hears of a change finds it": func(t *testing.T, f *fixture) {
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
		<-seen // the feed stands
		f.write(t, r.ID, f.lock(t, r.ID), "changed")
		deadline := time.After(patience)
		for {
			select {
			case sealed := <-seen:
				if sealed == "changed" {
					return
				}
			case <-deadline:
				t.Fatal("who heard of the change did not find it")
			}
		}
	},
	"watching ends with its context and with the store": func(t *testing.T, f *fixture) {
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
			t.Error("watching a closed store succeeds")
		}
	},
}
