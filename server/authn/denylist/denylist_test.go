package denylist_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

const issuer = "https://issuer.example"

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A clock that only tests move.
type clock struct{ passed atomic.Int64 }

func (c *clock) Now() time.Time          { return start.Add(time.Duration(c.passed.Load())) }
func (c *clock) Advance(d time.Duration) { c.passed.Add(int64(d)) }

func newList(t testing.TB, cfg denylist.Config) (*denylist.List, *clock) {
	t.Helper()
	c := &clock{}
	cfg.Now = c.Now
	l, err := denylist.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func revoked(t *testing.T, l *denylist.List, key authn.RevocationKey) bool {
	t.Helper()
	err := l.Revoked(t.Context(), &key)
	if err != nil && !errors.Is(err, authn.ErrRevoked) {
		t.Fatalf("Revoked: %v", err)
	}
	return err != nil
}

// TestMatch: which tokens a denial refuses.
func TestMatch(t *testing.T) {
	t.Parallel()
	type key = authn.RevocationKey
	until := start.Add(time.Hour)
	session := func(l *denylist.List) error { return l.DenySession(t.Context(), issuer, "S", until) }
	token := func(l *denylist.List) error { return l.DenyToken(t.Context(), issuer, "J", until) }
	subject := func(l *denylist.List) error { return l.DenySubject(t.Context(), issuer, "ada", start, until) }
	for _, c := range []struct {
		name string
		deny func(*denylist.List) error
		key  key
		want bool
	}{
		{"session", session, key{Issuer: issuer, SessionID: "S", Subject: "ada", ID: "J"}, true},
		{"other session", session, key{Issuer: issuer, SessionID: "T", Subject: "ada"}, false},
		{"session of another issuer", session, key{Issuer: "https://other.example", SessionID: "S"}, false},
		{"no session", session, key{Issuer: issuer, Subject: "ada"}, false},
		{"token that is called like the session", session, key{Issuer: issuer, ID: "S", Subject: "S"}, false},
		{"token", token, key{Issuer: issuer, ID: "J", Subject: "ada"}, true},
		{"other token", token, key{Issuer: issuer, ID: "K", Subject: "ada"}, false},
		{"token of another issuer", token, key{Issuer: "https://other.example", ID: "J"}, false},
		{"token without jti", token, key{Issuer: issuer, Subject: "ada"}, false},
		{"session that is called like the token", token, key{Issuer: issuer, SessionID: "J", Subject: "J"}, false},
		{"subject's earlier token", subject, key{Issuer: issuer, Subject: "ada", IssuedAt: start.Add(-time.Second)}, true},
		{"subject's token of that second", subject, key{Issuer: issuer, Subject: "ada", IssuedAt: start}, true},
		{"subject's later token", subject, key{Issuer: issuer, Subject: "ada", IssuedAt: start.Add(time.Second)}, false},
		{"subject's token that does not say", subject, key{Issuer: issuer, Subject: "ada"}, true},
		{"other subject", subject, key{Issuer: issuer, Subject: "grace", IssuedAt: start.Add(-time.Second)}, false},
		{"subject of another issuer", subject, key{Issuer: "https://other.example", Subject: "ada"}, false},
		{"client alone", subject, key{Issuer: issuer, ClientID: "ada"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, _ := newList(t, denylist.Config{})
			if revoked(t, l, c.key) {
				t.Fatal("an empty list denies")
			}
			must(t, c.deny(l))
			if got := revoked(t, l, c.key); got != c.want {
				t.Errorf("denied: %v, want %v", got, c.want)
			}
		})
	}
}

// TestTime: a denial lasts until the last token that it refuses has expired, including the leeway
// of 60 s, and no longer.
func TestTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		deny func(*denylist.List) error
		last time.Duration // after the start, when it still denies
	}{
		{"session", func(l *denylist.List) error { return l.DenySession(t.Context(), issuer, "x", start.Add(5*time.Minute)) }, 6 * time.Minute},
		{"token", func(l *denylist.List) error { return l.DenyToken(t.Context(), issuer, "x", start.Add(5*time.Minute)) }, 6 * time.Minute},
		{"subject", func(l *denylist.List) error {
			return l.DenySubject(t.Context(), issuer, "x", start, start.Add(5*time.Minute))
		}, 6 * time.Minute},
		{"session without an end", func(l *denylist.List) error { return l.DenySession(t.Context(), issuer, "x", time.Time{}) }, 61 * time.Minute},
		{"token without an end", func(l *denylist.List) error { return l.DenyToken(t.Context(), issuer, "x", time.Time{}) }, 61 * time.Minute},
		{"subject without an end, denied since", func(l *denylist.List) error {
			return l.DenySubject(t.Context(), issuer, "x", start.Add(-10*time.Minute), time.Time{})
		}, 51 * time.Minute},
		// A transfer may have outlived its token.
		{"token that has just expired", func(l *denylist.List) error { return l.DenyToken(t.Context(), issuer, "x", start.Add(-30*time.Second)) }, time.Minute},
		{"session whose tokens have expired long ago", func(l *denylist.List) error {
			return l.DenySession(t.Context(), issuer, "x", start.Add(-10*time.Hour))
		}, time.Minute},
		{"subject, decided long ago", func(l *denylist.List) error {
			return l.DenySubject(t.Context(), issuer, "x", start.Add(-10*time.Minute), start.Add(-5*time.Minute))
		}, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, clock := newList(t, denylist.Config{TokenLifetime: time.Hour})
			must(t, c.deny(l))
			key := authn.RevocationKey{Issuer: issuer, Subject: "x", SessionID: "x", ID: "x", IssuedAt: start.Add(-time.Hour)}
			clock.Advance(c.last - time.Nanosecond)
			if !revoked(t, l, key) {
				t.Error("it ended early")
			}
			clock.Advance(time.Nanosecond)
			if revoked(t, l, key) {
				t.Error("it does not end")
			}
		})
	}
}

