package token_test

import (
	"slices"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// allow returns a change that sets the accepted algorithms.
func allow(algorithms ...string) func(*token.AccessConfig[*principal]) {
	return func(c *token.AccessConfig[*principal]) { c.Algorithms = algorithms }
}

// Each algorithm is accepted where it is allowed, and nowhere else.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, signs := range slices.Concat(tokentest.Algorithms, []string{"Ed25519"}) {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		issuer.SetAlgorithm(signs)
		p := newProvider(t, issuer, nil)
		raw := issuer.Mint(map[string]any{"aud": audience})
		for _, allowed := range tokentest.Algorithms {
			t.Run(signs+" where "+allowed+" is allowed", func(t *testing.T) {
				want := token.ReasonMalformed
				if allowed == signs || allowed == "EdDSA" && signs == "Ed25519" {
					want = 0
				}
				check(t, newAccess(t, p, allow(allowed)), raw, want)
			})
		}
		check(t, newAccess(t, p, allow(tokentest.Algorithms...)), raw, 0)
	}
}
