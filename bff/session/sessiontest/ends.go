package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// ends test Delete, List and the index.
var ends = map[string]func(*testing.T, *fixture){
	"an ended session is gone": func(t *testing.T, f *fixture) {
		r, other := f.create(t), f.create(t)
		f.get(t, r.ID)
		f.delete(t, r.ID)
		f.gone(t, r)
		same(t, f.get(t, other.ID), other)
	},
	"DeleteBySID ends the sessions of an issuer and sid": func(t *testing.T, f *fixture) {
		sid := func(issuer, sid string) func(*session.Record) {
			return func(r *session.Record) { r.Issuer, r.SID = issuer, sid }
		}
		meant := []session.Record{f.create(t, sid(issuer, "s1")), f.create(t, sid(issuer, "s1"))}
		others := []session.Record{
			f.create(t, sid(issuer, "s2")),
			f.create(t, sid(issuer, "S1")),
			f.create(t, sid(issuer, "s1 ")),
			f.create(t, sid(issuer, "")),
			f.create(t, sid("https://other.example/", "s1")), // sids are unique per issuer only
		}
		fence := f.lock(t, meant[0].ID)
		f.get(t, meant[1].ID)
		ids, err := f.index.DeleteBySID(t.Context(), issuer, "s1", session.ReasonProvider)
		wantIDs(t, "DeleteBySID", ids, err, meant)
		f.noWrite(t, meant[0].ID, fence)
		for _, r := range meant {
			f.gone(t, r)
		}
		for _, r := range others {
			same(t, f.get(t, r.ID), r)
		}
		ids, err = f.index.DeleteBySID(t.Context(), issuer, "s1", session.ReasonProvider)
		wantIDs(t, "DeleteBySID again", ids, err, nil)
	},
	"the empty sid names no session": func(t *testing.T, f *fixture) {
		// A logout token without a sid must not end the sessions that have none.
		r := f.create(t, func(r *session.Record) { r.SID = "" })
		ids, err := f.index.DeleteBySID(t.Context(), issuer, "", session.ReasonProvider)
		wantIDs(t, "DeleteBySID", ids, err, nil)
		same(t, f.get(t, r.ID), r)
	},
	"a name that cannot be stored names no session": func(t *testing.T, f *fixture) {
		// Any browser can send a sid to the front channel. One that the store cannot store is not
		// an outage.
		r := f.create(t)
		for _, name := range []string{"a\x00b", "\xff"} {
			ids, err := f.index.DeleteBySID(t.Context(), issuer, name, session.ReasonProvider)
			wantIDs(t, "DeleteBySID", ids, err, nil)
			ids, err = f.index.DeleteBySubject(t.Context(), issuer, name, session.ReasonOperator)
			wantIDs(t, "DeleteBySubject", ids, err, nil)
			ids, err = f.index.DeleteBySubject(t.Context(), name, subject, session.ReasonOperator)
			wantIDs(t, "DeleteBySubject", ids, err, nil)
			if list := f.listed(t, issuer, name); len(list) != 0 {
				t.Errorf("ListBySubject(%q) = %v", name, list)
			}
		}
		same(t, f.get(t, r.ID), r)
	},
	"DeleteBySubject ends all sessions of a subject": func(t *testing.T, f *fixture) {
		who := func(issuer, subject string) func(*session.Record) {
			return func(r *session.Record) { r.Issuer, r.Subject = issuer, subject }
		}
		meant := []session.Record{f.create(t), f.create(t), f.create(t)}
		others := []session.Record{
			f.create(t, who(issuer, "AUTH0|5f7c8ec7")),
			f.create(t, who(issuer, subject+" ")),
			f.create(t, who("https://idp.example", subject)), // issuers are compared byte for byte
		}
		f.get(t, meant[1].ID)
		ids, err := f.index.DeleteBySubject(t.Context(), issuer, subject, session.ReasonOperator)
		wantIDs(t, "DeleteBySubject", ids, err, meant)
		for _, r := range meant {
			f.gone(t, r)
		}
		for _, r := range others {
			same(t, f.get(t, r.ID), r)
		}
		ids, err = f.index.DeleteBySubject(t.Context(), issuer, subject, session.ReasonOperator)
		wantIDs(t, "DeleteBySubject again", ids, err, nil)
	},
	"the sessions of a subject are listed newest first, without Sealed": func(t *testing.T, f *fixture) {
		var want []session.Record
		for range 3 {
			want = append(want, f.create(t))
			f.clock.Advance(time.Minute)
		}
		slices.Reverse(want)
		// Touch does not change the order.
		now := f.use(t, want[2].ID)
		want[2].LastSeenAt, want[2].IdleExpiresAt = now, now.Add(idle)
		f.create(t, func(r *session.Record) { r.Subject = "another subject" })
		f.create(t, func(r *session.Record) { r.Issuer = "https://other.example/" })

		list := f.listed(t, issuer, subject)
		if len(list) != len(want) {
			t.Fatalf("ListBySubject gave %d sessions, want %d", len(list), len(want))
		}
		for i := range want {
			if list[i].Sealed != nil {
				t.Error("Sealed is in the list")
			}
			want[i].Sealed = nil
			same(t, list[i], want[i])
		}
		if list := f.listed(t, issuer, "a third subject"); len(list) != 0 {
			t.Errorf("ListBySubject of a third subject = %v", list)
		}
	},
	"all sessions are listed in pages": func(t *testing.T, f *fixture) {
		want := map[session.ID]session.Record{}
		for i := range 7 {
			r := f.create(t, func(r *session.Record) { r.Subject = fmt.Sprint("person ", i%3) })
			r.Sealed = nil
			want[r.ID] = r
		}
		ended, expired := f.create(t), f.create(t, func(r *session.Record) { r.IdleExpiresAt = f.clock.Now().Add(time.Minute) })
		if err := f.store.Delete(t.Context(), ended.ID, session.ReasonOperator); err != nil {
			t.Fatal(err)
		}
		f.clock.Advance(time.Minute)
		got := map[session.ID]session.Record{}
		cursor := ""
		for pages := 1; ; pages++ {
			page, next, err := f.store.List(t.Context(), cursor, 3)
			if err != nil || len(page) > 3 {
				t.Fatalf("List gave %d sessions, %v, want 3 at most", len(page), err)
			}
			for _, r := range page {
				if r.Sealed != nil {
					t.Error("Sealed is in the list")
				}
				got[r.ID] = r
			}
			if cursor = next; cursor == "" {
				break
			}
			if pages > 10_000 { // pages may be empty: sessions of other tests on the server are skipped
				t.Fatal("the list does not end")
			}
		}
		if len(got) != len(want) {
			t.Errorf("List gave %d sessions, want %d", len(got), len(want))
		}
		for id, r := range want {
			same(t, got[id], r)
		}
		if _, ok := got[expired.ID]; ok {
			t.Error("an expired session is in the list")
		}
	},
	"an invalid cursor is refused": func(t *testing.T, f *fixture) {
		f.create(t)
		for _, cursor := range []string{"%", "x", strings.Repeat("z", 200), "9223372036854775808999"} {
			if page, _, err := f.store.List(t.Context(), cursor, 10); !errors.Is(err, session.ErrCursor) {
				t.Errorf("List from %q = %v, %v, want ErrCursor", cursor, page, err)
			}
		}
	},
}

