package authn

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Config configures a [Verifier]. Provider and Audience are required.
//
// Which fields apply to a token depends on its issuer:
//   - Of Provider, the primary issuer: Audience, Algorithms, Profile and PermissionsClaim
//     for JWTs; Introspection, Audience and PermissionsClaim for opaque tokens.
//   - Of a further issuer: its element of Issuers, and none of the above.
//
// Denylist and all fields after it apply to the tokens of all issuers.
type Config struct {
	// Provider is the primary issuer, at which users sign in. The parts of one process
	// share one.
	Provider *oidc.Provider
	// Audience is the identifier of this API, which the claim "aud" must contain.
	Audience string
	// Algorithms are the signature algorithms that are accepted: of RS256, PS256,
	// ES256 and EdDSA (Ed25519, under this name and that of RFC 9864). Default: RS256
	// alone.
	Algorithms []string
	// Profile says how access tokens differ from the other tokens of Provider.
	Profile ProfileConfig
	// PermissionsClaim is the claim with the permissions: a list of strings, or a
	// string with spaces between them. Names with dots between them are a path into
	// nested objects ("realm_access.roles"). Default: "permissions".
	PermissionsClaim string
	// Introspection makes opaque access tokens of Provider acceptable, by asking the
	// provider about them (RFC 7662). Default: only JWTs are accepted.
	Introspection *IntrospectionConfig

	// Issuers are further issuers of JWTs, each with rules of its own, such as those of
	// machines. Default: none.
	Issuers []IssuerConfig

	// Denylist is asked at every call whether a valid token has been revoked, and for
	// each open stream once a second. Default: no token is revoked.
	Denylist Denylist
	// CacheSize is the maximum number of verified tokens in memory; a token of 1 KB
	// takes about 3 KB. Negative for none. Default: 65,536.
	CacheSize int

	// SettingName returns the name of the program's setting for a field of Config, such
	// as "Audience", or for "Provider.Issuer", for log lines that tell an operator what
	// to change. Default: the field's own name.
	SettingName func(field string) string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets the reason of each refusal, never the token. Default: no log.
	Logger *slog.Logger
	// Audit gets an event for calls that are denied. Default: none.
	Audit audit.Handler
	// MeterProvider makes the instruments of the verifier's metrics. Default: none.
	MeterProvider metric.MeterProvider
}

// A Denylist knows revoked tokens. The lists of package denylist are such. If a
// Denylist has a method Changed() <-chan struct{}, which returns a channel that is
// closed at the next revocation, open streams end at once instead of within a
// second. It is safe for concurrent use.
type Denylist interface {
	// Revoked returns nil for a token that is not revoked. An error that wraps
	// ErrRevoked refuses the token with Unauthenticated, any other error with
	// Unavailable. Revoked must be fast, and neither change the key nor keep it.
	Revoked(ctx context.Context, key *RevocationKey) error
}

// ProfileConfig says how access tokens of the primary issuer differ from its other
// tokens, so that none passes for another (RFC 8725 §3.12). In any case a token
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
	case cfg.primary() != nil: // which has rules of its own
	case cfg.Audience == "":
		errs = append(errs, invalid.Missing("Audience",
			"register the API with the provider and give its identifier; "+
				"without one, many providers issue opaque access tokens, which are verified only with Introspection"))
	case cfg.Audience == cfg.Profile.ClientID && !cfg.Profile.RequireATJWT:
		errs = append(errs, invalid.Field("Audience", cfg.Audience,
			"is also the client's id, so that ID tokens would pass for access tokens (RFC 8725 §3.12)",
			"give the API an identifier of its own, or set Profile.RequireATJWT"))
	}
	errs = append(errs, jwk.ValidAlgorithms("Algorithms", cfg.Algorithms), cfg.validateIssuers(), invalid.In("Introspection", cfg.Introspection.validate()))
	return errors.Join(errs...)
}
