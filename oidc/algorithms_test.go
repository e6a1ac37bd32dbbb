package oidc_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A key set without a key for the algorithms of the verifiers is a failed fetch: it
// neither replaces a good one nor makes tokens invalid that wait for the first one.
func TestKeySetOfOtherAlgorithms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		rsa, other := issuer.Key(), tokentest.NewKeyOf(t, "ES256")
		p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		v := newAccess(t, p)
		raw := issuer.Mint(map[string]any{"aud": audience})
		refused := func(when string) {
			t.Helper()
			if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "keys for ES256 only, and none for RS256") {
				t.Errorf("%s: Refresh = %v", when, err)
			}
		}

		issuer.PublishKeys(other.JWK())
		refused("before the first set")
		check(t, v, raw, token.ReasonUnavailable)
		if got := p.KeyAlgorithms(); !slices.Equal(got, []string{"ES256"}) {
			t.Errorf("KeyAlgorithms = %q, want those of the refused set", got)
		}
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "the provider has ES256 keys only; set Algorithms=ES256 (now RS256)") {
			t.Errorf("Ready = %v", err)
		}

		issuer.PublishKeys(rsa.JWK(), other.JWK())
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, v, raw, 0)
		issuer.PublishKeys(other.JWK())
		refused("after a good set")
		check(t, v, raw, 0)
		if err := v.Ready(); err != nil {
			t.Errorf("Ready with the set before: %v", err)
		}

		p.AllowAlgorithms("ES256") // another verifier
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, v, raw, token.ReasonInvalid)
		if err := v.Ready(); err == nil {
			t.Error("ready without a key for RS256")
		}
	})
}
