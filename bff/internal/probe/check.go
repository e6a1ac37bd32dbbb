// Package probe owns the proofs of a configuration at the provider, made before
// the first login: metadata, keys, clocks, the client's credential, the
// redirect URI and access tokens. It leaves the requests themselves to package
// rp, and the report to internal/check.
package probe

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/providercheck"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A Prober proves the configuration of a relying party. It is safe for
// concurrent use.
type Prober struct {
	party *rp.Party
	cfg   rp.Config
}

// New returns a Prober.
func New(party *rp.Party) *Prober { return &Prober{party, party.Config()} }

// Check proves what it can. verify, if not nil, verifies an access token as the
// server does.
func (p *Prober) Check(ctx context.Context, verify func(ctx context.Context, accessToken string) error) []check.Result {
	provider := providercheck.Checker{Provider: p.cfg.Provider, Setting: p.cfg.Setting}
	md, result := provider.Metadata(ctx)
	if md == nil {
		return []check.Result{result}
	}
	results := []check.Result{result, provider.Keys(ctx, md)}
	mismatches := p.mismatches(md)
	if len(mismatches) == 0 {
		mismatches = provider.Algorithms("ID token", p.cfg.IDTokenAlgorithms, "Login.IDTokenAlgorithms")
	}
	if len(mismatches) > 0 {
		return append(results, mismatches...) // requests would give the same results in other words
	}
	r := &run{Prober: p, Config: p.cfg, md: md}
	credential := r.credential(ctx)
	results = append(results, credential)
	if credential.Status != check.Wrong {
		results = append(results, r.redirect(ctx), r.accessToken(ctx, verify))
	}
	results = append(results, providercheck.Clock(r.skew, r.dated))
	return append(results, p.remarks(md)...)
}

// Registrations returns the values to register at the provider for the client.
func (p *Prober) Registrations() []check.Registration {
	base := p.cfg.BaseURL
	list := []check.Registration{
		{Name: "redirect URI (callback)", Value: p.cfg.Callback},
		{Name: "post-logout redirect URI", Value: base},
		{Name: "back-channel logout URI", Value: base + route.BackchannelLogout},
		{Name: "front-channel logout URI", Value: base + route.FrontchannelLogout},
		{Name: "web origin (where asked for)", Value: base},
	}
	if p.cfg.Client.Key != "" {
		list = append(list, check.Registration{Name: "key set URI (jwks_uri)", Value: base + route.ClientKeys})
	}
	if p.cfg.Audience != "" {
		list = append(list, check.Registration{Name: "API (audience)", Value: p.cfg.Audience})
	}
	return list
}

// mismatchRetry is how often LogMismatches looks for metadata that is missing.
const mismatchRetry = 5 * time.Second

// LogMismatches waits for the provider's metadata and logs what in them does
// not fit the configuration. It stops nothing, because metadata can be wrong.
func (p *Prober) LogMismatches(ctx context.Context) {
	md, err := p.cfg.Provider.AwaitMetadata(ctx)
	retry := time.NewTicker(mismatchRetry)
	defer retry.Stop()
	for err != nil {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
			md, err = p.cfg.Provider.Metadata()
		}
	}
	for _, m := range p.mismatches(md) {
		p.cfg.Logger.WarnContext(ctx, "provider metadata does not go with the configuration", "problem", m.What, "remedy", m.Remedy)
	}
}

// mismatches returns what in the metadata does not fit the configuration. What
// the metadata do not mention is no mismatch.
func (p *Prober) mismatches(md *oidc.Metadata) []check.Result {
	var results []check.Result
	lacks := func(list []string, value string) bool { return len(list) > 0 && !slices.Contains(list, value) }
	add := func(remedy, format string, args ...any) {
		results = append(results, check.Bad("metadata", remedy, format, args...))
	}
	if err := p.party.Fits(md); err != nil {
		add("", "%v", err)
	}
	if methods := md.CodeChallengeMethodsSupported; lacks(methods, "S256") {
		add("turn it on there", "the provider does not offer PKCE with S256 (it lists %v), which every login here uses", methods)
	}
	if types := md.ResponseTypesSupported; lacks(types, "code") {
		add("turn the authorization code flow on there", "the provider does not offer the response type code (it lists %v), which every login here uses", types)
	}
	if problem, remedy := p.algorithmMismatch(md.IDTokenSigningAlgValuesSupported); problem != "" {
		add(remedy, "%s", problem)
	}
	if mode, modes := p.cfg.ResponseMode, md.ResponseModesSupported; mode != "" && lacks(modes, mode) {
		add("unset it", "%s=%s: the provider does not offer it (it lists %v)", p.cfg.Setting("Login.ResponseMode"), mode, modes)
	}
	if problem, remedy := p.party.Client().Mismatch(md, p.cfg.Setting); problem != "" {
		add(remedy, "%s", problem)
	}
	return results
}

