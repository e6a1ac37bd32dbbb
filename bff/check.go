package bff

import (
	"context"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/internal/check"
)

// A CheckResult is the outcome of one proof of [BFF.Check]. Its Status is "ok",
// "warn", "wrong" or "unknown"; What and Remedy are sentences.
type CheckResult = check.Result

// A Registration is a value to register at the provider.
type Registration = check.Registration

// Check proves the configuration at the provider, as far as that is possible
// before the first login. A result says what holds, what does not, with a
// remedy, or what could not be proved. Check makes a few requests that the
// provider refuses, one of them with a wrong credential, and changes nothing
// there. verify, if not nil, verifies an access token as the server does.
func (b *BFF) Check(ctx context.Context, verify func(ctx context.Context, accessToken string) error) []CheckResult {
	return b.prober.Check(ctx, verify)
}

// Registrations returns the values to register at the provider for the client,
// which [BFF.Check] cannot all prove.
func (b *BFF) Registrations() []Registration { return b.prober.Registrations() }

// clientKeys publishes the client's public keys. The provider fetches them to
// verify client assertions.
func (b *BFF) clientKeys(w http.ResponseWriter, _ *http.Request) {
	keys := b.party.Client().PublicKeys()
	if keys == nil {
		respond.Error(w, http.StatusNotFound, "this client has no keys")
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(keys) // an error means that the provider closed the connection
}
