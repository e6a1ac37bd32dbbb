package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// neverGoodAfter looks up a token until the verdict is the wanted one, and fails if it is good a
// second or more after it was denied.
func neverGoodAfter(t *testing.T, l *redis.List, k key, deniedAt time.Time, until verdict) {
	t.Helper()
	eventually(t, fmt.Sprintf("%+v is %s", k, until), func() bool {
		asked := time.Now()
		v := ask(l, k)
		if v == good && asked.Sub(deniedAt) > time.Second {
			t.Fatalf("%v after it was denied it is good", asked.Sub(deniedAt))
		}
		return v == until
	})
}

// TestFrozenServer: a server that stops without closing connections is detected within a second.
// Known denials hold, other look-ups fail, and denials made meanwhile reach the other processes
// afterwards.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	first, second := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()})
	must(t, first.DenySession(t.Context(), issuer, "before", time.Time{}))
	eventually(t, "the second knows", func() bool { return ask(second, sid("before")) == denied })

	s.signal(syscall.SIGSTOP)
	frozen := time.Now()
	err := make(chan error, 1)
	go func() { err <- first.DenySession(context.Background(), issuer, "meanwhile", time.Time{}) }()
	neverGoodAfter(t, second, sid("meanwhile"), frozen, unknown)
	if took := time.Since(frozen); took > 10*time.Second { // on a machine that is busy
		t.Errorf("it took %v to notice, want about 1.4 s", took)
	}
	// Concurrent look-ups do not wait for each other.
	asked := time.Now()
	var wait sync.WaitGroup
	for n := range 1000 {
		wait.Go(func() {
			if v := ask(second, sid(fmt.Sprint(n))); v != unknown {
				t.Errorf("%d is %s", n, v)
			}
		})
	}
	wait.Wait()
	if took := time.Since(asked); took > 10*time.Second {
		t.Errorf("a thousand questions took %v", took)
	}
	want(t, second, sid("before"), denied)
	want(t, first, sid("meanwhile"), denied)
	if second.Ready() == nil {
		t.Error("the second is ready")
	}
	if <-err == nil {
		t.Error("a denial without Redis succeeds")
	}

	s.signal(syscall.SIGCONT)
	for _, l := range []*redis.List{first, second} {
		eventually(t, "it is ready again", func() bool { return l.Ready() == nil })
		eventually(t, "it knows", func() bool { return ask(l, sid("meanwhile")) == denied })
		want(t, l, sid("other"), good)
	}
}

// TestCutOff: one process of three has no connection to the server: tokens that the others deny are
// not good there after a second.
func TestCutOff(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	p := startProxy(t, s.addr)
	first, second, away := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: p.url()})
	p.set(true, false)
	must(t, first.DenySession(t.Context(), issuer, "S", time.Time{}))
	deniedAt := time.Now()
	neverGoodAfter(t, away, sid("S"), deniedAt, unknown)
	want(t, second, sid("S"), denied)
	want(t, second, sid("T"), good)
	p.set(false, false)
	neverGoodAfter(t, away, sid("S"), deniedAt, denied)
	eventually(t, "the others are good again", func() bool { return ask(away, sid("T")) == good })
}

// TestFeedBroken: with only the feed broken, look-ups ask Redis, and denied tokens are refused at
// once.
func TestFeedBroken(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	p := startProxy(t, s.addr)
	first, away := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: p.url()})
	p.set(false, true)
	deniedAt := time.Now()
	must(t, first.DenySession(t.Context(), issuer, "S", time.Time{}))
	neverGoodAfter(t, away, sid("S"), deniedAt, denied)
	eventually(t, "it must ask", func() bool { return away.Ready() != nil })
	for n := range 50 {
		id := fmt.Sprint(n)
		want(t, away, sid(id), good)
		must(t, first.DenySession(t.Context(), issuer, id, time.Time{}))
		want(t, away, sid(id), denied)
	}
	p.set(false, false)
	eventually(t, "the feed is back", func() bool { return away.Ready() == nil })
	s.signal(syscall.SIGSTOP) // what it now says it has from memory
	for n := range 50 {
		want(t, away, sid(fmt.Sprint(n)), denied)
	}
	s.signal(syscall.SIGCONT)
}

// TestKilledConnections: repeatedly ended connections lose no denial.
func TestKilledConnections(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	first, second := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()})
	for n := range 10 {
		s.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		must(t, first.DenySession(t.Context(), issuer, fmt.Sprint(n), time.Time{}))
		neverGoodAfter(t, second, sid(fmt.Sprint(n)), time.Now(), denied)
	}
	eventually(t, "the feed is back", func() bool { return second.Ready() == nil })
	want(t, second, sid("other"), good)
}

