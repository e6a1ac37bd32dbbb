package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// An issuerConfig is an element of the setting issuers: where the keys come from, and the
// rules for the tokens.
type issuerConfig struct {
	oidc.Config
	authn.IssuerConfig
}

// issuerKeys are the keys of an element.
var issuerKeys = []settings.Key{
	{Name: "issuer", Field: "Issuer", Required: true,
		Help: "The claim iss of the tokens, byte for byte; with metadata (no jwks-url, no jwks-file) only a " +
			"slash at the end may differ from them. If it is oidc-issuer, the element has the rules for its " +
			"tokens in the place of audience, access-token-algorithms, permissions-claim, require-at-jwt and " +
			"id-token-clients, and no keys about addresses and files."},
	{Name: "class", Field: "Class", Choices: []string{"users", "machines"},
		Help: "users, or machines, which reach only methods whose policy names the class, and have only the " +
			"permissions of grants. Default: users."},
	{Name: "audiences", Field: "Audiences", Required: true,
		Help: "The identifiers of this API at the issuer, one of which a token must have."},
	{Name: "audience-claim", Field: "AudienceClaim",
		Help: "The claim with the audience, such as client_id at Amazon Cognito. A token that has aud besides must " +
			"have one of audiences there, too. Default: aud."},
	{Name: "algorithms", Field: "Algorithms",
		Help: "The algorithms of signatures that are accepted: RS256, PS256, ES256, EdDSA. Default: RS256."},
	{Name: "jwks-url", Field: "JWKSURL",
		Help: "The address of the key set, for an issuer whose metadata cannot be fetched. Default: the one in the metadata."},
	{Name: "jwks-file", Field: "JWKSFile",
		Help: "A file with the key set, in the place of an address. It is read every 5 seconds; while it cannot be " +
			"used, the keys read before stay in use, for 24 hours."},
	{Name: "ca-file", Field: "CAFile",
		Help: "A PEM file with the authorities that alone are trusted for requests to the issuer. Default: the system's."},
	{Name: "bearer-token-file", Field: "BearerTokenFile",
		Help: "A file with the token that requests to the issuer carry, read for each of them, as the API server of " +
			"Kubernetes requires. It is sent to the configured hosts only."},
	{Name: "internal-url", Field: "InternalURL",
		Help: "The origin at which this process reaches the issuer, if it is not that of issuer (see oidc-internal-url)."},
	{Name: "require-typ", Field: "RequireTypes",
		Help: "The accepted types of the token's header, such as at+jwt. Default: JWT, at+jwt, or none."},
	{Name: "require-claims", Field: "RequireClaims",
		Help: "Claims that a token must have, each with a value or a list of values: token_use: access."},
	{Name: "permissions-claim", Field: "PermissionsClaim",
		Help: "The claim with a user's permissions. Default: permissions."},
	{Name: "scopes-claim", Field: "ScopesClaim",
		Help: "The claim with the scopes of a user's client. Default: scope, or scp."},
	{Name: "client-id-claim", Field: "ClientIDClaim",
		Help: "The claim with the client's id, such as cid at Okta. Default: client_id, or azp."},
	{Name: "id-token-clients", Field: "IDTokenClients",
		Help: "The ids of clients whose ID tokens are refused, as in the setting id-token-clients."},
	{Name: "grants", Field: "Grants",
		Help: "What machines may do. A machine has what all grants that match its token give; a token that none " +
			"matches is refused. Required for machines.",
		Keys: []settings.Key{
			{Name: "where", Field: "Where", Required: true,
				Help: `Claims, each with a pattern, all of which must match: the value itself, or with "*" for a ` +
					`whole part between ":" and "/", or at the end for any rest: repo:octo/shop:ref:refs/tags/*.`},
			{Name: "permissions", Field: "Permissions", Help: "Permissions that policies ask for."},
			{Name: "scopes", Field: "Scopes", Help: "Scopes that policies ask for."},
		}},
}

// isPrimary reports whether an element has the rules for the tokens of oidc-issuer.
func (p *program) isPrimary(c issuerConfig) bool {
	return strings.TrimSuffix(c.Issuer, "/") == strings.TrimSuffix(p.cfg.Provider.Issuer, "/")
}

