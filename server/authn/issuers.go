package authn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// An IssuerConfig has the rules for the JWTs of one issuer beside Config.Provider.
// Provider and Audiences are required. Claims are named as in [Principal.Claim].
//
// A token is verified by the rules of the issuer that it names, and by the keys of
// that issuer only; Audience, Algorithms, Profile and PermissionsClaim of [Config] do
// not apply to it. While an issuer has no keys, only its own tokens are refused
// with Unavailable.
type IssuerConfig struct {
	// Provider has the issuer's identifier and its keys. If it is Config.Provider, this
	// element replaces Audience, Algorithms, Profile and PermissionsClaim of Config, and
	// Introspection must be nil.
	Provider *oidc.Provider
	// Class is that of the issuer's callers. Default: Users.
	Class Class
	// Audiences are the identifiers of this API at the issuer, one of which a token
	// must have.
	Audiences []string
	// AudienceClaim is the claim that has the audience, such as "client_id" at Amazon
	// Cognito. A token that also has "aud" must have one of Audiences there, too.
	// Default: "aud".
	AudienceClaim string
	// Algorithms are the signature algorithms that are accepted, as in [Config]. Default:
	// RS256 alone.
	Algorithms []string
	// RequireTypes are the accepted types of the token's header ("typ"), such as
	// "at+jwt", compared without case. Default: "JWT", "at+jwt", or none.
	RequireTypes []string
	// RequireClaims has claims by name, each with the values of which the token must
	// have one: a string, one of a list of strings, or "true" or "false".
	RequireClaims map[string][]string
	// PermissionsClaim and ScopesClaim are the claims of users with their permissions
	// and with the scopes of the client. Default: "permissions"; "scope", or "scp".
	PermissionsClaim, ScopesClaim string
	// ClientIDClaim is the claim with the client's id. Default: "client_id", or "azp".
	ClientIDClaim string
	// IDTokenClients are the ids of clients whose ID tokens are refused, as in
	// [ProfileConfig].
	IDTokenClients []string
	// Grants say what machines may do. A machine has the permissions and scopes of all
	// grants that match its token, and none of the token's own; a token that no grant
	// matches is refused.
	Grants []Grant
}

// A Grant gives permissions to the machines whose token has certain claims.
type Grant struct {
	// Where has the claims by name, each with a pattern; all must match. Required. A
	// pattern is the value itself, or has "*" for a whole part between the separators
	// ":" and "/": "repo:octo/shop:ref:refs/tags/*". A "*" at the end stands for any
	// rest that is not empty, another for a part without separators.
	Where map[string]string
	// Permissions and Scopes are those that policies ask for.
	Permissions, Scopes []string
}

// issuer returns the issuer's identifier, "" without a provider.
func (c *IssuerConfig) issuer() string {
	if c.Provider == nil {
		return ""
	}
	return c.Provider.Issuer()
}

// primary returns the element of Issuers with the rules of the primary issuer, nil if
// there is none.
func (cfg Config) primary() *IssuerConfig {
	for i := range cfg.Issuers {
		if cfg.Provider != nil && cfg.Issuers[i].Provider == cfg.Provider {
			return &cfg.Issuers[i]
		}
	}
	return nil
}

// validateIssuers returns what is wrong with Issuers and how they fit together with the
// primary one.
func (cfg Config) validateIssuers() error {
	var errs []error
	seen := map[string]int{}
	for i := range cfg.Issuers {
		c := &cfg.Issuers[i]
		field := fmt.Sprintf("Issuers[%d]", i)
		if issuer := c.issuer(); issuer != "" {
			key := strings.TrimSuffix(issuer, "/")
			if first, twice := seen[key]; twice {
				errs = append(errs, invalid.Field(field+".Provider", issuer,
					fmt.Sprintf("is also that of element %d", first), "join the two, or remove one"))
			}
			seen[key] = i
			if cfg.Provider != nil && c.Provider != cfg.Provider && key == strings.TrimSuffix(cfg.Provider.Issuer(), "/") {
				errs = append(errs, invalid.Field(field+".Provider", issuer,
					"is the issuer of Config.Provider", "give the same Provider, which the element then has the rules of"))
			}
		}
		if c.Provider != nil && c.Provider == cfg.Provider && cfg.Introspection != nil {
			errs = append(errs, invalid.Field(field+".Provider", c.issuer(),
				"has rules of its own, which opaque tokens would not be held to", "remove the element, or Introspection"))
		}
		errs = append(errs, invalid.In(field, c.validate(cfg)))
	}
	return errors.Join(errs...)
}

