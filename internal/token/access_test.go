package token_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// verified counts the tokens that a verifier did not find in its cache.
type verified struct{ atomic.Int64 }

func (n *verified) config(c *token.AccessConfig[*principal]) {
	toPrincipal := c.Principal
	c.Principal = func(claims *token.Claims) (*principal, error) {
		n.Add(1)
		return toPrincipal(claims)
	}
}

func (n *verified) want(t *testing.T, want int64) {
	t.Helper()
	if got := n.Load(); got != want {
		t.Errorf("got %d tokens verified anew, want %d", got, want)
	}
}

func TestSeenTokens(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		p := newProvider(t, issuer, nil)
		var anew verified
		v := newAccess(t, p, anew.config)
		raw := issuer.Mint(map[string]any{"aud": audience, "exp": time.Now().Unix() + 300})
		first, exp, err := v.Verify(t.Context(), raw)
		if err != nil || !exp.Equal(time.Now().Add(300*time.Second)) {
			t.Fatal(exp, err)
		}
		second, again, err := v.Verify(t.Context(), raw)
		if err != nil || second != first || !again.Equal(exp) {
			t.Error("the principal was made twice, or the expiry is another", again, err)
		}
		anew.want(t, 1)

		// A token that differs in one byte does not pass for the cached one
		// (GHSA-rp9m-7r4c-75qg), in the tail of the signature or in the hashed part.
		for _, at := range []int{len(raw) - 20, len(raw) - 342, len(raw) - 400} {
			forged := []byte(raw)
			forged[at] = 'A'
			if raw[at] == 'A' {
				forged[at] = 'B'
			}
			if _, _, err := v.Verify(t.Context(), string(forged)); err == nil {
				t.Errorf("accepted with byte %d changed", at)
			}
		}
		anew.want(t, 1)

		// Verifiers share no cache (lua-resty-openidc #569).
		check(t, newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.Audience = "https://other.example" }), raw, token.ReasonInvalid)

		// Expiry is checked at every hit.
		advance(360*time.Second - time.Nanosecond)
		check(t, v, raw, 0)
		anew.want(t, 1)
		advance(time.Nanosecond)
		check(t, v, raw, token.ReasonExpired)
		anew.want(t, 1)
	})
}

func TestKeyRemovedFromTheSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		p := newProvider(t, issuer, nil)
		var anew verified
		v := newAccess(t, p, anew.config)
		raw := issuer.Mint(map[string]any{"aud": audience, "exp": time.Now().Add(time.Hour).Unix()})
		check(t, v, raw, 0)
		stolen := issuer.Key()
		issuer.Rotate()
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, v, raw, 0) // a new key does not invalidate the others
		anew.want(t, 1)
		issuer.Retire()
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, v, raw, token.ReasonInvalid)
		anew.want(t, 1)
		// The key is published again: the token is verified again.
		issuer.PublishKeys(stolen.JWK(), issuer.Key().JWK())
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, v, raw, 0)
		anew.want(t, 2)
	})
}

// denials is a simple store of revocations.
type denials struct {
	mu       sync.RWMutex
	down     error
	sessions map[[2]string]bool
	ids      map[string]bool
	subjects map[[2]string]time.Time
}

