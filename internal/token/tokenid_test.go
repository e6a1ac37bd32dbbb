package token_test

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// TestID: ID does not verify the token, and returns "" for other text.
func TestID(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://issuer.example")
	if got := token.ID(issuer.Mint(map[string]any{"jti": "a-name"})); got != "a-name" {
		t.Errorf("got %q", got)
	}
	for name, raw := range map[string]string{
		"nothing": "", "opaque": "2YotnFZFEjr1zCsicMWpAA", "no jti": issuer.Mint(map[string]any{"jti": tokentest.Absent}),
		"a number": issuer.Mint(map[string]any{"jti": 7}), "null": issuer.Mint(map[string]any{"jti": nil}), "five parts": "a.b.c.d.e",
	} {
		if got := token.ID(raw); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
