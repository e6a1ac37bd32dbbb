package sessiontest

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// seenWithin is how soon one process must see what another did.
const seenWithin = time.Second

// shared are about two processes, a and b, on one storage.
var shared = map[string]func(t *testing.T, a, b *fixture){
	"a session made here is found there": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		same(t, b.get(t, r.ID), r)
	},
	"a session ended here ends there within a second": func(t *testing.T, a, b *fixture) {
		for name, end := range map[string]func(session.Record) error{
			"Delete": func(r session.Record) error { return a.store.Delete(t.Context(), r.ID, session.ReasonSignedOut) },
			"DeleteBySID": func(r session.Record) error {
				_, err := a.index.DeleteBySID(t.Context(), r.Issuer, r.SID, session.ReasonProvider)
				return err
			},
			"DeleteBySubject": func(r session.Record) error {
				_, err := a.index.DeleteBySubject(t.Context(), r.Issuer, r.Subject, session.ReasonOperator)
				return err
			},
			"Create": func(r session.Record) error { return a.store.Create(t.Context(), a.record(), r.ID) },
		} {
			r := a.create(t)
			for range 3 {
				b.get(t, r.ID) // so that b remembers it
			}
			if err := end(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b.clock.Advance(seenWithin)
			within(t, seenWithin, name+" is seen by the other", func() bool {
				_, err := b.store.Get(t.Context(), r.ID)
				return errors.Is(err, session.ErrNotFound)
			})
			b.gone(t, r)
		}
	},
	"what was ended here cannot be changed there at once": func(t *testing.T, a, b *fixture) {
		for name, end := range map[string]func(session.Record) error{
			"Delete": func(r session.Record) error { return a.store.Delete(t.Context(), r.ID, session.ReasonSignedOut) },
			"Create": func(r session.Record) error { return a.store.Create(t.Context(), a.record(), r.ID) },
		} {
			r := a.create(t)
			for range 3 {
				b.get(t, r.ID) // so that b remembers it
			}
			if err := end(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			now := b.clock.Now()
			wantErr(t, "Touch", b.store.Touch(t.Context(), r.ID, now.Add(time.Second), now.Add(idle)), session.ErrNotFound)
			_, err := b.store.Lock(t.Context(), r.ID, lease)
			wantErr(t, "Lock", err, session.ErrNotFound)
		}
	},
	"a session prolonged here lives there": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		b.get(t, r.ID)
		a.clock.Advance(idle - time.Millisecond)
		b.get(t, r.ID)
		now := a.clock.Now()
		if err := a.store.Touch(t.Context(), r.ID, now, now.Add(idle)); err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(2 * time.Millisecond)
		b.get(t, r.ID)
	},
	"a lock has one holder among both": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		first := a.lock(t, r.ID)
		_, err := b.store.Lock(t.Context(), r.ID, lease)
		wantErr(t, "Lock", err, session.ErrLocked)
		// The first node is killed: the second takes over when the lease has run out, and what the
		// first then still writes does not count.
		a.clock.Advance(lease)
		second := b.lock(t, r.ID)
		if second <= first {
			t.Errorf("the fence of the other is %d, want more than %d", second, first)
		}
		wantErr(t, "Write", a.store.Write(t.Context(), r.ID, first, []byte("late")), session.ErrFenced)
		b.write(t, r.ID, second, "second")
	},
	"who has the lock sees what the last holder wrote": func(t *testing.T, a, b *fixture) {
		// Otherwise the second refresh sends a refresh token that the first has spent, and a
		// provider that detects reuse ends the session (oauth2-proxy #1992).
		r := a.create(t)
		for range 3 {
			b.get(t, r.ID)
		}
		a.write(t, r.ID, a.lock(t, r.ID), "rotated")
		b.lock(t, r.ID)
		if got := b.get(t, r.ID); string(got.Sealed) != "rotated" {
			t.Errorf("Sealed = %q, want what the other wrote", got.Sealed)
		}
	},
	"a write here is seen there within a second": func(t *testing.T, a, b *fixture) {
		r := a.create(t)
		for range 3 {
			b.get(t, r.ID)
		}
		a.write(t, r.ID, a.lock(t, r.ID), "rotated")
		b.clock.Advance(seenWithin)
		within(t, seenWithin, "the write is seen by the other", func() bool {
			return string(b.get(t, r.ID).Sealed) == "rotated"
		})
	},
	"nothing under way elsewhere revives a session that has ended": func(t *testing.T, a, b *fixture) {
		neverRevived(t, a, a, b)
	},
	"who watches there hears of what happens here": func(t *testing.T, a, b *fixture) {
		told(t, a, b.watch(t), true)
		// What the event said is so.
		r := a.create(t)
		b.get(t, r.ID)
		w := b.watch(t)
		if err := a.store.Delete(t.Context(), r.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		w.hears(t, "Delete", session.Event{ID: r.ID, Ended: true, Reason: session.ReasonSignedOut}, true)
		_, err := b.store.Get(t.Context(), r.ID)
		wantErr(t, "Get", err, session.ErrNotFound)
	},
	"a note made here is there at once": func(t *testing.T, a, b *fixture) {
		n := a.note("k")
		b.noNote(t, n.Kind, n.Key)
		a.put(t, n)
		b.hasNote(t, n)
		n.Value = []byte("second")
		a.put(t, n)
		b.hasNote(t, n)
		if b.add(t, n) {
			t.Error("it was added again")
		}
		if _, err := a.notes.TakeNote(t.Context(), n.Kind, n.Key); err != nil {
			t.Error(err)
		}
		b.noNote(t, n.Kind, n.Key)
	},
	"use at both is written once":     usedAtBoth,
	"a note is taken once among both": func(t *testing.T, a, b *fixture) { takenOnce(t, a, b) },
	"one of many adds it among both":  func(t *testing.T, a, b *fixture) { addedOnce(t, a, b) },
	"every call of both is counted":   func(t *testing.T, a, b *fixture) { everyCounted(t, a, b) },
	"updates under the lock are never lost between both": func(t *testing.T, a, b *fixture) {
		noLostUpdate(t, a, b)
	},
}

// patience is how long a test waits for what takes a moment of real time. It is more than a store
// has, since the machine that runs the tests may be busy.
const patience = 10 * time.Second

// eventually waits for a notification, which takes real time to arrive.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		asked := time.Now() // how long the answer takes on a busy machine is no matter
		if done() {
			return
		}
		if asked.After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