func (d *denials) check(_ context.Context, k *token.RevocationKey) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	at, denied := d.subjects[[2]string{k.Issuer, k.Subject}]
	switch {
	case d.down != nil:
		return d.down
	case d.sessions[[2]string{k.Issuer, k.SessionID}], d.ids[k.ID], denied && !k.IssuedAt.After(at):
		return &token.Error{Reason: token.ReasonRevoked}
	}
	return nil
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		name string
		deny func(*denials)
		want token.Reason
	}{
		{"nothing", func(*denials) {}, 0},
		{"another session", func(d *denials) { d.sessions = map[[2]string]bool{{issuer.URL, "s2"}: true} }, 0},
		{"session", func(d *denials) { d.sessions = map[[2]string]bool{{issuer.URL, "s1"}: true} }, token.ReasonRevoked},
		{"session of another issuer", func(d *denials) { d.sessions = map[[2]string]bool{{"https://other.example", "s1"}: true} }, 0},
		{"jti", func(d *denials) { d.ids = map[string]bool{"j1": true} }, token.ReasonRevoked},
		{"subject before", func(d *denials) { d.subjects = map[[2]string]time.Time{{issuer.URL, "user-1"}: now.Add(-time.Second)} }, 0},
		{"subject at iat", func(d *denials) { d.subjects = map[[2]string]time.Time{{issuer.URL, "user-1"}: now} }, token.ReasonRevoked},
		{"store down", func(d *denials) { d.down = errors.New("connection refused") }, token.ReasonUnavailable},
		{"store says unavailable", func(d *denials) { d.down = fmt.Errorf("x: %w", &token.Error{Reason: token.ReasonUnavailable}) }, token.ReasonUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d denials
			v := newAccess(t, p, func(cfg *token.AccessConfig[*principal]) { cfg.Revoked = d.check })
			mint := func() string {
				return issuer.Mint(map[string]any{"aud": audience, "sid": "s1", "jti": "j1", "iat": now.Unix()})
			}
			seen := mint()
			check(t, v, seen, 0)
			d.mu.Lock()
			c.deny(&d)
			d.mu.Unlock()
			check(t, v, seen, c.want)
			check(t, v, mint(), c.want)
			_, _, err := v.Verify(t.Context(), seen)
			if unavailable := errors.Is(err, oidc.ErrUnavailable); unavailable != (c.want == token.ReasonUnavailable) {
				t.Errorf("errors.Is(%v, ErrUnavailable) = %v", err, unavailable)
			}
			// Revoked is not called for a forged token.
			check(t, v, seen[:len(seen)-4]+"AAAA", token.ReasonInvalid)
			// A revocation is not cached.
			d.mu.Lock()
			d.down, d.sessions, d.ids, d.subjects = nil, nil, nil, nil
			d.mu.Unlock()
			check(t, v, seen, 0)
		})
	}
}

func TestTokenWithoutIssuedAtAndDeniedSubject(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	d := denials{subjects: map[[2]string]time.Time{{issuer.URL, "user-1"}: time.Now().Add(-time.Hour)}}
	v := newAccess(t, newProvider(t, issuer, nil), func(cfg *token.AccessConfig[*principal]) { cfg.Revoked = d.check })
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0)
	check(t, v, issuer.Mint(map[string]any{"aud": audience, "iat": tokentest.Absent}), token.ReasonRevoked)
}

func TestPrincipalRefuses(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	calls := 0
	v := newAccess(t, newProvider(t, issuer, nil), func(c *token.AccessConfig[*principal]) {
		c.Principal = func(*token.Claims) (*principal, error) { calls++; return nil, errors.New("no tenant") }
	})
	raw := issuer.Mint(map[string]any{"aud": audience})
	check(t, v, raw, token.ReasonInvalid)
	check(t, v, raw, token.ReasonInvalid)
	if calls != 2 {
		t.Errorf("%d calls, want 2: failures are not cached", calls)
	}
}

// TestBeforeTheFirstKeys: without keys a token is refused with 503, not 401, unless
// it is invalid with any keys.
func TestBeforeTheFirstKeys(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	v := newAccess(t, p)
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), token.ReasonUnavailable)
	check(t, v, "garbage", token.ReasonMalformed)
	if _, keys := issuer.Fetches(); keys != 0 {
		t.Errorf("%d fetches of keys", keys)
	}
	if _, err := p.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), token.ReasonUnavailable)
	check(t, v, issuer.Mint(map[string]any{"aud": audience, "iss": "https://other.example"}), token.ReasonInvalid)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	for _, size := range []int{-1, 1, 5, 64} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var anew verified
			v := newAccess(t, p, anew.config, func(c *token.AccessConfig[*principal]) { c.CacheSize = size })
			raws := make([]string, 200)
			for i := range raws {
				raws[i] = issuer.Mint(map[string]any{"aud": audience})
				check(t, v, raws[i], 0)
			}
			anew.want(t, 200)
			// A miss may evict a token that comes later, so the count may be too low.
			held := 0
			for _, raw := range raws {
				before := anew.Load()
				check(t, v, raw, 0)
				if anew.Load() == before {
					held++
				}
			}
			if most := max(size, 0); held > most {
				t.Errorf("got %d cached tokens, want at most %d", held, most)
			}
			if size > 0 {
				last := issuer.Mint(map[string]any{"aud": audience})
				check(t, v, last, 0)
				before := anew.Load()
				check(t, v, last, 0)
				if anew.Load() != before {
					t.Error("the latest token is not cached")
				}
			}
		})
	}
}

