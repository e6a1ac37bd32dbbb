package sessiontest

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// lifetimes test expiry and Touch.
var lifetimes = map[string]func(*testing.T, *fixture){
	"a session ends at its idle timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(idle - time.Millisecond)
		same(t, f.get(t, r.ID), r)
		f.clock.Advance(time.Millisecond)
		f.gone(t, r)
	},
	"a session ends at its absolute timeout": func(t *testing.T, f *fixture) {
		r := f.create(t, func(r *session.Record) { r.IdleExpiresAt = r.ExpiresAt.Add(time.Hour) })
		f.clock.Advance(absolute - time.Millisecond)
		same(t, f.get(t, r.ID), r)
		f.clock.Advance(time.Millisecond)
		f.gone(t, r)
	},
	"an expired session is neither listed nor reported as ended": func(t *testing.T, f *fixture) {
		old := f.create(t, func(r *session.Record) { r.SID = "sid" })
		f.clock.Advance(idle / 2)
		young := f.create(t, func(r *session.Record) { r.SID = "sid" })
		f.clock.Advance(idle / 2)
		list, err := f.index.ListBySubject(t.Context(), issuer, subject)
		if err != nil || len(list) != 1 || list[0].ID != young.ID {
			t.Errorf("ListBySubject = %v, %v, want the one that lives", list, err)
		}
		ids, err := f.index.DeleteBySID(t.Context(), issuer, "sid", session.ReasonProvider)
		if err != nil || len(ids) != 1 || ids[0] != young.ID {
			t.Errorf("DeleteBySID = %v, %v, want the one that lived", ids, err)
		}
		f.gone(t, old)
		f.gone(t, young)
	},
	"Touch extends the idle timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.get(t, r.ID)
		f.clock.Advance(idle - time.Minute)
		now := f.clock.Now()
		if err := f.store.Touch(t.Context(), r.ID, now, now.Add(idle)); err != nil {
			t.Fatal(err)
		}
		r.LastSeenAt, r.IdleExpiresAt = now, now.Add(idle)
		same(t, f.get(t, r.ID), r)
		f.clock.Advance(idle - time.Millisecond)
		same(t, f.get(t, r.ID), r)
		if list, err := f.index.ListBySubject(t.Context(), issuer, subject); err != nil || len(list) != 1 || !list[0].LastSeenAt.Equal(now) {
			t.Errorf("ListBySubject = %v, %v, want the new LastSeenAt", list, err)
		}
		f.clock.Advance(time.Millisecond)
		f.gone(t, r)
	},
	"Touch does not extend the absolute timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		for range absolute/idle*2 - 1 {
			f.clock.Advance(idle / 2)
			now := f.clock.Now()
			if err := f.store.Touch(t.Context(), r.ID, now, now.Add(idle)); err != nil {
				t.Fatal(err)
			}
		}
		f.clock.Advance(idle / 2)
		f.gone(t, r)
	},
	"an overtaken Touch does nothing": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(2 * time.Minute)
		now := f.clock.Now()
		if err := f.store.Touch(t.Context(), r.ID, now, now.Add(idle)); err != nil {
			t.Fatal(err)
		}
		for _, late := range []time.Duration{time.Minute, 0} {
			if err := f.store.Touch(t.Context(), r.ID, now.Add(-late), now.Add(-late).Add(2*idle)); err != nil {
				t.Errorf("a touch %v behind: %v", late, err)
			}
		}
		r.LastSeenAt, r.IdleExpiresAt = now, now.Add(idle)
		same(t, f.get(t, r.ID), r)
	},
	"a later Touch may shorten the idle timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(time.Minute)
		now := f.clock.Now()
		if err := f.store.Touch(t.Context(), r.ID, now, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		f.clock.Advance(time.Minute)
		f.gone(t, r)
	},
	"Touch does not restore an ended session": func(t *testing.T, f *fixture) {
		ended, expired := f.create(t), f.create(t)
		if err := f.store.Delete(t.Context(), ended.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		f.clock.Advance(idle)
		now := f.clock.Now()
		for _, r := range []session.Record{ended, expired} {
			wantErr(t, "Touch", f.store.Touch(t.Context(), r.ID, now, now.Add(idle)),
				session.ErrNotFound)
			f.gone(t, r)
		}
	},
	"expired sessions are removed and counted": func(t *testing.T, f *fixture) {
		const many = 1200 // more than a store would delete at once
		for range many {
			f.create(t)
		}
		f.clock.Advance(idle / 2)
		living := f.create(t)
		f.clock.Advance(idle / 2)
		n, err := f.sweep(t.Context())
		// A store with times to live may have removed some already.
		if err != nil || n > many {
			t.Errorf("DeleteExpired = %d, %v, want at most %d", n, err, many)
		}
		if n, err := f.sweep(t.Context()); err != nil || n != 0 {
			t.Errorf("DeleteExpired again = %d, %v, want 0", n, err)
		}
		same(t, f.get(t, living.ID), living)
	},
}