func wantIDs(t *testing.T, doing string, got []session.ID, err error, want []session.Record) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", doing, err)
	}
	if len(got) != len(want) {
		t.Errorf("%s ended %d sessions, want %d", doing, len(got), len(want))
	}
	for _, r := range want {
		if !slices.Contains(got, r.ID) {
			t.Errorf("%s did not return %v", doing, r.ID)
		}
	}
}

// failures test errors that are not answers: oauth2-proxy #1325 and #2904 signed users out when the
// browser disconnected, #2503 when the store failed.
var failures = map[string]func(*testing.T, *fixture){
	"an ended context is not ErrNotFound": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.get(t, r.ID)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range f.calls(r) {
			if err := call(ctx); errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrLocked) ||
				err == nil && name != "Get" {
				t.Errorf("%s with an ended context: %v, want another error", name, err)
			}
		}
		if ids, err := f.index.DeleteBySubject(ctx, issuer, subject, session.ReasonOperator); err == nil {
			t.Errorf("DeleteBySubject with an ended context = %v, nil", ids)
		}
		if err := f.store.Create(ctx, f.record(), r.ID); err == nil {
			t.Error("Create with an ended context succeeded")
		}
		same(t, f.get(t, r.ID), r)
	},
}

// closings test calls after Close.
var closings = map[string]func(*testing.T, *fixture){
	"a closed store does not return ErrNotFound": func(t *testing.T, f *fixture) {
		r := f.create(t)
		f.get(t, r.ID)
		f.close(t)
		for name, call := range f.calls(r) {
			if err := call(t.Context()); err == nil || errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s after Close: %v, want another error", name, err)
			}
		}
		if list, err := f.index.ListBySubject(t.Context(), issuer, subject); err == nil {
			t.Errorf("ListBySubject after Close = %v, nil", list)
		}
		if s, ok := f.store.(session.Sweeper); ok {
			if _, err := s.DeleteExpired(t.Context()); err == nil {
				t.Error("DeleteExpired after Close succeeded")
			}
		}
	},
}
