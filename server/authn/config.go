package authn

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Config configures a [Verifier]. Provider and Audience are required.
type Config struct {
	// Provider issues the tokens. The parts of one process share one.
	Provider *oidc.Provider
	// Audience is the identifier of this API, which the claim "aud" must contain.
	Audience string
	// Profile says how access tokens differ from the other tokens of the issuer.
	Profile ProfileConfig
	// PermissionsClaim is the claim with the permissions: a list of strings, or a
	// string with spaces between them. Names with dots between them are a path into
	// nested objects ("realm_access.roles"). Default: "permissions".
	PermissionsClaim string

	// Revoked is asked at every call whether a valid token has been revoked: nil
	// accepts it, an error that wraps ErrRevoked refuses it with Unauthenticated, any
	// other error with Unavailable. For each open stream it is asked again once a
	// second. It must be safe for concurrent use and fast, and neither change the key
	// nor keep it. The lists of package denylist have such a method. Default: no
	// token is revoked.
	Revoked func(ctx context.Context, key *RevocationKey) error
	// RevokedChanged returns a channel that is closed at the next revocation, so that
	// open streams end at once instead of within a second. The lists of package
	// denylist have it as Changed. Default: none.
	RevokedChanged func() <-chan struct{}
	// CacheSize is the maximum number of verified tokens in memory; a token of 1 KB
	// takes about 3 KB. Negative for none. Default: 65,536.
	CacheSize int

	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets the reason of each refusal, never the token. Default: no log.
	Logger *slog.Logger
}

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