// TestLostMemory: processes restore exactly the denials that a server has lost, and until then
// look-ups in it do not count.
func TestLostMemory(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*server){
		"restart":  func(s *server) { s.kill(); s.start() },
		"FLUSHALL": func(s *server) { s.do("FLUSHALL") },
		// A server that lost as many changes and got as many others since.
		"replaced": func(s *server) {
			s.do("EVAL", `local seq, t = redis.call('GET', KEYS[2]), redis.call('TIME')
				redis.call('FLUSHALL')
				redis.call('MSET', KEYS[1], string.format('other@%.0f', t[1] * 1000 + t[2] / 1000), KEYS[2], seq)`,
				"2", redis.DefaultPrefix+"epoch", redis.DefaultPrefix+"seq")
		},
		"evicted": func(s *server) { s.do("DEL", redis.DefaultPrefix+"seq", redis.DefaultPrefix+"feed") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := oldServer(t)
			first, second := open(t, redis.Config{URL: s.url()}), open(t, redis.Config{URL: s.url()})
			at := time.Now().Truncate(time.Second).Add(-time.Minute)
			must(t, first.DenySession(t.Context(), issuer, "S", at.Add(time.Hour)))
			must(t, second.DenySubject(t.Context(), issuer, "ada", at, at.Add(time.Hour)))
			old := key{Issuer: issuer, Subject: "ada", IssuedAt: at}
			fresh := key{Issuer: issuer, Subject: "ada", IssuedAt: at.Add(time.Second)}
			for _, l := range []*redis.List{first, second} {
				eventually(t, "all know", func() bool { return ask(l, sid("S")) == denied && ask(l, old) == denied })
			}
			before := map[string]string{}
			keys, _ := s.holds(redis.DefaultPrefix + "[sju]:")
			for _, k := range keys {
				before[k], _ = s.do("GET", k).ToString()
			}
			lose(s)
			third := openOnly(t, redis.Config{URL: s.url()}) // knows only what it is told
			for _, l := range []*redis.List{third, first, second} {
				want(t, l, sid("S"), denied)
				want(t, l, old, denied)
				eventually(t, "what is not denied is good again", func() bool {
					want(t, l, sid("S"), denied)
					return ask(l, fresh) == good && ask(l, sid("T")) == good
				})
			}
			for k, v := range before {
				if got, _ := s.do("GET", k).ToString(); got != v {
					t.Errorf("%s is %q, was %q", k, got, v)
				}
			}
			must(t, first.DenySession(t.Context(), issuer, "U", at.Add(time.Hour)))
			neverGoodAfter(t, second, sid("U"), time.Now(), denied)
		})
	}
}

// TestLostWhileAsking: a process that asks Redis does not use the answers of a server that has lost
// its data, until the others had time to restore it.
func TestLostWhileAsking(t *testing.T) {
	t.Parallel()
	for _, feed := range []bool{false, true} { // of the process that asks, after the loss
		t.Run(fmt.Sprint("feed ", feed), func(t *testing.T) {
			t.Parallel()
			s := oldServer(t)
			near, far := startProxy(t, s.addr), startProxy(t, s.addr)
			first, away := open(t, redis.Config{URL: near.url()}), open(t, redis.Config{URL: far.url()})
			far.set(false, true)
			eventually(t, "it must ask", func() bool { return away.Ready() != nil })
			must(t, first.DenySession(t.Context(), issuer, "S", time.Time{}))
			want(t, away, sid("S"), denied) // asked, not remembered
			near.set(true, false)
			s.do("FLUSHALL")
			far.set(false, !feed)
			looks := 0
			eventually(t, "it cannot tell", func() bool {
				if v := ask(away, sid("S")); v != unknown {
					t.Fatalf("the session is %s", v)
				}
				begun, err := s.do("EXISTS", redis.DefaultPrefix+"epoch").AsBool()
				if looks++; begun || err != nil {
					looks += 5
				}
				return looks >= 60
			})
			near.set(false, false)
			eventually(t, "it is denied again", func() bool {
				v := ask(away, sid("S"))
				if v == good {
					t.Fatal("the session is good")
				}
				return v == denied
			})
		})
	}
}

// TestGap: a change that is missing in the feed, as after a failover to a lagging replica, is
// found.
func TestGap(t *testing.T) {
	t.Parallel()
	s := oldServer(t)
	var log lines
	l := open(t, redis.Config{URL: s.url(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	other := open(t, redis.Config{URL: s.url(), Prefix: "other:"})
	must(t, other.DenySession(t.Context(), issuer, "S", time.Time{}))
	keys, _ := s.holds("other:s:")
	id := strings.TrimPrefix(keys[0], "other:")
	s.do("COPY", keys[0], redis.DefaultPrefix+id)
	s.do("ZADD", redis.DefaultPrefix+"index", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()), id)
	s.do("INCR", redis.DefaultPrefix+"seq")
	neverGoodAfter(t, l, sid("S"), time.Now(), denied)
	eventually(t, "the feed is back", func() bool { return strings.Contains(log.String(), "denylist feed available again") })
	if !strings.Contains(log.String(), "gap") {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
	s.do("DECR", redis.DefaultPrefix+"seq") // as if another had taken over that knew less
	must(t, l.DenySession(t.Context(), issuer, "T", time.Time{}))
	want(t, l, sid("T"), denied)
	eventually(t, "all is well", func() bool { return l.Ready() == nil && ask(l, sid("U")) == good })
}

// lines is a log for concurrent use.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
