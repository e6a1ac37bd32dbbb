package memory_test

import (
	"crypto/rand"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

func record(now time.Time, idle time.Duration) (r session.Record) {
	_, _ = rand.Read(r.ID[:])
	r.Issuer, r.Subject, r.SID = "https://idp.example/", "sub-"+r.ID.String(), "sid-"+r.ID.String()
	r.CreatedAt, r.LastSeenAt = now, now
	r.IdleExpiresAt, r.ExpiresAt = now.Add(idle), now.Add(24*time.Hour)
	r.Sealed = make([]byte, 1024)
	return r
}

func create(t *testing.T, s *memory.Store, r session.Record) session.ID {
	t.Helper()
	if err := s.Create(t.Context(), r, session.ID{}); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func lives(t *testing.T, s *memory.Store, id session.ID) bool {
	t.Helper()
	_, err := s.Get(t.Context(), id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestBoundEndsWhatWasUnusedForLongest(t *testing.T) {
	t.Parallel()
	clock := sessiontest.NewClock()
	s := open(t, memory.Config{MaxSessions: 3, Now: clock.Now})
	var ids []session.ID
	for range 3 {
		ids = append(ids, create(t, s, record(clock.Now(), time.Hour)))
		clock.Advance(time.Minute)
	}
	// The oldest is used again, so that the second is unused for longest.
	now := clock.Now()
	if err := s.Touch(t.Context(), ids[0], now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, create(t, s, record(clock.Now(), time.Hour)))
	for i, want := range []bool{true, false, true, true} {
		if got := lives(t, s, ids[i]); got != want {
			t.Errorf("session %d lives: %t, want %t", i, got, want)
		}
	}
	// A login that replaces a session needs no room.
	next := record(clock.Now(), time.Hour)
	if err := s.Create(t.Context(), next, ids[3]); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, false} {
		if got := lives(t, s, ids[i]); got != want {
			t.Errorf("after a replacement, session %d lives: %t, want %t", i, got, want)
		}
	}
}

// A user who signs in again and again ends no session of others in a full store.
func TestUserEndsNoSessionsOfOthers(t *testing.T) {
	t.Parallel()
	clock := sessiontest.NewClock()
	s := open(t, memory.Config{MaxSessions: 3, Now: clock.Now})
	other := create(t, s, record(clock.Now(), time.Minute))
	var own []session.ID
	for range 20 {
		r := record(clock.Now(), time.Hour)
		r.Subject = "many"
		own = append(own, create(t, s, r))
		clock.Advance(time.Second)
	}
	if !lives(t, s, other) {
		t.Error("the session of another user was ended")
	}
	for i, id := range own {
		if got, want := lives(t, s, id), i >= len(own)-2; got != want {
			t.Errorf("session %d of the user lives: %t, want %t", i, got, want)
		}
	}
}

func TestExpiredMakeRoomFirst(t *testing.T) {
	t.Parallel()
	clock := sessiontest.NewClock()
	s := open(t, memory.Config{MaxSessions: 2, Now: clock.Now})
	long := create(t, s, record(clock.Now(), 2*time.Hour))
	create(t, s, record(clock.Now(), time.Hour))
	clock.Advance(time.Hour)
	create(t, s, record(clock.Now(), 3*time.Hour))
	if !lives(t, s, long) {
		t.Error("a live session was ended although another had expired")
	}
}

// Without DeleteExpired, expired sessions are removed and leave nothing.
func TestDoesNotGrow(t *testing.T) {
	clock := sessiontest.NewClock() // not parallel: it measures the heap
	s := open(t, memory.Config{Now: clock.Now})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	fill := func() {
		for range 2000 {
			create(t, s, record(clock.Now(), time.Minute))
		}
		clock.Advance(time.Minute)
	}
	fill()
	fill()
	before := heap()
	for range 20 {
		fill()
	}
	// 20 rounds would be more than 40 MB.
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	runtime.KeepAlive(s)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := memory.New(memory.Config{MaxSessions: -1}); err == nil {
		t.Error("a negative bound was accepted")
	}
}

// A store full of notes refuses more, so that no used logout token is lost.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	clock := sessiontest.NewClock()
	s := open(t, memory.Config{MaxSessions: 3, Now: clock.Now})
	add := func(key string) (bool, error) {
		return s.AddNote(t.Context(), session.Note{Kind: "k", Key: key, ExpiresAt: clock.Now().Add(time.Minute)})
	}
	for _, key := range []string{"a", "b", "c"} {
		if added, err := add(key); err != nil || !added {
			t.Fatalf("AddNote(%s) = %t, %v", key, added, err)
		}
		clock.Advance(time.Second)
	}
	if added, err := add("d"); err == nil || added {
		t.Errorf("AddNote of one too many = %t, %v, want an error", added, err)
	}
	if added, err := add("a"); err != nil || added {
		t.Errorf("AddNote of one that is there = %t, %v", added, err)
	}
	clock.Advance(time.Minute - 3*time.Second)
	if added, err := add("d"); err != nil || !added {
		t.Errorf("AddNote after one has expired = %t, %v", added, err)
	}
}
