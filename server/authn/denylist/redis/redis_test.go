package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// The verifier takes a list.
var _ authn.Denylist = (*redis.List)(nil)

// TestMatch: which tokens a denial refuses, at the process that made it, at another with a current
// mirror, and at one that asks Redis.
func TestMatch(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	p := startProxy(t, s.addr)
	first, second, third := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()}), openOnly(t, redis.Config{URL: p.url()})
	p.set(false, true)
	run3(t, third)
	eventually(t, "the third must ask", func() bool { return third.Ready() != nil })

	start := time.Now().Truncate(time.Second)
	until := start.Add(time.Hour)
	ctx := t.Context()
	session := func(iss string) error { return first.DenySession(ctx, iss, "S", until) }
	token := func(iss string) error { return first.DenyToken(ctx, iss, "J", until) }
	subject := func(iss string) error { return first.DenySubject(ctx, iss, "ada", start, until) }
	for n, c := range []struct {
		name string
		deny func(iss string) error
		key  key // without its issuer
		want verdict
	}{
		{"session", session, key{SessionID: "S", Subject: "ada", ID: "J"}, denied},
		{"other session", session, key{SessionID: "T", Subject: "ada"}, good},
		{"session of another issuer", session, key{Issuer: "https://other.example", SessionID: "S"}, good},
		{"no session", session, key{Subject: "ada"}, good},
		{"token that is called like the session", session, key{ID: "S", Subject: "S"}, good},
		{"token", token, key{ID: "J", Subject: "ada"}, denied},
		{"other token", token, key{ID: "K", Subject: "ada"}, good},
		{"session that is called like the token", token, key{SessionID: "J", Subject: "J"}, good},
		{"subject's earlier token", subject, key{Subject: "ada", IssuedAt: start.Add(-time.Second)}, denied},
		{"subject's token of that second", subject, key{Subject: "ada", IssuedAt: start}, denied},
		{"subject's later token", subject, key{Subject: "ada", IssuedAt: start.Add(time.Second)}, good},
		{"subject's token that does not say", subject, key{Subject: "ada"}, denied},
		{"other subject", subject, key{Subject: "grace", IssuedAt: start.Add(-time.Second)}, good},
		{"issuer and subject that run together", subject, key{Issuer: "+a", Subject: "da"}, good},
		{"client alone", subject, key{ClientID: "ada"}, good},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			iss := fmt.Sprintf("%s/%d", issuer, n)
			switch c.key.Issuer {
			case "":
				c.key.Issuer = iss
			case "+a":
				c.key.Issuer = iss + "a"
			}
			for _, l := range []*redis.List{first, second, third} {
				want(t, l, c.key, good)
			}
			must(t, c.deny(iss))
			want(t, first, c.key, c.want)
			want(t, third, c.key, c.want)
			if c.want == denied {
				neverGoodAfter(t, second, c.key, time.Now(), denied)
			} else {
				// A later denial shows that this one is known too.
				must(t, first.DenySession(t.Context(), iss, "after", until))
				eventually(t, "the second has caught up", func() bool {
					return ask(second, key{Issuer: iss, SessionID: "after"}) == denied
				})
				want(t, second, c.key, good)
			}
		})
	}
}

// run3 runs a list that does not become ready.
func run3(t *testing.T, l *redis.List) {
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	t.Cleanup(func() { <-done })
}

