package bff

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
)

// A CheckStatus is the outcome of one check.
type CheckStatus string

// The outcomes.
const (
	CheckOK      CheckStatus = "ok"      // works
	CheckWarn    CheckStatus = "warn"    // works, with a caveat
	CheckWrong   CheckStatus = "wrong"   // does not work
	CheckUnknown CheckStatus = "unknown" // could not be checked
)

// A CheckResult is the result of one check of [BFF.Check].
type CheckResult struct {
	Status CheckStatus `json:"status"`
	// Proof names what was checked, such as "credential".
	Proof string `json:"proof"`
	// What describes the result in words.
	What string `json:"what"`
	// Remedy says how to correct the configuration; empty if there is nothing to
	// correct or What says it.
	Remedy string `json:"remedy,omitempty"`
	// Optional marks a check that many providers do not allow. Its CheckUnknown
	// is no failure.
	Optional bool `json:"optional,omitempty"`
}

// A Registration is a value to register at the provider.
type Registration struct {
	// Name is the provider's usual name of the value, such as "post-logout
	// redirect URI".
	Name string `json:"name"`
	// Value is usually a URL.
	Value string `json:"value"`
}

// Check proves the configuration at the provider, as far as that is possible
// before the first login. A result says what holds, what does not, with a
// remedy, or what could not be proved. Check makes a few requests that the
// provider refuses, one of them with a wrong credential, and requests the
// client's own tokens of routes. It changes nothing there. verify, if not nil, verifies an access token as the server does.
func (b *BFF) Check(ctx context.Context, verify func(ctx context.Context, accessToken string) error) []CheckResult {
	var results []CheckResult
	found := b.prober.Check(ctx, verify)
	if md, err := b.provider.Metadata(); err == nil && b.tokens != nil {
		found = append(found, b.tokens.Check(ctx, md)...)
	}
	for _, r := range found {
		results = append(results, CheckResult{CheckStatus(r.Status), r.Proof, r.What, r.Remedy, r.Optional})
	}
	return results
}

// ClientRefused returns an error that names the settings to correct while the provider
// refuses the client, as after a change of its secret there; nil otherwise. The bff is
// ready all the same: users who are signed in are served, and other nodes are no better.
func (b *BFF) ClientRefused() error {
	refused := b.party.Refused()
	if refused == nil {
		return nil
	}
	client, credential := b.party.Client(), "Client.Secret"
	if client.UsesKey() {
		credential = "Client.Key"
	}
	setting := b.party.Config().Setting
	return fmt.Errorf("the provider refuses the client (%w); correct %s and %s, or register the client there",
		refused, setting("Client.ID"), setting(credential))
}

// Registrations returns the values to register at the provider for the client,
// which [BFF.Check] cannot all prove.
func (b *BFF) Registrations() []Registration {
	var registrations []Registration
	for _, r := range b.prober.Registrations() {
		registrations = append(registrations, Registration(r))
	}
	return registrations
}

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
