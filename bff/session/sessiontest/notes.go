package sessiontest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// note returns a note.
func (f *fixture) note(key string) session.Note {
	return session.Note{Kind: "kind", Key: key, Value: []byte("value of " + key),
		ExpiresAt: f.now().Add(time.Minute)}
}

func (f *fixture) add(t *testing.T, n session.Note) bool {
	t.Helper()
	added, err := f.notes.AddNote(t.Context(), n)
	if err != nil {
		t.Fatalf("AddNote: %v", err)
	}
	return added
}

func (f *fixture) put(t *testing.T, n session.Note) {
	t.Helper()
	if err := f.notes.PutNote(t.Context(), n); err != nil {
		t.Fatalf("PutNote: %v", err)
	}
}

func (f *fixture) hasNote(t *testing.T, want session.Note) {
	t.Helper()
	got, err := f.notes.GetNote(t.Context(), want.Kind, want.Key)
	if err != nil {
		t.Errorf("GetNote(%s): %v", want.Key, err)
		return
	}
	sameNote(t, got, want)
}

func (f *fixture) noNote(t *testing.T, kind, key string) {
	t.Helper()
	_, err := f.notes.GetNote(t.Context(), kind, key)
	wantErr(t, "GetNote", err, session.ErrNotFound)
	_, err = f.notes.TakeNote(t.Context(), kind, key)
	wantErr(t, "TakeNote", err, session.ErrNotFound)
}

// due checks the keys of the due notes, and returns them.
func (f *fixture) due(t *testing.T, kind string, limit int, want ...string) []session.Note {
	t.Helper()
	due, err := f.notes.DueNotes(t.Context(), kind, limit)
	if err != nil {
		t.Fatalf("DueNotes: %v", err)
	}
	var keys []string
	for _, n := range due {
		keys = append(keys, n.Key)
	}
	if !slices.Equal(keys, want) {
		t.Errorf("%v are due, want %v", keys, want)
	}
	return due
}

func sameNote(t *testing.T, got, want session.Note) {
	t.Helper()
	if got.Kind != want.Kind || got.Key != want.Key || string(got.Value) != string(want.Value) ||
		!got.DueAt.Equal(want.DueAt) || !got.ExpiresAt.Equal(want.ExpiresAt) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// noteCalls are the methods of a NoteStore, with arguments for a note.
func (f *fixture) noteCalls(n session.Note) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"AddNote": func(ctx context.Context) error { _, err := f.notes.AddNote(ctx, n); return err },
		"PutNote": func(ctx context.Context) error { return f.notes.PutNote(ctx, n) },
		"CountNote": func(ctx context.Context) error {
			_, err := f.notes.CountNote(ctx, n.Kind, "c", n.ExpiresAt)
			return err
		},
		"GetNote":  func(ctx context.Context) error { _, err := f.notes.GetNote(ctx, n.Kind, n.Key); return err },
		"TakeNote": func(ctx context.Context) error { _, err := f.notes.TakeNote(ctx, n.Kind, n.Key); return err },
		"DueNotes": func(ctx context.Context) error { _, err := f.notes.DueNotes(ctx, n.Kind, 1); return err },
	}
}

