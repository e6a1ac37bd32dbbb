package introspect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
)

const ada = "2YotnFZFEjr1zCsicMWpAA"

func TestAnswerIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lives time.Duration // of the token; 0 for no exp
		kept  time.Duration // of the answer
	}{
		"without exp": {0, time.Minute},
		"long":        {time.Hour, time.Minute},
		"short":       {20 * time.Second, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				more := map[string]any{}
				if c.lives > 0 {
					more["exp"] = time.Now().Add(c.lives).Unix()
				}
				s.active(ada, "ada", more)
				p, err := s.Verify(t.Context(), ada)
				if err != nil || p.Subject != "ada" || p.Issuer != s.issuer.URL {
					t.Fatalf("got %+v, %v", p, err)
				}
				s.fail(refuse(http.StatusServiceUnavailable, "down"))
				time.Sleep(c.kept - time.Millisecond)
				s.want(t, ada, 0)
				if !s.Known(ada) || s.Known("another") {
					t.Error("Known is wrong")
				}
				time.Sleep(time.Millisecond)
				want := token.ReasonUnavailable
				if c.lives == c.kept {
					want = token.ReasonExpired
				}
				s.want(t, ada, want)
				if s.Known(ada) {
					t.Error("still known")
				}
				settle()
			})
		})
	}
}

// A token that is used has its answer renewed before it ends, and its callers do not wait.
func TestAnswerIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.active(ada, "ada")
		s.want(t, ada, 0)
		s.set(func() { s.delay = func(context.Context) { time.Sleep(2 * time.Second) } })
		for range 300 {
			began := time.Now()
			s.want(t, ada, 0)
			if waited := time.Since(began); waited > 0 {
				t.Fatalf("waited for %v", waited)
			}
			time.Sleep(time.Second)
		}
		if all, _ := s.requests(); all < 5 || all > 8 {
			t.Errorf("%d requests in 5 minutes, want 5 to 8", all)
		}
		s.revoke(ada)
		for s.Known(ada) {
			time.Sleep(time.Second)
			_, _ = s.Verify(t.Context(), ada)
		}
		s.want(t, ada, token.ReasonInvalid)
		settle()
	})
}

// A token that has been revoked is accepted for at most 60 seconds, used or not.
func TestRevokedWithinAMinute(t *testing.T) {
	t.Parallel()
	for _, used := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t)
			s.active(ada, "ada")
			s.want(t, ada, 0)
			s.revoke(ada)
			for range 60 {
				if used {
					_, _ = s.Verify(t.Context(), ada)
				}
				time.Sleep(time.Second)
			}
			s.want(t, ada, token.ReasonInvalid)
			settle()
		})
	}
}

// A refusal is kept for a short time only: a token may be younger than the provider's
// replica that was asked.
func TestRefusalIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		for range 10 {
			s.want(t, ada, token.ReasonInvalid)
		}
		if all, _ := s.requests(); all != 1 {
			t.Errorf("%d requests, want 1", all)
		}
		s.active(ada, "ada")
		time.Sleep(5 * time.Second)
		s.want(t, ada, 0)
	})
}

// Calls with one token share one request, and each token has its own answer. A caller
// that goes away ends no request of others.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.set(func() { s.delay = func(context.Context) { time.Sleep(time.Second) } })
		const tokens, callers = 10, 20
		for n := range tokens {
			s.active(fmt.Sprint("token-", n), fmt.Sprint("user-", n))
		}
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var gone atomic.Int64
		for n := range tokens {
			wg.Go(func() { // the first
				if _, err := s.Verify(ctx, fmt.Sprint("token-", n)); reason(err) == token.ReasonUnavailable && errors.Is(err, context.Canceled) {
					gone.Add(1)
				}
			})
		}
		synctest.Wait()
		for n := range tokens {
			for range callers {
				wg.Go(func() {
					p, err := s.Verify(t.Context(), fmt.Sprint("token-", n))
					if err != nil || p.Subject != fmt.Sprint("user-", n) {
						t.Errorf("token %d: got %+v, %v", n, p, err)
					}
				})
			}
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if all, _ := s.requests(); all != tokens || gone.Load() != tokens {
			t.Errorf("%d requests, %d callers gone, want %d of both", all, gone.Load(), tokens)
		}
	})
}