// TestNeverShortened: denying again, in any order, never shortens a denial.
func TestNeverShortened(t *testing.T) {
	t.Parallel()
	l, clock := newList(t, denylist.Config{})
	must(t, l.DenySubject(t.Context(), issuer, "ada", start.Add(time.Minute), start.Add(time.Hour)))
	must(t, l.DenySubject(t.Context(), issuer, "ada", start, start.Add(2*time.Hour)))
	must(t, l.DenySubject(t.Context(), issuer, "ada", start, start.Add(time.Second)))
	must(t, l.DenySession(t.Context(), issuer, "S", start.Add(time.Hour)))
	must(t, l.DenySession(t.Context(), issuer, "S", start.Add(time.Minute)))
	if l.Len() != 2 {
		t.Errorf("the list holds %d denials of two things", l.Len())
	}
	clock.Advance(30 * time.Minute)
	if !revoked(t, l, authn.RevocationKey{Issuer: issuer, Subject: "ada", IssuedAt: start.Add(time.Minute)}) {
		t.Error("an earlier denial moved the time back")
	}
	if !revoked(t, l, authn.RevocationKey{Issuer: issuer, SessionID: "S"}) {
		t.Error("a shorter denial cut the longer one")
	}
	clock.Advance(time.Hour)
	if !revoked(t, l, authn.RevocationKey{Issuer: issuer, Subject: "ada", IssuedAt: start}) {
		t.Error("the longer time of a later denial was lost")
	}
}

// TestBound: a full list returns ErrFull, keeps its denials, and accepts more when some have ended.
func TestBound(t *testing.T) {
	t.Parallel()
	const limit = 1000
	l, clock := newList(t, denylist.Config{MaxEntries: limit})
	for n := range limit {
		until := start.Add(time.Hour)
		if n%2 == 0 {
			until = start.Add(2 * time.Hour)
		}
		must(t, l.DenyToken(t.Context(), issuer, fmt.Sprint(n), until))
	}
	if err := l.DenySession(t.Context(), issuer, "S", time.Time{}); !errors.Is(err, denylist.ErrFull) {
		t.Errorf("one too many: %v, want ErrFull", err)
	}
	must(t, l.DenyToken(t.Context(), issuer, "0", start.Add(3*time.Hour))) // what is there may be extended
	for n := range limit {
		if !revoked(t, l, authn.RevocationKey{Issuer: issuer, ID: fmt.Sprint(n)}) {
			t.Fatalf("denial %d was dropped", n)
		}
	}
	clock.Advance(time.Hour + time.Minute)
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	for n := range limit/2 - 1 { // as many as have ended
		must(t, l.DenySession(t.Context(), issuer, fmt.Sprint("new-", n), time.Time{}))
	}
	if err := l.DenySession(t.Context(), issuer, "one more", time.Time{}); !errors.Is(err, denylist.ErrFull) {
		t.Errorf("full again: %v, want ErrFull", err)
	}
	if l.Len() != limit {
		t.Errorf("the list holds %d, want %d", l.Len(), limit)
	}
	if !revoked(t, l, authn.RevocationKey{Issuer: issuer, SessionID: "S"}) || !revoked(t, l, authn.RevocationKey{Issuer: issuer, ID: "2"}) {
		t.Error("a denial that has not ended was dropped")
	}
}

// TestRoomElsewhere: an ended denial in any shard makes room.
func TestRoomElsewhere(t *testing.T) {
	t.Parallel()
	l, clock := newList(t, denylist.Config{MaxEntries: 1})
	for n := range 100 {
		if err := l.DenyToken(t.Context(), issuer, fmt.Sprint(n), clock.Now().Add(time.Minute)); err != nil {
			t.Fatalf("denial %d, when the one before has ended: %v", n, err)
		}
		clock.Advance(2 * time.Minute)
	}
}

