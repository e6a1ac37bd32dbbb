package session_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.with(t, f.secrets...) // another node
	used := f.Notes("used")
	soon := f.clock.Now().Add(time.Minute)

	if first, err := used.Add(t.Context(), "jti", nil, soon); err != nil || !first {
		t.Errorf("Add = %t, %v, want the first", first, err)
	}
	if first, err := other.Notes("used").Add(t.Context(), "jti", nil, soon); err != nil || first {
		t.Errorf("Add again = %t, %v", first, err)
	}
	if first, err := other.Notes("useds").Add(t.Context(), "jti", nil, soon); err != nil || !first {
		t.Errorf("Add of another kind = %t, %v, want the first", first, err)
	}
	if _, err := used.Take(t.Context(), "jti"); err != nil {
		t.Errorf("Take: %v", err)
	}
	if first, err := used.Add(t.Context(), "jti", nil, soon); err != nil || !first {
		t.Errorf("Add after Take = %t, %v, want the first", first, err)
	}

	bars := f.Notes("bar")
	for _, value := range []string{"one", "two"} {
		if err := bars.Put(t.Context(), "sub", []byte(value), time.Time{}, soon); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Notes("bar").Get(t.Context(), "sub"); err != nil || string(got) != value {
			t.Errorf("Get = %q, %v, want %q", got, err, value)
		}
	}
	f.clock.Advance(time.Minute)
	if _, err := bars.Get(t.Context(), "sub"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get of what has expired: %v, want ErrNotFound", err)
	}
}

func TestNotesDue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := f.Notes("revocation")
	now := f.clock.Now()
	for i, value := range []string{"a", "b", "c"} {
		if err := n.Put(t.Context(), value, []byte(value), now.Add(time.Duration(i+1)*time.Second), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	take := func(limit int, want ...string) {
		t.Helper()
		values, err := n.TakeDue(t.Context(), limit)
		var got []string
		for _, v := range values {
			got = append(got, string(v))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("TakeDue = %q, %v, want %q", got, err, want)
		}
	}
	take(10)
	f.clock.Advance(2 * time.Second)
	take(1, "a")
	take(10, "b")
	take(10)
	if got, err := n.Take(t.Context(), "c"); err != nil || string(got) != "c" {
		t.Errorf("Take = %q, %v", got, err)
	}
	f.clock.Advance(time.Hour)
	take(10)
}

// A stolen store shows neither keys nor values, and a value cannot be moved to another key.
func TestNotesAtRest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	soon := f.clock.Now().Add(time.Minute)
	now := f.clock.Now()
	if err := f.Notes("revocation").Put(t.Context(), "key-of-it", []byte("refresh-token"), now, soon); err != nil {
		t.Fatal(err)
	}
	stored, err := f.store.DueNotes(t.Context(), "revocation", 10)
	if err != nil || len(stored) != 1 {
		t.Fatalf("DueNotes = %v, %v", stored, err)
	}
	if n := stored[0]; strings.Contains(n.Key, "key-of-it") || strings.Contains(string(n.Value), "refresh-token") {
		t.Errorf("the store has %+v", n)
	}
	if err := f.Notes("revocation").Put(t.Context(), "other", []byte("x"), time.Time{}, soon); err != nil {
		t.Fatal(err)
	}
	moved := stored[0]
	if _, err := f.store.TakeNote(t.Context(), moved.Kind, moved.Key); err != nil {
		t.Fatal(err)
	}
	if err := f.Notes("revocation").Put(t.Context(), "target", []byte("y"), now, soon); err != nil {
		t.Fatal(err)
	}
	target, err := f.store.DueNotes(t.Context(), "revocation", 10)
	if err != nil || len(target) != 1 {
		t.Fatalf("DueNotes = %v, %v", target, err)
	}
	moved.Key = target[0].Key
	if err := f.store.PutNote(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Notes("revocation").Get(t.Context(), "target"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a value that was moved opens: %q, %v", got, err)
	}
	// After a rotation the old secret opens old values; without it they cannot be opened.
	rotated := f.with(t, secret(), f.secrets[0])
	if got, err := rotated.Notes("revocation").Get(t.Context(), "other"); err != nil || string(got) != "x" {
		t.Errorf("Get after a rotation = %q, %v", got, err)
	}
	if got, err := f.with(t, secret()).Notes("revocation").Get(t.Context(), "other"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get without the secret = %q, %v, want ErrNotFound", got, err)
	}
}