// A flood of invented tokens is bounded, and callers with known tokens do not notice it, not
// even when their answers have to be renewed.
func TestFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds, honest = 20, 70, 20
		s := start(t, func(_ *introspect.EndpointConfig, cfg *introspect.Config[*token.Claims]) { cfg.Rate = rate })
		s.set(func() { s.delay = func(context.Context) { time.Sleep(20 * time.Millisecond) } })
		for n := range honest {
			raw := fmt.Sprint("honest-", n)
			s.active(raw, "user")
			s.want(t, raw, 0)
		}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var refused, unavailable atomic.Int64
		for source := range 4 {
			wg.Go(func() { // 200 a second
				for n := 0; ctx.Err() == nil; n++ {
					wg.Go(func() {
						switch _, err := s.Verify(ctx, fmt.Sprintf("invented-%d-%d", source, n)); reason(err) {
						case token.ReasonInvalid:
							refused.Add(1)
						case token.ReasonUnavailable:
							unavailable.Add(1)
						default:
							t.Errorf("an invented token: %v", err)
						}
					})
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		var slowest time.Duration
		for began := time.Now(); time.Since(began) < seconds*time.Second; time.Sleep(time.Second) {
			for n := range honest {
				at := time.Now()
				s.want(t, fmt.Sprint("honest-", n), 0)
				slowest = max(slowest, time.Since(at))
			}
		}
		stop()
		wg.Wait()
		settle()
		all, _ := s.requests()
		if limit := rate*(seconds+2) + 10*honest; all > limit {
			t.Errorf("%d requests, want at most %d", all, limit)
		}
		if slowest > 100*time.Millisecond {
			t.Errorf("a caller with a known token waited for %v", slowest)
		}
		if s.most > 32 {
			t.Errorf("%d requests at once, want at most 32", s.most)
		}
		t.Logf("%d invented tokens refused by the provider, %d by the budget, %d requests, slowest known caller %v",
			refused.Load(), unavailable.Load(), all, slowest)
	})
}

// A provider that hangs holds a bounded number of connections, and callers wait for a
// bounded time.
func TestProviderHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.active(ada, "ada")
		s.want(t, ada, 0)
		s.set(func() { s.delay = func(ctx context.Context) { <-ctx.Done() } })
		var wg sync.WaitGroup
		for n := range 150 {
			wg.Go(func() {
				began := time.Now()
				s.want(t, fmt.Sprint("new-", n), token.ReasonUnavailable)
				if waited := time.Since(began); waited > 7*time.Second {
					t.Errorf("waited for %v", waited)
				}
			})
		}
		s.want(t, ada, 0)
		wg.Wait()
		if s.most > 16 {
			t.Errorf("%d requests at once, want at most 16", s.most)
		}
		if err := s.endpoint.Ready(); err == nil || !strings.Contains(err.Error(), "no response within 5s") {
			t.Errorf("Ready() = %v", err)
		}
		s.set(func() { s.delay = nil })
		time.Sleep(6 * time.Second)
		s.active("next", "eve")
		s.want(t, "next", 0)
		if err := s.endpoint.Ready(); err != nil {
			t.Errorf("Ready() = %v", err)
		}
		if n := strings.Count(s.log.String(), "token introspection unavailable"); n != 1 {
			t.Errorf("%d lines about the outage, want 1: %s", n, s.log)
		}
	})
}

