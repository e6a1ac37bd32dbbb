package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// recorder is a transport to an issuer that records each fetch of the key set.
type recorder struct {
	issuer *tokentest.Issuer

	mu       sync.Mutex
	periodic []time.Time // when
	unknown  []time.Time // those for an unknown kid, which have no-cache
	etags    []string    // If-None-Match of all fetches
	header   http.Header // added to responses
	before   func(*http.Request) error
	after    func(*http.Request)
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/keys") {
		return r.issuer.Client().Transport.RoundTrip(req)
	}
	r.mu.Lock()
	if req.Header.Get("Cache-Control") == "no-cache" {
		r.unknown = append(r.unknown, time.Now())
	} else {
		r.periodic = append(r.periodic, time.Now())
	}
	r.etags = append(r.etags, req.Header.Get("If-None-Match"))
	header, before, after := r.header.Clone(), r.before, r.after
	r.mu.Unlock()
	if before != nil {
		if err := before(req); err != nil {
			return nil, err
		}
	}
	res, err := r.issuer.Client().Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if tag := header.Get("ETag"); tag != "" && tag == req.Header.Get("If-None-Match") {
		res.StatusCode, res.Body = http.StatusNotModified, http.NoBody
	}
	for name := range header {
		res.Header[name] = header[name]
	}
	if after != nil { // the response exists and has not arrived
		after(req)
	}
	return res, nil
}

func (r *recorder) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) counts() (periodic, unknown int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.periodic), len(r.unknown)
}

// times returns when keys were fetched, periodically and for unknown kids.
func (r *recorder) times() (periodic, unknown []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.periodic), slices.Clone(r.unknown)
}

// running returns an issuer, a provider that runs, and a verifier.
func running(t *testing.T) (*tokentest.Issuer, *recorder, *oidc.Provider, *token.AccessVerifier[*principal]) {
	t.Helper()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	rec := &recorder{issuer: issuer}
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: &http.Client{Transport: rec}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p)
	return issuer, rec, p, newAccess(t, p)
}

func mintFor(issuer *tokentest.Issuer, header ...map[string]any) string {
	return issuer.Mint(map[string]any{"aud": audience, "exp": time.Now().Add(time.Hour).Unix()}, header...)
}

func kid(id string) map[string]any { return map[string]any{"kid": id} }

func wantUnknown(t *testing.T, rec *recorder, want int) {
	t.Helper()
	if _, got := rec.counts(); got != want {
		t.Errorf("%d fetches for unknown kids, want %d", got, want)
	}
}

func TestRotationIsNoticedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		old := mintFor(issuer)
		check(t, v, old, 0)
		issuer.Rotate() // the key is used as soon as it is published
		check(t, v, mintFor(issuer), 0)
		wantUnknown(t, rec, 1)
		check(t, v, old, 0)
	})
}

func TestManyCallersShareOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		rec.set(func() { rec.before = func(*http.Request) error { <-time.After(time.Second); return nil } })
		issuer.Rotate()
		raw := mintFor(issuer)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { check(t, v, raw, 0) })
		}
		wg.Wait()
		wantUnknown(t, rec, 1)
	})
}

func TestUnknownKeyIDIsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		made := mintFor(issuer, kid("made up"))
		for range 10 {
			check(t, v, made, token.ReasonInvalid)
		}
		wantUnknown(t, rec, 1)
		advance(29 * time.Second)
		check(t, v, made, token.ReasonInvalid)
		wantUnknown(t, rec, 1)
		advance(2 * time.Second)
		check(t, v, made, token.ReasonInvalid)
		wantUnknown(t, rec, 2)
	})
}

// TestNegativeCacheGoesWithANewSet: a kid that was used just before its key was
// published is not refused for the rest of the 30 s.
func TestNegativeCacheGoesWithANewSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		published := issuer.Key().JWK()
		early := issuer.Rotate()
		issuer.PublishKeys(published)
		raw := mintFor(issuer)
		check(t, v, raw, token.ReasonInvalid)
		issuer.PublishKeys(published, early.JWK())
		check(t, v, raw, token.ReasonInvalid) // in the negative cache
		wantUnknown(t, rec, 1)
		check(t, v, mintFor(issuer, kid("another")), token.ReasonInvalid) // fetches the set with the first one
		check(t, v, raw, 0)
		wantUnknown(t, rec, 2)
	})
}

// TestNegativeCacheGoesWithAnyNewSet: a new key means that the provider is rotating,
// so kids that were unknown before lead to a fetch again.
func TestNegativeCacheGoesWithAnyNewSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, p, v := running(t)
		first := issuer.Key().JWK()
		second := issuer.Rotate().JWK()
		third := issuer.Rotate().JWK()
		issuer.PublishKeys(first)
		raw := mintFor(issuer) // with the third
		check(t, v, raw, token.ReasonInvalid)
		issuer.PublishKeys(first, second)
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		issuer.PublishKeys(first, second, third)
		check(t, v, raw, 0)
		wantUnknown(t, rec, 2)
	})
}

