package authn

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A Principal is who is calling, as a verified access token says it. It is
// shared between calls that carry the same token and must not be changed. It
// is safe for concurrent use.
type Principal struct {
	// Issuer is the provider that vouches for the rest (claim "iss").
	Issuer string
	// Subject is the caller's identifier at the issuer (claim "sub"). It is
	// unique only together with Issuer, and empty for a token that names a
	// client alone.
	Subject string
	// ClientID is the OAuth 2.0 client that the token was issued to (claim
	// "client_id", or "azp").
	ClientID string
	// Scopes are what the client was granted (claim "scope" or "scp").
	Scopes []string
	// Permissions are what the subject may do (the claim that the
	// configuration names, "permissions" by default).
	Permissions []string
	// SessionID is the provider's session (claim "sid"), where it says.
	SessionID string
	// TokenID identifies the token (claim "jti"), where it has one. It may be
	// logged; the token may not.
	TokenID string
	// ACR is the authentication context class reference of the sign-in.
	ACR string
	// AuthTime is when the person last actively signed in; zero if unsaid.
	AuthTime time.Time
	// IssuedAt and ExpiresAt bound the token's life; IssuedAt is zero if
	// unsaid.
	IssuedAt, ExpiresAt time.Time

	claims *token.Claims
}

// HasScope reports whether the token carries the scope.
func (p *Principal) HasScope(scope string) bool {
	return slices.Contains(p.Scopes, scope)
}

// HasPermission reports whether the token carries the permission.
func (p *Principal) HasPermission(permission string) bool {
	return slices.Contains(p.Permissions, permission)
}

// Claim returns a further claim of the token as encoding/json decodes it, but
// for numbers, which are a json.Number. It decodes anew at every call: the
// value is the caller's own. A claim is named by its name, or by a path into nested objects with dots
// between ("realm_access.roles"); a claim whose own name has dots, such as a
// URL, is found by that name.
func (p *Principal) Claim(path string) (any, bool) {
	if p.claims == nil {
		return nil, false
	}
	return p.claims.Lookup(path)
}

type principalKey struct{}

// NewContext returns a context that carries the principal. The interceptors
// do this for every call; services need it in their tests only.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal of a call. There is none in a call of a
// public method without a token.
func FromContext(ctx context.Context) (*Principal, bool) {
	p, _ := ctx.Value(principalKey{}).(*Principal)
	return p, p != nil
}