// openIssuers returns the elements of issuers with their providers; primary is that of
// oidc-issuer. configure completes the configuration of a provider. The element of an
// error has no provider.
func (p *program) openIssuers(primary *oidc.Provider, configure func(*oidc.Config)) ([]authn.IssuerConfig, error) {
	list := make([]authn.IssuerConfig, len(p.cfg.Issuers))
	var errs []error
	for i := range p.cfg.Issuers {
		c := p.cfg.Issuers[i]
		list[i] = c.IssuerConfig
		field := fmt.Sprintf("Issuers[%d]", i)
		if p.isPrimary(c) {
			list[i].Provider = primary
			for name, value := range map[string]string{
				"JWKSURL": c.JWKSURL, "JWKSFile": c.JWKSFile, "CAFile": c.CAFile, "BearerTokenFile": c.BearerTokenFile, "InternalURL": c.InternalURL,
			} {
				if value != "" {
					errs = append(errs, invalid.Field(field+"."+name, value, "is set for the issuer that users sign in at, which has settings of its own", "remove it"))
				}
			}
			continue
		}
		if err := c.Config.Validate(); err != nil {
			errs = append(errs, invalid.In(field, err))
			continue
		}
		if configure != nil {
			configure(&c.Config)
		}
		var err error
		if list[i].Provider, err = oidc.NewProvider(c.Config); err != nil {
			fields, others := invalid.All(err)
			for _, e := range fields { // without the part's name
				errs = append(errs, invalid.In(field, &invalid.Error{Field: strings.TrimPrefix(e.Field, "oidc."), Value: e.Value, Problem: e.Problem, Remedy: e.Remedy}))
			}
			errs = append(errs, others...)
		}
	}
	return list, errors.Join(errs...)
}

// validateServer returns what is wrong with the server, and with the elements of issuers
// in terms of those.
func (p *program) validateServer() error {
	cfg := p.cfg.Server
	var issuersErr error
	if len(p.cfg.Issuers) > 0 {
		cfg.Authn.Provider, _ = oidc.NewProvider(p.cfg.Provider) // nil if it is wrong, which is reported elsewhere
		cfg.Authn.Issuers, issuersErr = p.openIssuers(cfg.Authn.Provider, nil)
	}
	return errors.Join(issuersErr, p.inIssuers(cfg))
}

// inIssuers returns the errors of the server's configuration; those about Authn.Issuers are
// about Issuers of the program.
func (p *program) inIssuers(cfg server.Config) error {
	fields, errs := invalid.All(cfg.Validate())
	for _, e := range fields {
		path, ofIssuer := strings.CutPrefix(e.Field, "Authn.Issuers[")
		switch at := strings.TrimSuffix(path, "].Provider"); {
		case !ofIssuer:
			errs = append(errs, invalid.In("Server", e))
			continue
		case at != path && e.Problem == "is missing": // what is wrong with its configuration is reported
			continue
		case at != path:
			path = at + "].Issuer"
		}
		named := *e
		named.Field = "Issuers[" + path
		errs = append(errs, &named)
	}
	return errors.Join(errs...)
}

// addIssuers makes the providers of the setting issuers.
func (p *parts) addIssuers() (err error) {
	p.issuers, err = p.openIssuers(p.provider, func(cfg *oidc.Config) {
		own := p.cfg.Provider
		cfg.Now, cfg.Audit, cfg.MeterProvider, cfg.TracerProvider = own.Now, own.Audit, own.MeterProvider, own.TracerProvider
		cfg.Logger = p.logger.With("part", "provider")
	})
	if err != nil {
		return p.values.Explain(err)
	}
	for _, c := range p.issuers {
		if c.Provider == p.provider {
			continue
		}
		p.readiness.Add("issuer "+c.Provider.Issuer(), func(context.Context) error {
			if err := c.Provider.Ready(); err != nil { // the tokens of the other issuers are verified all the same
				return &admin.Warning{Err: err}
			}
			return nil
		})
	}
	return nil
}

// published returns the issuers that clients may get tokens from, besides oidc-issuer.
func (p *program) published() []string {
	var urls []string
	for _, c := range p.cfg.Issuers {
		if !p.isPrimary(c) && (strings.HasPrefix(c.Issuer, "https://") || strings.HasPrefix(c.Issuer, "http://")) && !slices.Contains(urls, c.Issuer) {
			urls = append(urls, c.Issuer)
		}
	}
	return urls
}