// TestRemovesEnded: the list removes ended denials before it is full.
func TestRemovesEnded(t *testing.T) {
	t.Parallel()
	l, clock := newList(t, denylist.Config{})
	for n := range 10_000 {
		must(t, l.DenyToken(t.Context(), issuer, fmt.Sprint(n), clock.Now().Add(time.Minute)))
		clock.Advance(time.Second)
	}
	// Two minutes each, at one a second; a shard removes ended denials when it is written to.
	if l.Len() > 1000 {
		t.Errorf("the list holds %d denials, of which 120 have not ended", l.Len())
	}
}

// TestEmptyNames: a denial of "" would refuse every token without the claim.
func TestEmptyNames(t *testing.T) {
	t.Parallel()
	l, _ := newList(t, denylist.Config{})
	for name, err := range map[string]error{
		"sid":    l.DenySession(t.Context(), issuer, "", time.Time{}),
		"jti":    l.DenyToken(t.Context(), issuer, "", time.Time{}),
		"sub":    l.DenySubject(t.Context(), issuer, "", start, time.Time{}),
		"issuer": l.DenySession(t.Context(), "", "S", time.Time{}),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("denied with an empty %s: %v", name, err)
		}
	}
	if revoked(t, l, authn.RevocationKey{Issuer: issuer}) || l.Len() != 0 {
		t.Error("something was denied")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for says, cfg := range map[string]denylist.Config{`MaxEntries "-1" is negative`: {MaxEntries: -1}, `TokenLifetime "-1s" is negative`: {TokenLifetime: -time.Second}} {
		if _, err := denylist.New(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want an error that says %q", cfg, err, says)
		}
	}
}

// TestConcurrent denies and looks up at once; a look-up after a denial finds it.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	l, clock := newList(t, denylist.Config{MaxEntries: 4000})
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for n := range 500 {
				sid := fmt.Sprintf("%d-%d", g, n)
				if err := l.DenySession(t.Context(), issuer, sid, time.Time{}); err != nil {
					t.Errorf("deny: %v", err)
				}
				if err := l.Revoked(context.Background(), &authn.RevocationKey{Issuer: issuer, SessionID: sid, ID: "J", Subject: "ada"}); err == nil {
					t.Error("a denial was not seen by its own maker")
				}
				clock.Advance(time.Millisecond)
			}
		})
	}
	wait.Wait()
	if l.Len() != 4000 {
		t.Errorf("the list holds %d of 4000", l.Len())
	}
}

// TestLookupAllocations: each call looks a token up.
func TestLookupAllocations(t *testing.T) {
	l, _ := newList(t, denylist.Config{})
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	must(t, l.DenySubject(t.Context(), issuer, "ada", start, time.Time{}))
	for _, key := range []authn.RevocationKey{
		{Issuer: issuer, SessionID: "T", ID: "J", Subject: "grace"},
		{Issuer: issuer, SessionID: "S"},
		{Issuer: issuer, Subject: "ada"},
	} {
		if n := testing.AllocsPerRun(100, func() { _ = l.Revoked(context.Background(), &key) }); n != 0 {
			t.Errorf("a look-up of %+v allocates %v times", key, n)
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	for _, size := range []int{0, 1, 1000, 100_000} {
		l, _ := newList(b, denylist.Config{})
		for n := range size {
			must(b, l.DenySession(b.Context(), issuer, fmt.Sprint("session-", n), time.Time{}))
		}
		key := &authn.RevocationKey{Issuer: issuer, SessionID: "another", ID: "J", Subject: "ada", IssuedAt: start}
		b.Run(fmt.Sprint(size, " denials/one goroutine"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Revoked(context.Background(), key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(size, " denials/many goroutines"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Revoked(context.Background(), key); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkMemory reports the bytes of a denial.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		l, _ := newList(b, denylist.Config{})
		before := heap()
		for n := range denylist.DefaultMaxEntries {
			must(b, l.DenySession(b.Context(), issuer, fmt.Sprintf("08a5019c-17e1-4977-8f42-%012d", n), time.Time{}))
		}
		b.ReportMetric(float64(heap()-before)/denylist.DefaultMaxEntries, "B/denial")
		runtime.KeepAlive(l)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestChanged: each denial closes the channels of all that wait, once.
func TestChanged(t *testing.T) {
	t.Parallel()
	l, _ := newList(t, denylist.Config{})
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	first, second := l.Changed(), l.Changed()
	if closed(first) || closed(second) {
		t.Fatal("changed without a denial")
	}
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	if !closed(first) || !closed(second) {
		t.Error("Changed was not closed by a denial")
	}
	next := l.Changed()
	if closed(next) {
		t.Error("Changed was closed twice")
	}
	must(t, l.DenySession(t.Context(), issuer, "S", start.Add(time.Hour)))
	if !closed(next) {
		t.Error("Changed was not closed by an extension")
	}
}
