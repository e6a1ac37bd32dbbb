// Package oidctest owns the making of providers that follow an issuer of package
// tokentest. It leaves the issuer and its tokens to that package.
package oidctest

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// NewProvider returns a provider that reaches the issuer in memory. It has
// fetched nothing.
func NewProvider(t testing.TB, issuer *tokentest.Issuer) *oidc.Provider {
	t.Helper()
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
