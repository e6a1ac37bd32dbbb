package authn

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/callstate"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A Principal is the caller, as described by a verified access token. Calls with the
// same token share it, so it must not be changed. It is safe for concurrent use.
type Principal struct {
	// Issuer is the provider that issued the token (claim "iss").
	Issuer string
	// Class is the kind of callers that the issuer's tokens stand for.
	Class Class
	// Subject is the caller's identifier at the issuer (claim "sub"). It is unique
	// only together with Issuer, and empty for a token that names only a client.
	Subject string
	// ClientID is the OAuth 2.0 client that the token was issued to (claim
	// "client_id", or "azp").
	ClientID string
	// Scopes are the scopes granted to the client (claim "scope" or "scp").
	Scopes []string
	// Permissions are the subject's permissions, from the claim that
	// Config.PermissionsClaim names.
	Permissions []string
	// SessionID is the provider's session (claim "sid"); "" if absent.
	SessionID string
	// TokenID identifies the token (claim "jti"); "" if absent. It may be logged;
	// the token may not.
	TokenID string
	// ACR is the authentication context class of the sign-in; "" if absent.
	ACR string
	// AuthTime is when the user last actively signed in; zero if absent.
	AuthTime time.Time
	// IssuedAt and ExpiresAt are the claims "iat" and "exp"; zero if absent. Only an
	// opaque token may lack ExpiresAt (IntrospectionConfig).
	IssuedAt, ExpiresAt time.Time

	claims *token.Claims
}

// HasScope reports whether the token has the scope.
func (p *Principal) HasScope(scope string) bool {
	return slices.Contains(p.Scopes, scope)
}

// HasPermission reports whether the token has the permission.
func (p *Principal) HasPermission(permission string) bool {
	return slices.Contains(p.Permissions, permission)
}

// Claim returns any claim of the token as encoding/json decodes it, except that
// numbers are a json.Number. It decodes at every call, so the caller may change the
// value. The path is a name, or names with dots between for a claim in nested
// objects ("realm_access.roles"). A claim whose own name has dots, such as a URL,
// is found by that name.
func (p *Principal) Claim(path string) (any, bool) {
	if p.claims == nil {
		return nil, false
	}
	return p.claims.Lookup(path)
}

// expired reports whether the token has expired.
func (p *Principal) expired(now time.Time) bool {
	return !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
}

// NewContext returns a context with the principal. The interceptors set it for
// every call; services need NewContext only in their tests.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, callstate.PrincipalKey{}, p)
}

// withPrincipal is NewContext for the first interceptor of a call.
func withPrincipal(ctx context.Context, p *Principal) context.Context {
	if state := callstate.Of(ctx); state != nil && state.Principal == nil {
		state.Principal = p
		return ctx
	}
	return NewContext(ctx, p)
}

// FromContext returns the principal of a call. A call of a public method has none if it
// has no token, or that of a machine.
func FromContext(ctx context.Context) (*Principal, bool) {
	p, _ := ctx.Value(callstate.PrincipalKey{}).(*Principal)
	return p, p != nil
}
