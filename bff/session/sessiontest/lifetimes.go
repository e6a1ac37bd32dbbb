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
		if list := f.listed(t, issuer, subject); len(list) != 1 || list[0].ID != young.ID {
			t.Errorf("ListBySubject = %v, want the one that lives", list)
		}
		ids, err := f.index.DeleteBySID(t.Context(), issuer, "sid", session.ReasonProvider)
		wantIDs(t, "DeleteBySID", ids, err, []session.Record{young})
		f.gone(t, old)
		f.gone(t, young)
	},
	"Touch extends the idle timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.get(t, r.ID)
		f.clock.Advance(idle - time.Minute)
		now := f.use(t, r.ID)
		r.LastSeenAt, r.IdleExpiresAt = now, now.Add(idle)
		same(t, f.get(t, r.ID), r)
		f.clock.Advance(idle - time.Millisecond)
		same(t, f.get(t, r.ID), r)
		if list := f.listed(t, issuer, subject); len(list) != 1 || !list[0].LastSeenAt.Equal(now) {
			t.Errorf("ListBySubject = %v, want the new LastSeenAt", list)
		}
		f.clock.Advance(time.Millisecond)
		f.gone(t, r)
	},
	"Touch does not extend the absolute timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		for range absolute/idle*2 - 1 {
			f.clock.Advance(idle / 2)
			f.use(t, r.ID)
		}
		f.clock.Advance(idle / 2)
		f.gone(t, r)
	},
	"an overtaken Touch does nothing": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(2 * time.Minute)
		now := f.use(t, r.ID)
		for _, late := range []time.Duration{time.Minute, 0} {
			f.touch(t, r.ID, now.Add(-late), now.Add(-late).Add(2*idle))
		}
		r.LastSeenAt, r.IdleExpiresAt = now, now.Add(idle)
		same(t, f.get(t, r.ID), r)
	},
	"a later Touch may shorten the idle timeout": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.clock.Advance(time.Minute)
		now := f.clock.Now()
		f.touch(t, r.ID, now, now.Add(time.Minute))
		f.clock.Advance(time.Minute)
		f.gone(t, r)
	},
	"Touch does not restore an ended session": func(t *testing.T, f *fixture) {
		ended, expired := f.create(t), f.create(t)
		f.delete(t, ended.ID)
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
