package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A slow provider responds after delay, and refuses connections until up.
type slow struct {
	issuer *tokentest.Issuer
	delay  time.Duration
	up     time.Time
	header http.Header // of a 503 that it sends instead of refusing connections
	calls  int
}

func (s *slow) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls++
	down := time.Now().Before(s.up)
	if down && s.header == nil {
		return nil, errors.New("connection refused")
	}
	select {
	case <-time.After(s.delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down {
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: s.header, Body: http.NoBody, Request: r}, nil
	}
	return s.issuer.Client().Transport.RoundTrip(r)
}

// starting returns a provider whose Run has just begun, a verifier, and a token.
func starting(t *testing.T, s *slow) (p *oidc.Provider, v *token.AccessVerifier[*principal], raw string) {
	t.Helper()
	s.issuer = tokentest.NewUnserved(t, "https://id.example")
	p, err := oidc.NewProvider(oidc.Config{Issuer: s.issuer.URL, HTTPClient: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p)
	return p, newAccess(t, p), s.issuer.Mint(map[string]any{"aud": audience})
}

// took calls f and returns how long it took.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// TestFirstFetchIsAwaited: a call during the first fetch waits for it, at most 2 s.
func TestFirstFetchIsAwaited(t *testing.T) {
	for _, c := range []struct {
		name     string
		provider slow // each of the two documents takes delay
		arrives  time.Duration
		want     token.Reason
		waits    time.Duration
	}{
		{"answers at once", slow{}, 0, 0, 0},
		{"answers after 1 s", slow{delay: time.Second / 2}, 0, 0, time.Second},
		{"answers after 3 s", slow{delay: 3 * time.Second / 2}, 0, token.ReasonUnavailable, 2 * time.Second},
		{"answers after 3 s, asked 2 s later", slow{delay: 3 * time.Second / 2}, 2 * time.Second, 0, time.Second},
		{"never answers", slow{delay: time.Hour}, 0, token.ReasonUnavailable, 2 * time.Second},
		{"never answers, asked later", slow{delay: time.Hour}, 7 * time.Second, token.ReasonUnavailable, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, v, raw := starting(t, &c.provider)
				advance(c.arrives)
				if waited := took(func() { check(t, v, raw, c.want) }); waited != c.waits {
					t.Errorf("waited %v, want %v", waited, c.waits)
				}
			})
		})
	}
}

// TestFirstFetchIsRetriedForCallers: after a failed first fetch, a call leads to the
// next one instead of waiting for the scheduled one.
func TestFirstFetchIsRetriedForCallers(t *testing.T) {
	for _, c := range []struct {
		name    string
		up      time.Duration // when the provider begins to answer
		arrives time.Duration
		want    token.Reason
		waits   time.Duration
	}{
		{"back before the request", 100 * time.Millisecond, time.Second, 0, 0},
		{"back after the request", 1200 * time.Millisecond, 0, 0, 1500 * time.Millisecond},
		{"back too late", 5 * time.Second, 0, token.ReasonUnavailable, 2 * time.Second},
		{"between two tries", 30*time.Second + 100*time.Millisecond, 30*time.Second + 200*time.Millisecond, 0, 300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &slow{up: time.Now().Add(c.up)}
				_, v, raw := starting(t, s)
				advance(c.arrives)
				if waited := took(func() { check(t, v, raw, c.want) }); waited != c.waits {
					t.Errorf("waited %v, want %v", waited, c.waits)
				}
			})
		})
	}
}

// TestFirstFetchBudget: any number of callers leads to at most two fetches a second.
func TestFirstFetchBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &slow{up: time.Now().Add(time.Hour)}
		_, v, raw := starting(t, s)
		before := s.calls
		for range 20 {
			for range 50 {
				go func() { _, _, _ = v.Verify(context.Background(), raw) }()
			}
			advance(time.Second / 2)
		}
		advance(2 * time.Second) // the last callers give up
		if n := s.calls - before; n < 20 || n > 26 {
			t.Errorf("%d fetches in 12 s, want about 2 in each second with callers", n)
		}
	})
}

// TestFirstFetchRetryAfter: there is no fetch before the time of Retry-After, and no
// call waits that cannot succeed.
func TestFirstFetchRetryAfter(t *testing.T) {
	for name, header := range map[string]string{
		"seconds": "30", "date": "set below", "a day": "86400",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				again := 30 * time.Second
				switch name {
				case "date":
					header = time.Now().Add(again).UTC().Format(http.TimeFormat)
				case "a day":
					again = 5 * time.Minute
				}
				s := &slow{up: time.Now().Add(again), header: http.Header{"Retry-After": {header}}}
				_, v, raw := starting(t, s)
				if waited := took(func() { check(t, v, raw, token.ReasonUnavailable) }); waited != 0 {
					t.Errorf("waited %v for a provider that will not respond in time", waited)
				}
				advance(again - time.Second)
				if s.calls != 1 {
					t.Errorf("got %d requests before the time of Retry-After, want 1", s.calls)
				}
				if waited := took(func() { check(t, v, raw, 0) }); waited != time.Second {
					t.Errorf("waited %v, want 1s", waited)
				}
			})
		})
	}
}

// TestNothingWaitsForABadToken: tokens that are invalid with any keys are refused at
// once.
func TestNothingWaitsForABadToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &slow{delay: time.Hour}
		_, v, _ := starting(t, s)
		waited := took(func() {
			check(t, v, "no token", token.ReasonMalformed)
			check(t, v, s.issuer.Mint(map[string]any{"aud": "other"}), token.ReasonInvalid)
			check(t, v, s.issuer.Mint(map[string]any{"aud": audience, "iss": "https://other.example"}), token.ReasonInvalid)
			check(t, v, s.issuer.Mint(map[string]any{"aud": audience, "exp": tokentest.Absent}), token.ReasonInvalid)
		})
		if waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestAwaitMetadata(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &slow{delay: 1500 * time.Millisecond} // metadata after 1.5 s, keys after 3 s
		p, _, _ := starting(t, s)
		var m *oidc.Metadata
		var err error
		if waited := took(func() { m, err = p.AwaitMetadata(t.Context()) }); waited != 1500*time.Millisecond || err != nil || m.Issuer != s.issuer.URL {
			t.Errorf("metadata %v after %v: %v; it must not wait for the keys", m, waited, err)
		}
		if waited := took(func() { _, err = p.AwaitReady(t.Context()) }); waited != 1500*time.Millisecond || err != nil {
			t.Errorf("keys after %v: %v", waited, err)
		}
	})
}

// TestAwaitEndsWithItsCaller: a wait ends with its context.
func TestAwaitEndsWithItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, _, _ := starting(t, &slow{delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		if waited := took(func() { _, err = p.AwaitMetadata(ctx) }); waited != time.Second || !errors.Is(err, oidc.ErrUnavailable) {
			t.Errorf("after %v: %v", waited, err)
		}
		synctest.Wait()
	})
}
