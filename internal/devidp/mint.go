package devidp

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// A TokenRequest describes an access token, also an invalid one, for tests of a
// resource server.
type TokenRequest struct {
	// User is the key or subject of a user, Machine the id of a machine. One of them is
	// required.
	User, Machine string
	// Scopes are the granted scopes; they are not checked. nil means all that the user
	// or the machine can be granted.
	Scopes []string
	// Lifetime is the time until the token expires; 0 means that of Behavior, a negative
	// one that it has expired.
	Lifetime time.Duration
	// Claims are added to the claims of the token, and replace those of the same name.
	// The value nil removes a claim.
	Claims map[string]any
	// Type is the typ header; "" means at+jwt.
	Type string
	// UnknownKey signs with a key that the provider does not publish.
	UnknownKey bool
}

// Mint returns an access token and its claims. The provider does not keep it: its
// userinfo endpoint refuses it.
func (p *Provider) Mint(req TokenRequest) (token string, claims map[string]any, err error) {
	now := p.now()
	var registered oidc.TokenClaims
	var scopes []string
	more := map[string]any{}
	switch machine := p.clients.find(req.Machine); {
	case (req.User == "") == (req.Machine == ""):
		return "", nil, &invalid.Error{Field: "User", Problem: "and machine are both given or both missing", Remedy: "give one of them"}
	case req.User != "":
		u, err := p.userNamed(req.User)
		if err != nil {
			return "", nil, err
		}
		acr, _ := u.Reach(nil)
		registered = oidc.TokenClaims{
			Subject: u.Subject, ClientID: p.clients[0].ID, AuthTime: oidc.FromTime(now), AuthenticationContextClassReference: acr,
		}
		scopes = u.AllScopes()
		maps.Copy(more, u.Claims)
		more[directory.PermissionsClaim] = append([]string{}, u.Permissions...)
	case machine == nil || machine.machine == nil:
		var ids []string
		for _, c := range p.clients {
			if c.machine != nil {
				ids = append(ids, c.ID)
			}
		}
		return "", nil, unknown("Machine", req.Machine, ids)
	default:
		m := machine.machine
		registered, scopes, more = p.machineClaims(m, slices.Concat(m.Permissions, m.Scopes))
	}
	if req.Scopes != nil {
		scopes = req.Scopes
	}
	if req.Lifetime > maxLifetime || req.Lifetime < -maxLifetime {
		return "", nil, invalid.Field("Lifetime", req.Lifetime, "is too long", "give at most "+maxLifetime.String())
	}
	full := p.accessClaims(registered, scopes, more, now)
	if req.Lifetime != 0 {
		full.Expiration = oidc.FromTime(now.Add(req.Lifetime))
		if req.Lifetime < 0 { // issued and expired in the past
			full.IssuedAt = oidc.FromTime(now.Add(2 * req.Lifetime))
		}
	}
	raw, err := json.Marshal(full)
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", nil, err
	}
	for name, value := range req.Claims {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	sign := p.signing.sign
	if req.UnknownKey {
		key, err := newSigningKey(p.signing.accessAlg, generateKey)
		if err != nil {
			return "", nil, err
		}
		sign = key.sign
	}
	typ := typeAccessToken
	if req.Type != "" {
		typ = jose.ContentType(req.Type)
	}
	if token, err = sign(claims, typ); err != nil {
		return "", nil, errors.Join(errors.New("the token cannot be signed"), err)
	}
	return token, claims, nil
}