// algorithmMismatch says what is wrong if the provider lists algorithms of ID tokens, and
// none that is allowed.
func (p *Prober) algorithmMismatch(listed []string) (problem, remedy string) {
	allowed, setting := p.party.IDTokenAlgorithms(), p.cfg.Setting("Login.IDTokenAlgorithms")
	var usable []string
	for _, alg := range listed {
		name := jwk.Canonical(alg)
		if slices.Contains(allowed, name) {
			return "", ""
		}
		if name != "" && !slices.Contains(usable, name) {
			usable = append(usable, name)
		}
	}
	if len(listed) == 0 {
		return "", ""
	}
	remedy = "turn one on there that is supported: " + strings.Join(jwk.Algorithms(), ", ")
	if len(usable) > 0 {
		remedy = "set " + setting + "=" + strings.Join(usable, ",") + ", or turn it on there"
	}
	return fmt.Sprintf("%s=%s: the provider does not sign ID tokens with that (it lists %v)", setting, strings.Join(allowed, ","), listed), remedy
}

// unlistedScopes returns the requested scopes that the provider does not list.
// It need not list all (Discovery §3).
func (p *Prober) unlistedScopes(md *oidc.Metadata) []string {
	if len(md.ScopesSupported) == 0 {
		return nil
	}
	scope, _ := p.party.Scope(md)
	return slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return slices.Contains(md.ScopesSupported, s) })
}

// remarks returns what works with a consequence.
func (p *Prober) remarks(md *oidc.Metadata) []check.Result {
	results := []check.Result{p.refreshRemark(md)}
	note := func(proof, format string, args ...any) {
		results = append(results, check.Result{Status: check.Warn, Proof: proof, What: fmt.Sprintf(format, args...)})
	}
	if p.party.EndSessionURL(md, "", "") == "" {
		note("logout", "no end-session endpoint: logging out here leaves the user signed in at the provider")
	}
	if len(md.CodeChallengeMethodsSupported) == 0 {
		note("pkce", "the provider does not say whether it enforces PKCE; it gets a code challenge at every login all the same")
	}
	if unlisted := p.unlistedScopes(md); len(unlisted) > 0 {
		note("scope", "not in the provider's list of scopes: %s; if logins end with invalid_scope, allow them there or take them out of %s",
			strings.Join(unlisted, " "), p.cfg.Setting("Login.Scope"))
	}
	return results
}

// refreshRemark tells whether sessions outlive their first access token.
func (p *Prober) refreshRemark(md *oidc.Metadata) check.Result {
	_, offline := p.party.Scope(md)
	grants := md.GrantTypesSupported
	const short = ": a session lasts as long as its first access token, then the user signs in again"
	warn := func(what, remedy string) check.Result {
		return check.Result{Status: check.Warn, Proof: "refresh", What: what + short, Remedy: remedy}
	}
	switch {
	case len(grants) > 0 && !slices.Contains(grants, "refresh_token"):
		return warn("the provider does not list the grant refresh_token", "allow it there")
	case rp.IsKeycloak(md):
		return check.Good("refresh", "this is Keycloak: refresh tokens come without offline access, and sessions outlive their first access token")
	case rp.IsCognito(md):
		return check.Good("refresh", "this is Cognito: refresh tokens come without offline access, and sessions outlive their first access token")
	case offline:
		return check.Good("refresh", "offline access is offered and asked for: sessions outlive their first access token, if the client may have refresh tokens")
	case !slices.Contains(md.ScopesSupported, "offline_access"):
		return warn("no refresh token is to be expected, as the provider does not list the scope offline_access (no offline access)",
			"turn it on there, or let access tokens live longer")
	}
	return warn("no refresh token is to be expected, as "+p.cfg.Setting("Login.Scope")+" lacks offline_access",
		"add offline_access to the scope, and allow the client refresh tokens at the provider")
}

// whyNoAnswer returns why a request got no response.
func whyNoAnswer(err error) string {
	if problem, remedy := cause.Of(err); problem != "" {
		return fmt.Sprintf("%s (%v); %s", problem, err, remedy)
	}
	return err.Error()
}

// refusesClient reports whether the client or its credential is refused (RFC
// 6749 §5.2). Keycloak answers unauthorized_client with status 401 to a wrong
// secret; with another status that code is about the grant.
func (a *answer) refusesClient() bool {
	return a.code == "invalid_client" || a.status == http.StatusUnauthorized && (a.code == "" || a.code == "unauthorized_client")
}
