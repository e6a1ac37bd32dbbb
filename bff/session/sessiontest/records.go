package sessiontest

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// records test Create, Get and Write.
var records = map[string]func(*testing.T, *fixture){
	"a created session is found": func(t *testing.T, f *fixture) {
		r := f.create(t)
		same(t, f.get(t, r.ID), r)
		same(t, f.get(t, r.ID), r) // again, from a cache
	},
	"nothing is found in an empty store": func(t *testing.T, f *fixture) {
		f.gone(t, f.record())
	},
	"any text and bytes are stored": func(t *testing.T, f *fixture) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		large := make([]byte, 300<<10)
		_, _ = rand.Read(large)
		for name, change := range map[string]func(*session.Record){
			"quotes and wildcards": func(r *session.Record) { r.Subject, r.SID = `o'neil"; -- %_*?\`, `%` },
			"separators":           func(r *session.Record) { r.Issuer, r.Subject, r.SID = "a:b", "c|d:e{f}", "g\nh" },
			"other scripts":        func(r *session.Record) { r.Subject, r.UserAgent = "Łódź 東京 🎛", "Ωmega" },
			"long names":           func(r *session.Record) { r.Subject = strings.Repeat("s", 255); r.SID = strings.Repeat("i", 1000) },
			"no optional fields":   func(r *session.Record) { r.SID, r.UserAgent, r.Address = "", "", "" },
			"every byte":           func(r *session.Record) { r.Sealed = every },
			"nothing sealed":       func(r *session.Record) { r.Sealed = []byte{} },
			"large":                func(r *session.Record) { r.Sealed = large },
		} {
			r := f.create(t, change)
			t.Log(name)
			same(t, f.get(t, r.ID), r)
		}
	},
	"a store copies its arguments and results": func(t *testing.T, f *fixture) {
		r := f.create(t, func(r *session.Record) { r.Sealed = []byte("as it was") })
		r.Sealed[0] = 'X'
		for range 2 {
			got := f.get(t, r.ID)
			if string(got.Sealed) != "as it was" {
				t.Fatalf("Sealed = %q", got.Sealed)
			}
		}
		written := []byte("written")
		if err := f.store.Write(t.Context(), r.ID, f.lock(t, r.ID), written); err != nil {
			t.Fatal(err)
		}
		written[0] = 'Z'
		if got := f.get(t, r.ID); string(got.Sealed) != "written" {
			t.Errorf("Sealed = %q", got.Sealed)
		}
	},
	"Create does not replace a live session with the same ID": func(t *testing.T, f *fixture) {
		r, bystander := f.create(t), f.create(t)
		second := f.record(func(s *session.Record) { s.ID, s.Subject, s.Sealed = r.ID, "mallory", []byte("other") })
		wantErr(t, "Create", f.store.Create(t.Context(), second, bystander.ID), session.ErrExists)
		same(t, f.get(t, r.ID), r)
		same(t, f.get(t, bystander.ID), bystander)
	},
	"a new session ends the one it replaces": func(t *testing.T, f *fixture) {
		old := f.create(t)
		f.get(t, old.ID)
		fence := f.lock(t, old.ID)
		r := f.record()
		f.replace(t, r, old.ID)
		same(t, f.get(t, r.ID), r)
		// A refresh of the old session in progress.
		f.noWrite(t, old.ID, fence)
		f.gone(t, old)
		if list := f.listed(t, issuer, subject); len(list) != 1 || list[0].ID != r.ID {
			t.Errorf("ListBySubject = %v, want the new session", list)
		}
	},
	"a session may replace one of another subject": func(t *testing.T, f *fixture) {
		old := f.create(t, func(r *session.Record) { r.Subject = "another subject" })
		f.replace(t, f.record(), old.ID)
		f.gone(t, old)
	},
	"replacing a missing session is no error": func(t *testing.T, f *fixture) {
		r := f.record()
		f.replace(t, r, newID())
		same(t, f.get(t, r.ID), r)

		f.clock.Advance(idle)
		next := f.record()
		if err := f.store.Create(t.Context(), next, r.ID); err != nil {
			t.Fatalf("replacing a session that has expired: %v", err)
		}
		same(t, f.get(t, next.ID), next)
	},
	"Write changes only Sealed": func(t *testing.T, f *fixture) {
		r, other := f.create(t), f.create(t)
		f.get(t, r.ID)
		f.write(t, r.ID, f.lock(t, r.ID), "second")
		want := r
		want.Sealed = []byte("second")
		same(t, f.get(t, r.ID), want)
		same(t, f.get(t, other.ID), other)
		if bytes.Equal(want.Sealed, r.Sealed) {
			t.Fatal("the test cannot fail")
		}
	},
}
