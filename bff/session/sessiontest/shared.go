package sessiontest

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// seenWithin is how soon one process must see what another did.
const seenWithin = time.Second

// shared test two processes, a and b, on one storage.
var shared = map[string]func(t *testing.T, a, b *fixture){
	"a session created at one process is found at the other": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		same(t, b.get(t, r.ID), r)
	},
	"an end is seen by the other process within a second": func(t *testing.T, a, b *fixture) {
		for _, end := range a.endings() {
			r := a.create(t)
			b.caches(t, r.ID)
			if err := end.do(t.Context(), r); err != nil {
				t.Fatalf("%s: %v", end.name, err)
			}
			b.clock.Advance(seenWithin)
			within(t, seenWithin, end.name+" is seen by the other", func() bool {
				_, err := b.store.Get(t.Context(), r.ID)
				return errors.Is(err, session.ErrNotFound)
			})
			b.gone(t, r)
		}
	},
	"an ended session cannot be changed by the other process": func(t *testing.T, a, b *fixture) {
		for _, end := range a.endings() {
			r := a.create(t)
			b.caches(t, r.ID)
			if err := end.do(t.Context(), r); err != nil {
				t.Fatalf("%s: %v", end.name, err)
			}
			now := b.clock.Now()
			wantErr(t, "Touch", b.store.Touch(t.Context(), r.ID, now.Add(time.Second),
				now.Add(idle)), session.ErrNotFound)
			b.noLock(t, "Lock", r.ID, session.ErrNotFound)
		}
	},
	"an extended session lives at the other process": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		b.get(t, r.ID)
		a.clock.Advance(idle - time.Millisecond)
		b.get(t, r.ID)
		a.use(t, r.ID)
		b.clock.Advance(2 * time.Millisecond)
		b.get(t, r.ID)
	},
	"a lock has one holder among processes": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		first := a.lock(t, r.ID)
		b.noLock(t, "Lock", r.ID, session.ErrLocked)
		// The first process is killed: the second takes over when the lease has expired, and later
		// writes of the first have no effect.
		a.clock.Advance(lease)
		second := b.lock(t, r.ID)
		if second <= first {
			t.Errorf("the fence of the other is %d, want more than %d", second, first)
		}
		a.fenced(t, r.ID, first)
		b.write(t, r.ID, second, "second")
	},
	"the holder of the lock reads what the last holder wrote": func(t *testing.T, a, b *fixture) {
		// Otherwise the second refresh sends a used refresh token, and a provider that detects
		// reuse ends the session (oauth2-proxy #1992).
		r := a.create(t)
		b.caches(t, r.ID)
		a.write(t, r.ID, a.lock(t, r.ID), "rotated")
		b.lock(t, r.ID)
		if got := b.get(t, r.ID); string(got.Sealed) != "rotated" {
			t.Errorf("Sealed = %q, want what the other wrote", got.Sealed)
		}
	},
	"a write is seen by the other process within a second": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		b.caches(t, r.ID)
		a.write(t, r.ID, a.lock(t, r.ID), "rotated")
		b.clock.Advance(seenWithin)
		within(t, seenWithin, "the write is seen by the other", func() bool {
			return string(b.get(t, r.ID).Sealed) == "rotated"
		})
	},
	"no call in progress at another process restores an ended session": func(t *testing.T, a, b *fixture) {
		neverRevived(t, a, a, b)
	},
	"events reach the watchers of the other process": func(t *testing.T, a, b *fixture) {
		report(t, a, b.watch(t), true)
		// After the event the session is gone.
		r := a.create(t)
		b.get(t, r.ID)
		w := b.watch(t)
		a.delete(t, r.ID)
		w.expect(t, "Delete", session.Event{ID: r.ID, Ended: true, Reason: session.ReasonSignedOut},
			true)
		_, err := b.store.Get(t.Context(), r.ID)
		wantErr(t, "Get", err, session.ErrNotFound)
	},
	"a note is seen by the other process at once": func(t *testing.T, a, b *fixture) {
		n := a.note("k")
		b.noNote(t, n.Kind, n.Key)
		a.put(t, n)
		b.hasNote(t, n)
		n.Value = []byte("second")
		a.put(t, n)
		b.hasNote(t, n)
		if b.add(t, n) {
			t.Error("the note was added again")
		}
		if _, err := a.notes.TakeNote(t.Context(), n.Kind, n.Key); err != nil {
			t.Error(err)
		}
		b.noNote(t, n.Kind, n.Key)
	},
	"use at both processes is recorded once":   usedAtBoth,
	"a note is taken once among processes":     func(t *testing.T, a, b *fixture) { takenOnce(t, a, b) },
	"one of several processes adds a note":     func(t *testing.T, a, b *fixture) { addedOnce(t, a, b) },
	"every CountNote of both processes counts": func(t *testing.T, a, b *fixture) { everyCounted(t, a, b) },
	"no update under the lock is lost between processes": func(t *testing.T, a, b *fixture) {
		noLostUpdate(t, a, b)
	},
}

// patience is how long a test waits in real time. It is longer than a store needs, for a busy
// machine.
const patience = 10 * time.Second

// eventually waits for a notification, which takes real time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		asked := time.Now() // the answer may take long on a busy machine
		if done() {
			return
		}
		if asked.After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
