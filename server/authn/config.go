package authn

import (
	"errors"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// ProfileConfig says how access tokens differ from the other tokens of their
// issuer, so that none passes for another (RFC 8725 §3.12). In any case a token
// is refused that has a claim of ID tokens or logout tokens only ("at_hash",
// "c_hash", "s_hash", "events", "nonce").
type ProfileConfig struct {
	// RequireATJWT accepts only tokens with the type "at+jwt" (RFC 9068). It must
	// be set if the audience is also the id of a client: ID tokens would pass for
	// access tokens otherwise.
	RequireATJWT bool
	// IDTokenClients are the ids of clients whose ID tokens are refused: a token
	// that has one of them as an audience is accepted only with the type "at+jwt".
	IDTokenClients []string
	// InsecureIDTokenShape accepts tokens with "nonce" or "at_hash", for issuers
	// whose access tokens look like ID tokens (Dex). Holders of an ID token for
	// the audience can then call the API with it.
	InsecureIDTokenShape bool
	// ClientID is the id of the client that users sign in with. Validate compares
	// it with the audience; it has no other effect. Default: not compared.
	ClientID string
}

// Validate returns everything that is wrong with the values of cfg, joined. It
// contacts nothing; [NewVerifier] calls it.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.Provider == nil {
		errs = append(errs, invalid.Missing("Provider", "give the oidc.Provider that issues the tokens"))
	}
	switch {
	case cfg.Audience == "":
		errs = append(errs, invalid.Missing("Audience",
			"register the API with the provider and give its identifier; without one, many providers issue opaque access tokens, which cannot be verified"))
	case cfg.Audience == cfg.Profile.ClientID && !cfg.Profile.RequireATJWT:
		errs = append(errs, invalid.Field("Audience", cfg.Audience,
			"is also the client's id, so that ID tokens would pass for access tokens (RFC 8725 §3.12)",
			"give the API an identifier of its own, or set Profile.RequireATJWT"))
	}
	return errors.Join(errs...)
}