// TestJoiningAnOlderFetchIsNoProof: the response to a fetch that began before the
// call may be older than the key, so it does not prove the kid unknown.
func TestJoiningAnOlderFetchIsNoProof(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		gate := make(chan struct{})
		rec.set(func() { rec.after = func(*http.Request) { <-gate } })
		first := make(chan struct{})
		go func() {
			defer close(first)
			check(t, v, mintFor(issuer, kid("made up")), token.ReasonInvalid)
		}()
		synctest.Wait() // the response exists, without the key, and has not arrived
		issuer.Rotate()
		second := make(chan struct{})
		go func() {
			defer close(second)
			check(t, v, mintFor(issuer), 0)
		}()
		synctest.Wait()
		rec.set(func() { rec.after = nil })
		close(gate)
		<-first
		<-second
		wantUnknown(t, rec, 2)
	})
}

// TestResponsesOutOfOrder: a delayed response from before a rotation does not
// replace the set of a later fetch.
func TestResponsesOutOfOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		gate := make(chan struct{})
		rec.set(func() {
			rec.after = func(r *http.Request) {
				if r.Header.Get("Cache-Control") == "" {
					<-gate
				}
			}
		})
		advance(10 * time.Minute) // the response to the periodic fetch exists and has not arrived
		if periodic, _ := rec.counts(); periodic != 2 {
			t.Fatalf("%d periodic fetches, want 2", periodic)
		}
		issuer.Rotate()
		raw := mintFor(issuer)
		check(t, v, raw, 0)
		close(gate)
		synctest.Wait()
		check(t, v, raw, 0)
		check(t, v, mintFor(issuer), 0)
		wantUnknown(t, rec, 1)
	})
}

func TestWaitForAKeyIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		rec.set(func() {
			rec.before = func(r *http.Request) error { <-r.Context().Done(); return r.Context().Err() }
		})
		seen := mintFor(issuer)
		check(t, v, seen, 0)
		issuer.Rotate()
		raw := mintFor(issuer)
		start := time.Now()
		check(t, v, raw, token.ReasonUnavailable)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("waited %v, want 2 s", d)
		}
		start = time.Now()
		check(t, v, seen, 0)
		if d := time.Since(start); d != 0 {
			t.Errorf("a known key waited %v", d)
		}

		// A call also ends with its context, with 503: nothing is known about the token.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		_, _, err := v.Verify(ctx, raw)
		if reason(t, err) != token.ReasonUnavailable || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		wantUnknown(t, rec, 1) // one fetch for all calls
	})
}

// TestFetchOutlivesItsCaller: a fetch goes on for other callers when the one that
// started it goes away.
func TestFetchOutlivesItsCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		rec.set(func() {
			rec.before = func(r *http.Request) error {
				select {
				case <-time.After(time.Second):
					return nil
				case <-r.Context().Done():
					return r.Context().Err()
				}
			}
		})
		issuer.Rotate()
		raw := mintFor(issuer)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if _, _, err := v.Verify(ctx, raw); reason(t, err) != token.ReasonUnavailable {
				t.Errorf("cancelled caller: %v", err)
			}
		}()
		synctest.Wait()
		other := make(chan struct{})
		go func() {
			defer close(other)
			check(t, v, raw, 0)
		}()
		synctest.Wait()
		cancel()
		<-gone
		<-other
		wantUnknown(t, rec, 1)
	})
}

func TestFailedRefetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, p, v := running(t)
		known := mintFor(issuer)
		issuer.Rotate()
		raw := mintFor(issuer)
		issuer.SetDown(true)
		check(t, v, raw, token.ReasonUnavailable)
		check(t, v, raw, token.ReasonUnavailable) // a failed fetch is not cached
		check(t, v, raw, token.ReasonInvalid)     // the budget is spent
		wantUnknown(t, rec, 2)
		check(t, v, known, 0)
		if err := p.Ready(); err != nil {
			t.Errorf("Ready with known keys: %v", err)
		}
		issuer.SetDown(false)
		advance(20 * time.Second)
		check(t, v, raw, 0)
		wantUnknown(t, rec, 3)

		// A response without usable keys is a failure.
		advance(time.Minute)
		issuer.PublishKeys()
		check(t, v, mintFor(issuer, kid("made up")), token.ReasonUnavailable)
		check(t, v, raw, 0)
	})
}

func TestExpiredTokensCauseNoFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		check(t, v, issuer.Mint(map[string]any{"aud": audience, "exp": time.Now().Add(-time.Hour).Unix()}, kid("of yesterday")), token.ReasonInvalid)
		check(t, v, mintFor(issuer, kid("x")), token.ReasonInvalid)
		wantUnknown(t, rec, 1)
	})
}