func (c *IssuerConfig) validate(cfg Config) error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	if c.Provider == nil {
		add(invalid.Missing("Provider", "give the oidc.Provider that has the issuer's keys"))
	}
	if c.Class != Users && c.Class != Machines {
		add(invalid.Field("Class", int(c.Class), "is no class", "give Users or Machines"))
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		add(invalid.Missing("Audiences", "give the identifiers of this API at the issuer; any token of the issuer would be accepted otherwise"))
	}
	switch own := c.AudienceClaim == "" || c.AudienceClaim == "aud"; {
	case c.accessTypesOnly() || cfg.Profile.ClientID == "" || !slices.Contains(c.Audiences, cfg.Profile.ClientID):
	case own:
		add(invalid.Field("Audiences", cfg.Profile.ClientID,
			"is also the client's id, so that ID tokens would pass for access tokens (RFC 8725 §3.12)",
			"give the API an identifier of its own, or set RequireTypes to at+jwt"))
	case len(c.RequireClaims) == 0:
		add(invalid.Field("Audiences", cfg.Profile.ClientID,
			"is also the client's id, so that other tokens of the client could pass for access tokens (RFC 8725 §3.12)",
			"set RequireClaims to what access tokens have only, such as token_use: access, or RequireTypes to at+jwt"))
	}
	add(jwk.ValidAlgorithms("Algorithms", c.Algorithms))
	if slices.Contains(c.RequireTypes, "") {
		add(invalid.Field("RequireTypes", strings.Join(c.RequireTypes, ","), "has an empty type", "give types such as at+jwt"))
	}
	for name, values := range c.RequireClaims {
		if name == "" || len(values) == 0 {
			add(invalid.Field("RequireClaims", name, "has no name or no value", "give the claim and the values of which a token must have one"))
		}
	}
	for i := range c.Grants {
		if err := c.Grants[i].validate(); err != nil {
			add(invalid.In(fmt.Sprintf("Grants[%d]", i), err))
		}
	}
	if c.Class == Machines {
		add(c.validateMachines(cfg))
	} else if len(c.Grants) > 0 {
		add(invalid.Field("Grants", len(c.Grants), "are for machines only", "set the class to machines, or remove the grants"))
	}
	return errors.Join(errs...)
}

// accessTypesOnly reports whether only tokens are accepted that say they are access tokens
// (RFC 9068).
func (c *IssuerConfig) accessTypesOnly() bool {
	return len(c.RequireTypes) > 0 && !slices.ContainsFunc(c.RequireTypes, func(typ string) bool {
		return !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "application/at+jwt")
	})
}

// validateMachines returns what is wrong for machines only.
func (c *IssuerConfig) validateMachines(cfg Config) error {
	var errs []error
	if len(c.Grants) == 0 {
		errs = append(errs, invalid.Missing("Grants", "say which claims give which permissions; each token would be refused otherwise"))
	}
	for name, value := range map[string]string{"PermissionsClaim": c.PermissionsClaim, "ScopesClaim": c.ScopesClaim} {
		if value != "" {
			errs = append(errs, invalid.Field(name, value, "is set for machines, whose tokens give no permissions", "remove it, and use Grants"))
		}
	}
	if c.Provider != nil && c.Provider == cfg.Provider {
		errs = append(errs, invalid.Field("Class", c.Class, "is not possible for the issuer that users sign in at",
			"set it to Users, or give the machines an issuer of their own"))
	}
	return errors.Join(errs...)
}

func (g *Grant) validate() error {
	var errs []error
	if len(g.Where) == 0 {
		errs = append(errs, invalid.Missing("Where", "name the claims that a token must have; the grant would be for every token of the issuer otherwise"))
	}
	for name, pattern := range g.Where {
		if name == "" {
			errs = append(errs, invalid.Missing("Where", "give each pattern the name of a claim"))
		}
		if problem := patternProblem(pattern); problem != "" {
			errs = append(errs, invalid.Field("Where."+name, pattern, problem,
				`give the value itself, or "*" for a whole part between the separators ":" and "/"`))
		}
	}
	return errors.Join(errs...)
}

// separators are the characters between the parts of a claim that patterns are for, such
// as the "sub" of GitHub's and of Kubernetes' tokens.
const separators = ":/"

// patternProblem returns what is wrong with a pattern, "" if nothing is. A "*" beside
// other characters is refused: "repo:octo*" would match "repo:octo-evil/shop".
func patternProblem(pattern string) string {
	switch {
	case pattern == "":
		return "is empty"
	case strings.Trim(pattern, "*"+separators) == "":
		return "matches any value"
	}
	for i := range len(pattern) {
		if pattern[i] != '*' {
			continue
		}
		before := i == 0 || strings.IndexByte(separators, pattern[i-1]) >= 0
		after := i == len(pattern)-1 || strings.IndexByte(separators, pattern[i+1]) >= 0
		if !before || !after {
			return `has "*" beside other characters`
		}
	}
	return ""
}

// matchPattern reports whether a pattern without a problem matches a value.
func matchPattern(pattern, value string) bool {
	for {
		star := strings.IndexByte(pattern, '*')
		if star < 0 {
			return pattern == value
		}
		if len(value) <= star || value[:star] != pattern[:star] {
			return false
		}
		pattern, value = pattern[star+1:], value[star:]
		if pattern == "" {
			return true // the rest, which is not empty
		}
		end := strings.IndexAny(value, separators)
		if end <= 0 {
			return false
		}
		value = value[end:]
	}
}