// TestLoad: a new process refuses tokens denied before it started, also without Run.
func TestLoad(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	first := openOnly(t, redis.Config{URL: s.url()})
	const many = 2500 // several pages
	var wait sync.WaitGroup
	for g := range 10 {
		wait.Go(func() {
			for n := g; n < many; n += 10 {
				if err := first.DenySession(context.Background(), issuer, fmt.Sprint(n), time.Time{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	second := openOnly(t, redis.Config{URL: s.url()})
	for n := range many {
		if ask(second, sid(fmt.Sprint(n))) != denied {
			t.Fatalf("session %d is not refused", n)
		}
	}
	want(t, second, sid("other"), good)
	eventually(t, "without Run, not ready", func() bool { return second.Ready() != nil })
	must(t, first.DenySession(t.Context(), issuer, "later", time.Time{}))
	want(t, second, sid("later"), denied)
	want(t, second, sid("other"), good)
}

// TestTime: a denial ends 60 s after the tokens it refuses, and lasts for 60 s at least; Redis removes
// it and its index entries.
func TestTime(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	c := newClock()
	cfg := redis.Config{URL: s.url(), TokenLifetime: time.Hour, Now: c.Now}
	first, second := open(t, cfg), openOnly(t, cfg) // the second asks
	ctx, start := t.Context(), c.start
	must(t, first.DenySession(ctx, issuer, "5m", start.Add(5*time.Minute)))
	must(t, first.DenyToken(ctx, issuer, "default", time.Time{}))
	must(t, first.DenySubject(ctx, issuer, "ada", start.Add(-10*time.Minute), time.Time{}))
	eventually(t, "the second must ask", func() bool { return second.Ready() != nil })

	keys, _ := s.holds(redis.DefaultPrefix)
	for kind, end := range map[string]time.Duration{":s:": 6 * time.Minute, ":j:": 61 * time.Minute, ":u:": 51 * time.Minute} {
		of := only(keys, kind)
		if len(of) != 1 {
			t.Fatalf("keys of kind %s: %q", kind, of)
		}
		ms, err := s.do("PTTL", of[0]).AsInt64()
		must(t, err)
		// Redis keeps it a minute longer, since clocks differ.
		if ttl := time.Duration(ms) * time.Millisecond; ttl < end || ttl > end+time.Minute {
			t.Errorf("%s expires in %v, want %v", of[0], ttl, end)
		}
	}
	for _, k := range []string{"index", "feed"} {
		if ms, err := s.do("PTTL", redis.DefaultPrefix+k).AsInt64(); err != nil || ms <= 0 {
			t.Errorf("%s never expires: %d, %v", k, ms, err)
		}
	}

	for _, step := range []struct {
		key key
		end time.Duration
	}{
		{sid("5m"), 6 * time.Minute},
		{key{Issuer: issuer, Subject: "ada", IssuedAt: start.Add(-time.Hour)}, 51 * time.Minute},
		{key{Issuer: issuer, ID: "default"}, 61 * time.Minute},
	} {
		c.Advance(step.end - c.Now().Sub(start) - time.Millisecond)
		want(t, first, step.key, denied)
		want(t, second, step.key, denied)
		c.Advance(time.Millisecond)
		want(t, first, step.key, good)
		want(t, second, step.key, good)
	}
	must(t, first.DenyToken(ctx, issuer, "over", start)) // a transfer may have outlived it
	want(t, first, key{Issuer: issuer, ID: "over"}, denied)
	want(t, second, key{Issuer: issuer, ID: "over"}, denied)
	c.Advance(time.Minute)
	want(t, first, key{Issuer: issuer, ID: "over"}, good)
	want(t, second, key{Issuer: issuer, ID: "over"}, good)
}

// TestNeverShortened: denying again, at any process, never shortens a denial.
func TestNeverShortened(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	c := newClock()
	cfg := redis.Config{URL: s.url(), Now: c.Now}
	first, second := open(t, cfg), open(t, cfg)
	ctx, start := t.Context(), c.start
	must(t, first.DenySubject(ctx, issuer, "ada", start.Add(time.Minute), start.Add(time.Hour)))
	must(t, second.DenySubject(ctx, issuer, "ada", start, start.Add(2*time.Hour)))
	must(t, second.DenySession(ctx, issuer, "S", start.Add(time.Hour)))
	eventually(t, "the first knows", func() bool { return ask(first, sid("S")) == denied })
	must(t, first.DenySession(ctx, issuer, "S", start.Add(time.Minute)))
	third := openOnly(t, cfg) // knows only what Redis has merged
	c.Advance(30 * time.Minute)
	ada := key{Issuer: issuer, Subject: "ada", IssuedAt: start.Add(time.Minute)}
	want(t, third, ada, denied)
	want(t, third, sid("S"), denied)
	want(t, first, sid("S"), denied)
	eventually(t, "the second agrees", func() bool { return ask(second, ada) == denied })
	c.Advance(time.Hour)
	want(t, third, ada, denied)
	want(t, third, sid("S"), good)
	eventually(t, "the first agrees", func() bool { return ask(first, ada) == denied })
}

// TestFull: with a mirror that is too small, look-ups ask Redis.
func TestFull(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	first := open(t, redis.Config{URL: s.url()})
	small := open(t, redis.Config{URL: s.url(), MaxEntries: 2})
	for _, id := range []string{"a", "b", "c", "d"} {
		must(t, first.DenySession(t.Context(), issuer, id, time.Time{}))
	}
	for _, l := range []*redis.List{small, open(t, redis.Config{URL: s.url(), MaxEntries: 1})} {
		for _, id := range []string{"a", "b", "c", "d"} {
			eventually(t, id+" is refused", func() bool { return ask(l, sid(id)) == denied })
		}
		want(t, l, sid("other"), good)
		must(t, l.DenySession(t.Context(), issuer, "e", time.Time{}))
		want(t, l, sid("e"), denied)
		must(t, l.Ready())
	}
	eventually(t, "what the small one denied is refused", func() bool { return ask(first, sid("e")) == denied })
}

// TestNames: a dump of Redis and its keys contain no subject.
func TestNames(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	l := open(t, redis.Config{URL: s.url(), Prefix: "other:"})
	ctx := t.Context()
	must(t, l.DenySession(ctx, issuer, "session-4711", time.Time{}))
	must(t, l.DenyToken(ctx, issuer, "token-4711", time.Time{}))
	must(t, l.DenySubject(ctx, issuer, "ada@example.org", time.Now(), time.Time{}))
	_, dump := s.holds("")
	for _, name := range []string{"session-4711", "token-4711", "ada", "issuer.example", "4711"} {
		if strings.Contains(dump, name) {
			t.Errorf("the dump names %q", name)
		}
	}
	keys, _ := s.holds("")
	if len(keys) != 9 || len(only(keys, "other:")) != 7 || !strings.Contains(dump, only(keys, ":u:")[0]) {
		t.Errorf("unexpected keys %q, or they are not in the dump", keys)
	}
	two := open(t, redis.Config{URL: s.url()})
	want(t, two, sid("session-4711"), good) // of another prefix
}

// TestEmptyNames: a denial of "" would refuse every token without the claim.
func TestEmptyNames(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	l := open(t, redis.Config{URL: s.url()})
	ctx := t.Context()
	for name, err := range map[string]error{
		"sid":    l.DenySession(ctx, issuer, "", time.Time{}),
		"jti":    l.DenyToken(ctx, issuer, "", time.Time{}),
		"sub":    l.DenySubject(ctx, issuer, "", time.Now(), time.Time{}),
		"issuer": l.DenySession(ctx, "", "S", time.Time{}),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("denied with an empty %s: %v", name, err)
		}
	}
	if keys, _ := s.holds(redis.DefaultPrefix); len(keys) != 2 { // epoch and seq
		t.Errorf("something was written: %q", keys)
	}
}

// TestClose: look-ups of a closed list fail, except of tokens known to be denied.
func TestClose(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	l := openOnly(t, redis.Config{URL: s.url()})
	done := make(chan error, 1)
	go func() { done <- l.Run(context.Background()) }()
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	l.Close()
	l.Close()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("Run does not return after Close")
	}
	want(t, l, sid("S"), denied)
	want(t, l, sid("T"), unknown)
	if l.Ready() == nil || l.DenySession(t.Context(), issuer, "T", time.Time{}) == nil {
		t.Error("a closed list takes denials, or is ready")
	}
}

// TestConfig: errors have a remedy and no password.
func TestConfig(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--requirepass", "right-secret")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := ln.Addr().String()
	must(t, ln.Close())
	for _, c := range []struct {
		says string
		cfg  redis.Config
	}{
		{"give redis://", redis.Config{}},
		{"give redis://", redis.Config{URL: "redis://:wrong-secret@host:port"}},
		{"give redis://", redis.Config{URL: "redis://:wrong/secret@host"}},
		{"give redis://", redis.Config{URL: "redis://:wrong-secret@"}},
		{"give redis://", redis.Config{URL: "redis://:wrong-secret@" + s.addr + "/x"}},
		{"give redis://", redis.Config{URL: "redis://:wrong-secret@" + s.addr + "?skip_verify=1"}},
		{`has the scheme "redis-cluster"`, redis.Config{URL: "redis-cluster://:wrong-secret@" + s.addr}},
		{"WRONGPASS", redis.Config{URL: "redis://:wrong-secret@" + s.addr}},
		{"NOAUTH", redis.Config{URL: s.url()}},
		{closed, redis.Config{URL: "redis://:wrong-secret@" + closed}},
		{`MaxEntries "-1" is negative`, redis.Config{URL: s.url(), MaxEntries: -1}},
		{`TokenLifetime "-1s" is negative`, redis.Config{URL: s.url(), TokenLifetime: -time.Second}},
	} {
		l, err := redis.Open(t.Context(), c.cfg)
		if err == nil {
			l.Close()
			t.Errorf("%+v is accepted", c.cfg)
		} else if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "wrong/") {
			t.Errorf("%+v: %v, want an error that says %q and no password", c.cfg, err, c.says)
		}
	}
	l := open(t, redis.Config{URL: "redis://:right-secret@" + s.addr + "/3"})
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	if errors.Is(l.Ready(), denylist.ErrFull) {
		t.Error("full")
	}
}

// TestLookupAllocations: each call looks a token up.
func TestLookupAllocations(t *testing.T) {
	s := oldServer(t)
	l := open(t, redis.Config{URL: s.url()})
	must(t, l.DenySession(t.Context(), issuer, "S", time.Time{}))
	must(t, l.DenyToken(t.Context(), issuer, "J", time.Time{}))
	must(t, l.DenySubject(t.Context(), issuer, "ada", time.Now(), time.Time{}))
	for _, k := range []key{
		{Issuer: issuer, SessionID: "T", ID: "K", Subject: "grace"},
		{Issuer: issuer, SessionID: "S"},
		{Issuer: issuer, Subject: "ada"},
	} {
		// The feed allocates a few times a second: one of several short runs without allocations is
		// enough.
		least := 1.0
		for range 20 {
			least = min(least, testing.AllocsPerRun(100, func() { _ = l.Revoked(context.Background(), &k) }))
		}
		if least != 0 {
			t.Errorf("a look-up of %+v allocates", k)
		}
	}
}

// BenchmarkRevoked measures look-ups with a current feed.
func BenchmarkRevoked(b *testing.B) {
	s := oldServer(b)
	l := open(b, redis.Config{URL: s.url()})
	k := &key{Issuer: issuer, SessionID: "08a5019c-17e1-4977-8f42-000000000000", ID: "08a5019c-17e1-4977-8f42-000000000001", Subject: "auth0|64f0c5f2a7b1c2d3e4f5a6b7", IssuedAt: time.Now()}
	look := func(name string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Revoked(context.Background(), k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	look("nothing denied")
	for n := range 1000 {
		must(b, l.DenySession(context.Background(), issuer, fmt.Sprint(n), time.Time{}))
	}
	look("sessions denied")
	must(b, l.DenyToken(context.Background(), issuer, "J", time.Time{}))
	must(b, l.DenySubject(context.Background(), issuer, "grace", time.Now(), time.Time{}))
	look("all kinds denied")
	b.Run("all kinds denied, many goroutines", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := l.Revoked(context.Background(), k); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// TestChanged: a denial closes the channel in every process when it takes effect there.
func TestChanged(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first, second := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()})
	here, there := first.Changed(), second.Changed()
	must(t, first.DenySession(t.Context(), issuer, "S", time.Now().Add(time.Hour)))
	<-here
	<-there
	want(t, first, sid("S"), denied)
	want(t, second, sid("S"), denied)
}
