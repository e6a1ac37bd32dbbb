package token_test

import (
	"errors"
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

func with(base map[string]any, name string, value any) map[string]any {
	m := map[string]any{name: value}
	for k, v := range base {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
	return m
}