// TestCacheKeepsWhatIsUsed: a token in constant use is not evicted by tokens that are
// used once.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	var anew verified
	v := newAccess(t, newProvider(t, issuer, nil), anew.config, func(c *token.AccessConfig[*principal]) { c.CacheSize = 8 })
	used := issuer.Mint(map[string]any{"aud": audience})
	for range 200 {
		check(t, v, used, 0)
		check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0)
	}
	if again := anew.Load() - 201; again > 49 {
		t.Errorf("got %d of 199 calls verified anew, want 49 at most", again)
	}
}

func TestSeenTokenAllocatesNothing(t *testing.T) {
	issuer := tokentest.NewUnserved(t, "https://id.example")
	var d denials
	var anew verified
	v := newAccess(t, newProvider(t, issuer, nil), anew.config, func(c *token.AccessConfig[*principal]) { c.Revoked = d.check })
	raw := tokenOfSize(issuer, 1024)
	check(t, v, raw, 0)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { v.Verify(ctx, raw) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// tokenOfSize returns a valid token of about n bytes, as providers make them.
func tokenOfSize(issuer *tokentest.Issuer, n int) string {
	const rest = 851 // approximate bytes of a token without padding
	return issuer.Mint(map[string]any{
		"aud": []string{audience, issuer.URL + "/userinfo"}, "azp": "web-client", "scope": "openid profile email offline_access products:write",
		"sid": "0b1a4c7e-5a3d-4a55-9d8a-3c9f3b1f9f10", "permissions": []string{"products:write"},
		"pad": strings.Repeat("x", max(0, (n-rest)*3/4)),
	})
}

// TestCacheMemory: a cached token takes what AccessConfig.CacheSize says, independent
// of its length.
func TestCacheMemory(t *testing.T) {
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	const n = 1000
	raws := make([]string, n)
	for i := range raws {
		raws[i] = tokenOfSize(issuer, 4096)
	}
	v := newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.CacheSize = 4 * n })
	before := heap()
	for _, raw := range raws {
		check(t, v, raw, 0)
	}
	each := (heap() - before) / n
	runtime.KeepAlive(v)
	runtime.KeepAlive(raws)
	t.Logf("%d bytes a token, principal included", each)
	if each > 900 {
		t.Errorf("a cached token takes %d bytes, want at most 900", each)
	}
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestConcurrentUse mixes hits, new tokens, evictions, rotation, withdrawal and
// unknown kids, for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	p := newProvider(t, issuer, nil)
	var d denials
	v := newAccess(t, p, func(c *token.AccessConfig[*principal]) { c.CacheSize, c.Revoked = 16, d.check })
	steady := issuer.Mint(map[string]any{"aud": audience, "sub": "steady"})
	steadyKey := issuer.Key()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				who := fmt.Sprintf("user-%d-%d", g, i)
				raw := issuer.Mint(map[string]any{"aud": audience, "sub": who})
				for range 3 {
					got, _, err := v.Verify(t.Context(), raw)
					// The key may have been withdrawn, or rotated beyond the budget. The
					// principal must never be another one.
					if err == nil && got.subject != who {
						t.Errorf("got the principal %[2]s, want %[1]s", who, got.subject)
					}
				}
				if got, _, err := v.Verify(t.Context(), steady); err != nil || got.subject != "steady" {
					t.Errorf("steady token: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			issuer.Rotate()
			issuer.PublishKeys(steadyKey.JWK(), issuer.Key().JWK())
			if err := p.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

// TestLog: the log has the cause and never the token.
func TestLog(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	var out strings.Builder
	v := newAccess(t, newProvider(t, issuer, nil), func(c *token.AccessConfig[*principal]) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	raw := issuer.Mint(map[string]any{"aud": audience, "cnf": map[string]any{"jkt": "secret-thumbprint"}})
	check(t, v, raw, token.ReasonInvalid)
	if s := out.String(); !strings.Contains(s, "cnf") || strings.Contains(s, "secret-thumbprint") || strings.Contains(s, raw[:40]) {
		t.Errorf("log: %s", s)
	}
}
