package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const audience = "https://api.example"

// principal is what the verifiers of these tests cache.
type principal struct {
	subject string
	scopes  []string
}

func toPrincipal(c *token.Claims) (*principal, error) {
	return &principal{c.Subject, c.Scopes}, nil
}

// newProvider returns a provider with fetched keys that reaches issuer through
// client (nil: in memory).
func newProvider(t testing.TB, issuer *tokentest.Issuer, client *http.Client) *oidc.Provider {
	t.Helper()
	if client == nil {
		client = issuer.Client()
	}
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func newAccess(t testing.TB, p *oidc.Provider, change ...func(*token.AccessConfig[*principal])) *token.AccessVerifier[*principal] {
	t.Helper()
	cfg := token.AccessConfig[*principal]{Provider: p, Audience: audience, Principal: toPrincipal}
	for _, f := range change {
		f(&cfg)
	}
	v, err := token.NewAccessVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reason returns the reason of err, 0 for nil.
func reason(t testing.TB, err error) token.Reason {
	t.Helper()
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[*token.Error](err)
	if !ok {
		t.Fatalf("got %v (%T), want a *token.Error", err, err)
	}
	return e.Reason
}

// check verifies raw and compares the reason.
func check(t testing.TB, v *token.AccessVerifier[*principal], raw string, want token.Reason) {
	t.Helper()
	_, _, err := v.Verify(t.Context(), raw)
	if got := reason(t, err); got != want {
		t.Errorf("got reason %v, want %v (%v)", got, want, err)
	}
}

// bubble runs f with a fake clock.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// advance lets d pass on the fake clock and waits until all goroutines are idle.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// run runs p until the test ends.
func run(t *testing.T, p *oidc.Provider) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
}

// transport is a function as an http.RoundTripper.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// payload returns the payload of a good token with further members.
func payload(issuer *tokentest.Issuer, more string) string {
	now := time.Now().Unix()
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"user-1","iat":%d,"exp":%d%s}`, issuer.URL, audience, now, now+300, more)
}
