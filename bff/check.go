package bff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A CheckResult is the outcome of one proof of [BFF.Check]: its Status is "ok",
// "warn", "wrong" or "unknown", What and Remedy are sentences.
type CheckResult = check.Result

// A Registration is a value that has to be registered at the provider.
type Registration = check.Registration

// Check proves what it can of the configuration at the provider, before the
// first login: each result says what holds, what does not with the remedy, or what
// could not be found out. It makes a few requests that the provider refuses, one
// of them with a wrong credential, and leaves nothing behind. verify, if not nil,
// judges an access token as the server would; see [BFF.Registrations] for what
// cannot be proved at all.
func (b *BFF) Check(ctx context.Context, verify func(ctx context.Context, accessToken string) error) []CheckResult {
	md, err := b.provider.Discover(ctx)
	if err != nil {
		return []CheckResult{unreachable(b.provider.Issuer(), err)}
	}
	results := []CheckResult{good("provider", "the provider answers, and calls itself %s", md.Issuer)}
	results = append(results, b.checkKeys(ctx, md))
	mismatches := b.rp.mismatches(md)
	if len(mismatches) > 0 {
		return append(results, mismatches...) // requests would only say the same in other words
	}
	p := newProber(b.rp, md)
	credential := p.credential(ctx)
	results = append(results, credential)
	if credential.Status != check.Wrong {
		results = append(results, p.redirect(ctx))
		results = append(results, p.accessToken(ctx, verify))
	}
	results = append(results, p.clock())
	return append(results, b.rp.remarks(md, b.base.String())...)
}

// Registrations are the values to register at the provider for this client.
func (b *BFF) Registrations() []Registration {
	base := b.base.String()
	list := []Registration{
		{Name: "redirect URI (callback)", Value: b.rp.callback},
		{Name: "post-logout redirect URI", Value: base},
		{Name: "back-channel logout URI", Value: base + route.BackchannelLogout},
		{Name: "front-channel logout URI", Value: base + route.FrontchannelLogout},
		{Name: "web origin (where asked for)", Value: base},
	}
	if b.rp.keys != nil {
		list = append(list, Registration{Name: "key set URI (jwks_uri)", Value: base + route.ClientKeys})
	}
	if b.rp.cfg.Login.Audience != "" {
		list = append(list, Registration{Name: "API (audience)", Value: b.rp.cfg.Login.Audience})
	}
	return list
}

func good(proof, format string, args ...any) CheckResult {
	return CheckResult{Status: check.OK, Proof: proof, What: fmt.Sprintf(format, args...)}
}

func unreachable(issuer string, err error) CheckResult {
	r := CheckResult{Status: check.Wrong, Proof: "provider", What: fmt.Sprintf("GATEHOUSE_OIDC_ISSUER=%s: %v", issuer, err),
		Remedy: "correct the issuer, or let this machine reach the provider, at GATEHOUSE_OIDC_INTERNAL_URL if not at its issuer"}
	problem, remedy := cause.Of(err)
	mismatch, mismatched := errors.AsType[*oidc.IssuerMismatchError](err)
	switch {
	case mismatched: // which says itself what to do
		r.Remedy = ""
		if internal := mismatch.InternalURL(); internal != "" {
			r.Remedy = "the setting for that is GATEHOUSE_OIDC_INTERNAL_URL=" + internal
		}
	case strings.Contains(problem, "certificate"):
		r.What, r.Remedy = fmt.Sprintf("GATEHOUSE_OIDC_ISSUER=%s: %s (%v)", issuer, problem, err), remedy
	case problem != "":
		r.What, r.Remedy = fmt.Sprintf("GATEHOUSE_OIDC_ISSUER=%s: %s (%v)", issuer, problem, err), remedy+"; "+r.Remedy
	}
	return r
}

// checkKeys fetches the key set, without which no token can be verified.
func (b *BFF) checkKeys(ctx context.Context, md *oidc.Metadata) CheckResult {
	err := b.provider.Refresh(ctx)
	if err == nil {
		return good("keys", "the provider's key set has keys that can be used")
	}
	r := CheckResult{Status: check.Wrong, Proof: "keys", What: "the provider's key set at " + md.JWKSURI + " cannot be used: " + err.Error(),
		Remedy: "no token can be verified and no login succeeds before the provider publishes a signing key of a kind that is accepted here"}
	if problem, remedy := cause.Of(err); problem != "" {
		r.What, r.Remedy = fmt.Sprintf("the provider's key set at %s cannot be fetched: %s (%v)", md.JWKSURI, problem, err), remedy
	}
	return r
}