// The caches are bounded in number and memory.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(_ *introspect.EndpointConfig, cfg *introspect.Config[*token.Claims]) {
			cfg.CacheSize, cfg.Rate = 64, 1e6
		})
		known := 0
		for n := range 1000 {
			raw := fmt.Sprint("token-", n)
			s.active(raw, "user")
			s.want(t, raw, 0)
		}
		for n := range 1000 {
			if s.Known(fmt.Sprint("token-", n)) {
				known++
			}
		}
		if known > 64 || known < 48 {
			t.Errorf("%d tokens are known, want at most 64", known)
		}
		large := map[string]any{"padding": strings.Repeat("x", 900<<10)}
		for n := range 90 {
			raw := fmt.Sprint("large-", n)
			s.active(raw, "user", large)
			s.want(t, raw, 0)
			s.revoke(raw)
		}
		known = 0
		for n := range 90 {
			if s.Known(fmt.Sprint("large-", n)) {
				known++
			}
		}
		if known > 64 { // they take twice their length
			t.Errorf("%d answers of 900 KiB are kept", known)
		}
	})
}

// What the server decides itself holds for kept answers at once.
func TestRevokedHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var denied atomic.Bool
		s := start(t, func(_ *introspect.EndpointConfig, cfg *introspect.Config[*token.Claims]) {
			cfg.Revoked = func(_ context.Context, key *token.RevocationKey) error {
				if key.Subject != "ada" || key.ID != "id of ada" || key.Issuer != "https://issuer.example" {
					return errors.New("another key")
				}
				if denied.Load() {
					return &token.Error{Reason: token.ReasonRevoked}
				}
				return nil
			}
		})
		s.active(ada, "ada")
		s.active("another-one", "eve")
		_, still, err := s.Open(t.Context(), ada)
		if err != nil || still(t.Context()) != nil {
			t.Fatal(err)
		}
		denied.Store(true)
		s.want(t, ada, token.ReasonRevoked)
		if got := reason(still(t.Context())); got != token.ReasonRevoked {
			t.Errorf("the stream: %v", got)
		}
		s.want(t, "another-one", token.ReasonUnavailable) // the list failed
	})
}

// A stream goes on while its token is active and ends within 60 seconds after that. The
// provider may be away for a moment.
func TestOpen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*setup)
		want   token.Reason
	}{
		"revoked":          {func(s *setup) { s.revoke(ada) }, token.ReasonInvalid},
		"another audience": {func(s *setup) { s.active(ada, "ada", map[string]any{"aud": "x"}) }, token.ReasonInvalid},
		"provider down":    {func(s *setup) { s.fail(refuse(500, "server_error")) }, token.ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				s.active(ada, "ada")
				_, still, err := s.Open(t.Context(), ada)
				if err != nil {
					t.Fatal(err)
				}
				for second := range 600 {
					switch {
					case second%60 == 46: // away for a moment
						s.fail(refuse(500, "server_error"))
					case second%60 == 50:
						s.fail(nil)
					}
					if err := still(t.Context()); err != nil {
						t.Fatalf("ended after %d s: %v", second, err)
					}
					time.Sleep(time.Second)
				}
				c.change(s)
				changed := time.Now()
				for err == nil && time.Since(changed) < 2*time.Minute {
					time.Sleep(time.Second)
					err = still(t.Context())
				}
				if lasted := time.Since(changed); reason(err) != c.want || lasted > 61*time.Second {
					t.Errorf("ended after %v with %v, want %q within 60 s", lasted, err, c.want)
				}
				if all, _ := s.requests(); all > 40 {
					t.Errorf("%d requests in 11 minutes", all)
				}
				settle()
			})
		})
	}
}

// What cannot be an opaque token costs no request.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.want(t, "", token.ReasonMissing)
	for _, raw := range []string{"a b", "a\x00b", "é", strings.Repeat("a", 5000), s.issuer.Mint(map[string]any{"aud": audience}), s.issuer.Mint(nil) + "=="} {
		s.want(t, raw, token.ReasonMalformed)
	}
	if all, _ := s.requests(); all != 0 {
		t.Errorf("%d requests", all)
	}
}