// TestFloodDuringRotation sends 10,000 invented kids in two minutes, while the
// provider rotates. The fetches stay within the budget, calls with known keys do not
// wait, and the new key is found within the 20 s of the bucket.
func TestFloodDuringRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, v := running(t)
		seen := mintFor(issuer)
		check(t, v, seen, 0)
		oldKey := issuer.Key()
		rec.set(func() { rec.before = func(*http.Request) error { <-time.After(50 * time.Millisecond); return nil } })

		// The kids differ; the signatures are invalid, which is never checked.
		template := strings.SplitN(mintFor(issuer), ".", 2)[1]
		const calls, length = 10_000, 2 * time.Minute
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				<-time.After(length * time.Duration(i) / calls)
				check(t, v, tokentest.Segment(fmt.Sprintf(`{"alg":"RS256","kid":"flood-%d"}`, i))+"."+template, token.ReasonInvalid)
			})
		}
		var rotated time.Time
		start := time.Now()
		var found time.Duration
		fresh := 0
		for range 240 { // valid calls, two a second
			advance(500 * time.Millisecond)
			asked := time.Now()
			check(t, v, seen, 0)
			fresh++
			check(t, v, oldKey.Sign(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, oldKey.ID), payload(issuer, fmt.Sprintf(`,"jti":"%d"`, fresh))), 0)
			if d := time.Since(asked); d != 0 {
				t.Fatalf("valid calls waited %v", d)
			}
			if rotated.IsZero() && time.Since(start) > 45*time.Second {
				issuer.Rotate()
				rotated = time.Now()
			}
			if !rotated.IsZero() && found == 0 {
				if _, _, err := v.Verify(t.Context(), mintFor(issuer)); err == nil {
					found = time.Since(rotated)
				}
			}
		}
		wg.Wait()
		if found == 0 || found > 21*time.Second {
			t.Errorf("the rotated key was found after %v", found)
		}
		_, unknown := rec.times()
		for i := range unknown {
			n := 0
			for _, at := range unknown[i:] {
				if at.Sub(unknown[i]) < time.Minute {
					n++
				}
			}
			if n > 5 {
				t.Errorf("%d fetches for unknown kids within a minute", n)
			}
		}
		if len(unknown) > 8 {
			t.Errorf("%d fetches for unknown kids in two minutes", len(unknown))
		}
		if found > 0 {
			t.Logf("found after %v, with %d fetches", found, len(unknown))
		}
	})
}

func TestPeriodicRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, p, v := running(t)
		start := time.Now()
		rec.set(func() { rec.header = http.Header{"Etag": {`"v1"`}, "Cache-Control": {"public, max-age=86400"}} })
		advance(10 * time.Minute)
		periodic, _ := rec.times()
		if got := periodic[1].Sub(start); got < 9*time.Minute || got > 10*time.Minute {
			t.Errorf("refreshed after %v, want 9 to 10 minutes", got)
		}
		for range 10 { // a max-age of a day is clamped to 10 minutes
			advance(10 * time.Minute)
		}
		if periodic, _ := rec.counts(); periodic < 11 || periodic > 13 {
			t.Errorf("%d fetches in 110 minutes, want about 11", periodic)
		}
		rec.set(func() {
			if rec.etags[2] != `"v1"` {
				t.Errorf("If-None-Match %q", rec.etags[2])
			}
		})
		// "Not modified" extends the use of the keys, as a response with keys does.
		for range 3 * 24 * 6 {
			advance(10 * time.Minute)
		}
		check(t, v, mintFor(issuer), 0)
		if age := time.Since(p.KeysConfirmed()); age > 10*time.Minute {
			t.Errorf("keys confirmed %v ago", age)
		}
		// The keys stay the same objects, so tokens stay cached.
		rec.set(func() { rec.header = http.Header{"Cache-Control": {"max-age=0"}} })
		advance(10 * time.Minute)
		before, _ := rec.counts()
		advance(10 * time.Minute)
		if after, _ := rec.counts(); after-before < 9 || after-before > 12 {
			t.Errorf("%d fetches in 10 minutes at max-age=0, want about 10", after-before)
		}
	})
}

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, _, _ := running(t)
		issuer.SetDown(true)
		advance(time.Hour + 10*time.Minute)
		periodic, _ := rec.times()
		if n := len(periodic); n < 15 || n > 25 {
			t.Errorf("%d fetches in an hour of outage, want about 18", n)
		}
		for i := 2; i < len(periodic); i++ {
			if gap := periodic[i].Sub(periodic[i-1]); gap < 4*time.Second || gap > 5*time.Minute {
				t.Errorf("gap %v", gap)
			}
		}
		issuer.SetDown(false)
		advance(5 * time.Minute)
		if after, _ := rec.counts(); after != len(periodic)+1 {
			t.Errorf("%d fetches in the 5 minutes after recovery, want 1", after-len(periodic))
		}
	})
}

func TestKeysThatMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, p, v := running(t)
		rec.set(func() {
			rec.before = func(r *http.Request) error {
				if !strings.HasPrefix(r.URL.Path, "/new/") {
					return errors.New("gone")
				}
				return nil
			}
		})
		issuer.SetMetadata("jwks_uri", issuer.URL+"/new/keys")
		issuer.Rotate()
		issuer.Retire()
		advance(10 * time.Minute)
		check(t, v, mintFor(issuer), 0)
		wantUnknown(t, rec, 0)
		if m, err := p.Metadata(); err != nil || !strings.HasSuffix(m.JWKSURI, "/new/keys") {
			t.Errorf("%v, %v", m, err)
		}
	})
}