// mismatches are what the provider says of itself that does not go with what
// is configured here. What it does not speak of is no mismatch.
func (rp *relyingParty) mismatches(md *oidc.Metadata) []CheckResult {
	var results []CheckResult
	lacks := func(list []string, value string) bool { return len(list) > 0 && !slices.Contains(list, value) }
	add := func(remedy, format string, args ...any) {
		results = append(results, CheckResult{Status: check.Wrong, Proof: "metadata", What: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if err := rp.fits(md); err != nil {
		add("", "%v", err)
	}
	if methods := md.CodeChallengeMethodsSupported; lacks(methods, "S256") {
		add("turn it on there", "the provider does not offer PKCE with S256 (it lists %v), which every login here uses", methods)
	}
	if types := md.ResponseTypesSupported; lacks(types, "code") {
		add("turn the authorization code flow on there", "the provider does not offer the response type code (it lists %v), which every login here uses", types)
	}
	if algs := md.IDTokenSigningAlgValuesSupported; lacks(algs, "RS256") {
		add("turn it on there", "the provider does not sign ID tokens with RS256 (it lists %v), the one algorithm that is accepted here", algs)
	}
	if modes := md.ResponseModesSupported; rp.cfg.Login.ResponseMode != ModeQuery && lacks(modes, string(rp.cfg.Login.ResponseMode)) {
		add("unset it", "GATEHOUSE_OIDC_RESPONSE_MODE=%s: the provider does not offer it (it lists %v)", rp.cfg.Login.ResponseMode, modes)
	}
	if problem, remedy := rp.clientAuthMismatch(md); problem != "" {
		add(remedy, "%s", problem)
	}
	return results
}

// logMismatches logs once, when the metadata is there, what in it does not go
// with the configuration. The process goes on: metadata can be wrong.
func (b *BFF) logMismatches(ctx context.Context) {
	md, err := b.provider.AwaitMetadata(ctx)
	retry := time.NewTicker(mismatchRetry)
	defer retry.Stop()
	for err != nil {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
			md, err = b.provider.Metadata()
		}
	}
	for _, m := range b.rp.mismatches(md) {
		b.logger.WarnContext(ctx, "provider metadata does not go with the configuration", "problem", m.What, "remedy", m.Remedy)
	}
}

// mismatchRetry is how often logMismatches looks for metadata that is missing.
const mismatchRetry = 5 * time.Second

// unlistedScopes are those that are asked for and that the provider, which
// need not list all (Discovery section 3), does not list.
func (rp *relyingParty) unlistedScopes(md *oidc.Metadata) []string {
	if len(md.ScopesSupported) == 0 {
		return nil
	}
	asked, _ := rp.scope(md)
	return slices.DeleteFunc(strings.Fields(asked), func(s string) bool { return slices.Contains(md.ScopesSupported, s) })
}

// remarks are what works and is worth knowing.
func (rp *relyingParty) remarks(md *oidc.Metadata, base string) []CheckResult {
	results := []CheckResult{rp.refreshRemark(md)}
	note := func(proof, format string, args ...any) {
		results = append(results, CheckResult{Status: check.Warn, Proof: proof, What: fmt.Sprintf(format, args...)})
	}
	if rp.endSessionURL(md, base, "", "") == "" {
		note("logout", "no end-session endpoint: logging out here leaves the person signed in at the provider")
	}
	if len(md.CodeChallengeMethodsSupported) == 0 {
		note("pkce", "the provider does not say whether it enforces PKCE; it gets a code challenge at every login all the same")
	}
	if unlisted := rp.unlistedScopes(md); len(unlisted) > 0 {
		note("scope", "not in the provider's list of scopes: %s; if logins end with invalid_scope, allow them there or take them out of GATEHOUSE_OIDC_SCOPE", strings.Join(unlisted, " "))
	}
	return results
}

// refreshRemark says whether sessions outlive their first access token.
func (rp *relyingParty) refreshRemark(md *oidc.Metadata) CheckResult {
	_, offline := rp.scope(md)
	grants := md.GrantTypesSupported
	const short = ": a session lasts as long as its first access token, then the person signs in again"
	switch {
	case len(grants) > 0 && !slices.Contains(grants, "refresh_token"):
		return CheckResult{Status: check.Warn, Proof: "refresh", What: "the provider does not list the grant refresh_token" + short, Remedy: "allow it there"}
	case keycloak(md):
		return good("refresh", "this is Keycloak: refresh tokens come without offline access, and sessions outlive their first access token")
	case cognito(md):
		return good("refresh", "this is Cognito: refresh tokens come without offline access, and sessions outlive their first access token")
	case offline:
		return good("refresh", "offline access is offered and asked for: sessions outlive their first access token, if the client may have refresh tokens")
	case !slices.Contains(md.ScopesSupported, "offline_access"):
		return CheckResult{Status: check.Warn, Proof: "refresh", What: "no refresh token is to be expected, as the provider does not list the scope offline_access (no offline access)" + short,
			Remedy: "turn it on there, or let access tokens live longer"}
	}
	return CheckResult{Status: check.Warn, Proof: "refresh", What: "no refresh token is to be expected, as GATEHOUSE_OIDC_SCOPE lacks offline_access" + short,
		Remedy: "add offline_access to the scope, and allow the client refresh tokens at the provider"}
}

// cognito tells whether the provider is Amazon Cognito, by its issuer.
func cognito(md *oidc.Metadata) bool {
	return strings.HasPrefix(md.Issuer, "https://cognito-idp.") && strings.Contains(md.Issuer, ".amazonaws.com")
}

// credentialName names the setting with which the client proves who it is.
func (rp *relyingParty) credentialName(md *oidc.Metadata) string {
	if rp.clientAuth(md) == AuthPrivateKey {
		return "GATEHOUSE_OIDC_CLIENT_KEY (its public half is registered there, or read from " + rp.cfg.BaseURL + route.ClientKeys + ")"
	}
	return "GATEHOUSE_OIDC_CLIENT_SECRET"
}

// whyNoAnswer says why a proof has no answer to judge.
func whyNoAnswer(err error) string {
	if problem, remedy := cause.Of(err); problem != "" {
		return fmt.Sprintf("%s (%v); %s", problem, err, remedy)
	}
	return err.Error()
}

// refusesClient reports an answer that means the client or its credential (RFC
// 6749 section 5.2). Keycloak answers unauthorized_client with status 401 to a
// wrong secret; with another status that code is about the grant.
func (a *answer) refusesClient() bool {
	return a.code == "invalid_client" || a.status == http.StatusUnauthorized && (a.code == "" || a.code == "unauthorized_client")
}
