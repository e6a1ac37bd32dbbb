package suggest_test

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/suggest"
)

// TestName finds similar names and no others.
func TestName(t *testing.T) {
	t.Parallel()
	names := []string{"oidc-issuer", "listen-bff", "listen-grpc", "secret"}
	for misspelt, want := range map[string]string{"oidc-isuer": "oidc-issuer", "listen-grcp": "listen-grpc", "secrets": "secret", "frobnicate": "", "x": ""} {
		if got := suggest.Name(misspelt, names); got != want {
			t.Errorf("%s: got %q, want %q", misspelt, got, want)
		}
	}
}
