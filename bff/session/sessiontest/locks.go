package sessiontest

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// locks test locks and fences.
var locks = map[string]func(*testing.T, *fixture){
	"a lock has one holder": func(t *testing.T, f *fixture) {
		r, other := f.create(t), f.create(t)
		f.lock(t, r.ID)
		f.lockedFor(t, r.ID, lease)
		f.lock(t, other.ID)
	},
	"a locked session can be read, touched and ended": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.lock(t, r.ID)
		same(t, f.get(t, r.ID), r)
		now := f.clock.Now()
		if err := f.store.Touch(t.Context(), r.ID, now, now.Add(idle)); err != nil {
			t.Errorf("Touch: %v", err)
		}
		f.delete(t, r.ID)
		f.gone(t, r)
	},
	"fences rise with every grant": func(t *testing.T, f *fixture) {
		r := f.create(t)
		last := f.lock(t, r.ID)
		for _, release := range []struct {
			how string
			do  func(session.Fence) error
		}{
			{"Write", func(fence session.Fence) error { return f.store.Write(t.Context(), r.ID, fence, []byte("w")) }},
			{"Unlock", func(fence session.Fence) error { return f.store.Unlock(t.Context(), r.ID, fence) }},
			{"the lease", func(session.Fence) error { f.clock.Advance(lease); return nil }},
		} {
			if err := release.do(last); err != nil {
				t.Fatalf("%s: %v", release.how, err)
			}
			next := f.lock(t, r.ID)
			if next <= last {
				t.Errorf("after %s the fence is %d, want more than %d", release.how, next, last)
			}
			last = next
		}
	},
	"an expired lease is taken over": func(t *testing.T, f *fixture) {
		r := f.create(t)
		first := f.lock(t, r.ID)
		f.clock.Advance(lease - time.Millisecond)
		f.noLock(t, "Lock within the lease", r.ID, session.ErrLocked)
		f.clock.Advance(time.Millisecond)
		second := f.lock(t, r.ID)

		// The first holder comes back late: it must neither overwrite what the second writes nor
		// release its lock.
		f.fenced(t, r.ID, first)
		same(t, f.get(t, r.ID), r)
		f.noLock(t, "Lock while the second holds it", r.ID, session.ErrLocked)

		f.write(t, r.ID, second, "second")
		f.fenced(t, r.ID, first)
		if got := f.get(t, r.ID); string(got.Sealed) != "second" {
			t.Errorf("Sealed = %q", got.Sealed)
		}
	},
	"an expired lease is valid until the lock is granted again": func(t *testing.T, f *fixture) {
		r := f.create(t)
		fence := f.lock(t, r.ID)
		f.clock.Advance(2 * lease)
		f.write(t, r.ID, fence, "late write")
		if got := f.get(t, r.ID); string(got.Sealed) != "late write" {
			t.Errorf("Sealed = %q", got.Sealed)
		}
	},
	"a write may be repeated": func(t *testing.T, f *fixture) {
		r := f.create(t)
		fence := f.lock(t, r.ID)
		f.write(t, r.ID, fence, "once")
		f.write(t, r.ID, fence, "once")
		if err := f.store.Unlock(t.Context(), r.ID, fence); err != nil {
			t.Errorf("Unlock after Write: %v", err)
		}
	},
	"fences that were not granted write nothing": func(t *testing.T, f *fixture) {
		r := f.create(t)
		for _, fence := range []session.Fence{0, 1, -1} {
			f.fenced(t, r.ID, fence)
		}
		granted := f.lock(t, r.ID)
		for _, fence := range []session.Fence{0, granted + 1, -granted} {
			f.fenced(t, r.ID, fence)
		}
		same(t, f.get(t, r.ID), r)
		f.noLock(t, "Lock", r.ID, session.ErrLocked)
	},
	"a renewed lease runs from the renewal": func(t *testing.T, f *fixture) {
		r := f.create(t)
		fence := f.lock(t, r.ID)
		for range 3 {
			f.clock.Advance(lease - time.Millisecond)
			f.renew(t, r.ID, fence)
		}
		f.clock.Advance(lease - time.Millisecond)
		f.lockedFor(t, r.ID, time.Millisecond)
		f.clock.Advance(time.Millisecond)
		f.renew(t, r.ID, fence) // expired and not taken over
		f.noLock(t, "Lock after a late renewal", r.ID, session.ErrLocked)
		same(t, f.get(t, r.ID), r)

		f.clock.Advance(lease)
		second := f.lock(t, r.ID)
		wantErr(t, "Renew of the first", f.store.Renew(t.Context(), r.ID, fence, time.Hour),
			session.ErrFenced)
		f.clock.Advance(lease)
		if third := f.lock(t, r.ID); third <= second {
			t.Errorf("the third fence is %d, want more than %d", third, second)
		}
	},
	"a released lock is not renewed": func(t *testing.T, f *fixture) {
		r := f.create(t)
		for name, release := range map[string]func(session.Fence) error{
			"Unlock": func(fence session.Fence) error { return f.store.Unlock(t.Context(), r.ID, fence) },
			"Write":  func(fence session.Fence) error { return f.store.Write(t.Context(), r.ID, fence, []byte("w")) },
		} {
			fence := f.lock(t, r.ID)
			if err := release(fence); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			wantErr(t, "Renew after "+name, f.store.Renew(t.Context(), r.ID, fence, lease),
				session.ErrFenced)
		}
		fence := f.lock(t, r.ID)
		for _, wrong := range []session.Fence{0, fence + 1, -fence} {
			wantErr(t, "Renew", f.store.Renew(t.Context(), r.ID, wrong, lease), session.ErrFenced)
		}
	},
	"Unlock releases and may be repeated": func(t *testing.T, f *fixture) {
		r := f.create(t)
		fence := f.lock(t, r.ID)
		for range 2 {
			if err := f.store.Unlock(t.Context(), r.ID, fence); err != nil {
				t.Fatalf("Unlock: %v", err)
			}
		}
		f.lock(t, r.ID)
		same(t, f.get(t, r.ID), r)
	},
	"a write does not restore a session that expired under the lock": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(idle - time.Second)
		fence := f.lock(t, r.ID)
		f.clock.Advance(time.Second)
		f.noWrite(t, r.ID, fence)
		f.gone(t, r)
	},
}