// notes test a session.NoteStore.
var notes = map[string]func(*testing.T, *fixture){
	"AddNote does not replace": func(t *testing.T, f *fixture) {
		n := f.note("k")
		if !f.add(t, n) {
			t.Error("the first note was not added")
		}
		second := n
		second.Value = []byte("second")
		if f.add(t, second) {
			t.Error("a second note was added")
		}
		f.hasNote(t, n)
		other := n
		other.Kind = "other"
		if !f.add(t, other) {
			t.Error("a note of another kind was not added")
		}
	},
	"PutNote replaces": func(t *testing.T, f *fixture) {
		n := f.note("k")
		n.DueAt = f.clock.Now()
		f.put(t, n)
		n.Value, n.DueAt, n.ExpiresAt = []byte("second"), time.Time{}, n.ExpiresAt.Add(time.Minute)
		f.put(t, n)
		f.hasNote(t, n)
		f.due(t, n.Kind, 10)
	},
	"any key and value are stored": func(t *testing.T, f *fixture) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		for _, n := range []session.Note{
			{Kind: "k", Key: `o'neil"; -- %_*?\{}:`, Value: every},
			{Kind: "k", Key: "", Value: []byte{}},
			{Kind: "k:a", Key: "b"}, {Kind: "k", Key: "a:b"},
			{Kind: "k", Key: "東京", Value: []byte("x")},
		} {
			n.ExpiresAt = f.clock.Now().Add(time.Minute)
			if !f.add(t, n) {
				t.Errorf("%q exists already", n.Key)
			}
			f.hasNote(t, n)
		}
	},
	"an expired note is not found": func(t *testing.T, f *fixture) {
		n := f.note("k")
		n.DueAt = f.clock.Now()
		f.put(t, n)
		f.clock.Advance(time.Minute - time.Millisecond)
		f.hasNote(t, n)
		f.clock.Advance(time.Millisecond)
		f.noNote(t, n.Kind, n.Key)
		f.due(t, n.Kind, 10)
		n.ExpiresAt = f.clock.Now().Add(time.Minute)
		if !f.add(t, n) {
			t.Error("an expired note prevents another")
		}
		f.hasNote(t, n)
		f.clock.Advance(time.Hour)
		if _, err := f.sweep(t.Context()); err != nil {
			t.Error(err)
		}
		f.noNote(t, n.Kind, n.Key)
	},
	"a note is taken once": func(t *testing.T, f *fixture) {
		takenOnce(t, f, f)
	},
	"one of several callers adds a note": func(t *testing.T, f *fixture) {
		addedOnce(t, f, f)
	},
	"due notes are found, the longest due first": func(t *testing.T, f *fixture) {
		now := f.clock.Now()
		for _, c := range []struct {
			key string
			due time.Duration
		}{{"c", 3 * time.Second}, {"a", time.Second}, {"b", 2 * time.Second}, {"later", 100 * time.Second}} {
			n := f.note(c.key)
			n.DueAt = now.Add(c.due)
			f.put(t, n)
		}
		f.put(t, f.note("never"))
		other := f.note("a")
		other.Kind, other.DueAt = "other", now
		f.put(t, other)
		due := func(limit int, want ...string) {
			t.Helper()
			for _, n := range f.due(t, "kind", limit, want...) {
				if string(n.Value) != "value of "+n.Key || !n.ExpiresAt.Equal(now.Add(time.Minute)) {
					t.Errorf("due is %+v", n)
				}
			}
		}
		due(10)
		f.clock.Advance(time.Second)
		due(10, "a")
		f.clock.Advance(9 * time.Second)
		due(10, "a", "b", "c")
		due(2, "a", "b")
		if _, err := f.notes.TakeNote(t.Context(), "kind", "b"); err != nil {
			t.Error(err)
		}
		due(10, "a", "c")
	},
	"a counter starts again when it has expired": func(t *testing.T, f *fixture) {
		expires := f.clock.Now().Add(time.Minute)
		count := func(key string, want int64) {
			t.Helper()
			// A later call does not change the expiry.
			if got, err := f.notes.CountNote(t.Context(), "kind", key, f.clock.Now().Add(time.Minute)); err != nil || got != want {
				t.Errorf("CountNote(%s) = %d, %v, want %d", key, got, err, want)
			}
		}
		count("a", 1)
		count("a", 2)
		count("b", 1)
		f.clock.Advance(expires.Sub(f.clock.Now()) - time.Millisecond)
		count("a", 3)
		f.clock.Advance(time.Millisecond)
		count("a", 1)
		count("a", 2)
	},
	"every CountNote counts": func(t *testing.T, f *fixture) {
		everyCounted(t, f, f)
	},
	"notes are copied": func(t *testing.T, f *fixture) {
		n := f.note("k")
		want := string(n.Value)
		f.put(t, n)
		n.Value[0] = 'X'
		for range 2 {
			got, err := f.notes.GetNote(t.Context(), n.Kind, n.Key)
			if err != nil || string(got.Value) != want {
				t.Fatalf("GetNote = %q, %v", got.Value, err)
			}
			got.Value[0] = 'Y'
		}
	},
	"a failure is not ErrNotFound": func(t *testing.T, f *fixture) {
		n := f.note("k")
		f.put(t, n)
		calls := f.noteCalls(n)
		fails := func(ctx context.Context, when string) {
			t.Helper()
			for name, call := range calls {
				if err := call(ctx); err == nil || errors.Is(err, session.ErrNotFound) {
					t.Errorf("%s %s: %v, want another error", name, when, err)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		fails(ctx, "with an ended context")
		f.hasNote(t, n)
		if _, ok := f.store.(io.Closer); ok {
			f.close(t)
			fails(t.Context(), "after Close")
		}
	},
}

func takenOnce(t *testing.T, at ...*fixture) {
	for round := range 10 {
		n := at[0].note(strconv.Itoa(round) + rand.Text())
		at[0].put(t, n)
		once(t, "took the note", at, func(f *fixture) bool {
			got, err := f.notes.TakeNote(t.Context(), n.Kind, n.Key)
			if err != nil {
				wantErr(t, "TakeNote", err, session.ErrNotFound)
				return false
			}
			sameNote(t, got, n)
			return true
		})
		at[0].noNote(t, n.Kind, n.Key)
	}
}

func addedOnce(t *testing.T, at ...*fixture) {
	for range 10 {
		key := rand.Text()
		once(t, "added the note", at, func(f *fixture) bool {
			added, err := f.notes.AddNote(t.Context(), f.note(key))
			if err != nil {
				t.Errorf("AddNote: %v", err)
			}
			return added
		})
	}
}

// once checks that one of four concurrent callers at each handle succeeds.
func once(t *testing.T, did string, at []*fixture, call func(*fixture) bool) {
	var successes atomic.Int32
	var done sync.WaitGroup
	for range 4 {
		for _, f := range at {
			done.Go(func() {
				if call(f) {
					successes.Add(1)
				}
			})
		}
	}
	done.Wait()
	if n := successes.Load(); n != 1 {
		t.Errorf("%d callers %s, want 1", n, did)
	}
}

func everyCounted(t *testing.T, at ...*fixture) {
	const workers, each = 4, 10
	expires := at[0].clock.Now().Add(time.Minute)
	var done sync.WaitGroup
	for _, f := range at {
		for range workers {
			done.Go(func() {
				for range each {
					if _, err := f.notes.CountNote(t.Context(), "kind", "k", expires); err != nil {
						t.Errorf("CountNote: %v", err)
					}
				}
			})
		}
	}
	done.Wait()
	want := int64(workers*each*len(at) + 1)
	if got, err := at[0].notes.CountNote(t.Context(), "kind", "k", expires); err != nil || got != want {
		t.Errorf("CountNote = %d, %v, want %d", got, err, want)
	}
}
