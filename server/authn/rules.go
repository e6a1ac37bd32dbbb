package authn

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// issuers returns the rules of Config.Issuers, and sets v.further.
func (v *Verifier) issuers(cfg Config, setting func(string) string) []token.AccessIssuer[*Principal] {
	var all []token.AccessIssuer[*Principal]
	for i := range cfg.Issuers {
		c := &cfg.Issuers[i]
		if c.Provider != cfg.Provider {
			v.further = append(v.further, c.Provider)
		}
		all = append(all, token.AccessIssuer[*Principal]{
			Provider: c.Provider, Audiences: c.Audiences, AudienceClaim: c.AudienceClaim,
			Algorithms: c.Algorithms, AlgorithmsSetting: setting(fmt.Sprintf("Issuers[%d].Algorithms", i)),
			Types: c.RequireTypes, IDTokenClients: c.IDTokenClients,
			Check: c.checks(), Principal: c.principals(),
		})
	}
	return all
}

// checks returns the checks of claims that need no key.
func (c *IssuerConfig) checks() func(*token.Claims) error {
	required, names := maps.Clone(c.RequireClaims), slices.Sorted(maps.Keys(c.RequireClaims))
	scopes, client := c.ScopesClaim, c.ClientIDClaim
	return func(claims *token.Claims) error {
		for _, name := range names {
			texts, _ := claims.Texts(name)
			if !slices.ContainsFunc(texts, func(text string) bool { return slices.Contains(required[name], text) }) {
				return fmt.Errorf("claim %s has none of %q", name, required[name])
			}
		}
		if client != "" {
			value, present := claims.Lookup(client)
			id, ok := value.(string)
			if present && !ok {
				return fmt.Errorf("claim %s is not a string", client)
			}
			claims.ClientID = id
		}
		if scopes != "" {
			list, ok := claims.Strings(scopes)
			if _, present := claims.Lookup(scopes); present && !ok {
				return fmt.Errorf("claim %s is neither a list of strings nor a string", scopes)
			}
			claims.Scopes = list
		}
		return nil
	}
}

// principals returns the function that makes principals of verified claims.
func (c *IssuerConfig) principals() func(*token.Claims) (*Principal, error) {
	if c.Class != Machines {
		claim := cmp.Or(c.PermissionsClaim, defaultPermissionsClaim)
		return func(claims *token.Claims) (*Principal, error) { return newPrincipal(claims, claim) }
	}
	grants := slices.Clone(c.Grants)
	return func(claims *token.Claims) (*Principal, error) {
		var permissions, scopes []string
		matched := false
		for i := range grants {
			if grants[i].matches(claims) {
				matched = true
				permissions, scopes = append(permissions, grants[i].Permissions...), append(scopes, grants[i].Scopes...)
			}
		}
		if !matched {
			return nil, errors.New("no grant matches the claims")
		}
		p := principal(claims)
		p.Class = Machines
		p.Permissions, p.Scopes = sortedSet(permissions), sortedSet(scopes)
		return p, nil
	}
}

// matches reports whether the claims are those of the grant. A claim that is a list has
// one value that matches.
func (g *Grant) matches(claims *token.Claims) bool {
	for name, pattern := range g.Where {
		texts, _ := claims.Texts(name)
		if !slices.ContainsFunc(texts, func(text string) bool { return matchPattern(pattern, text) }) {
			return false
		}
	}
	return true
}

func sortedSet(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}
