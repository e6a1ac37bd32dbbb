package bff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// Check asks the provider what a login would find out later: that it knows
// this client and takes its credential, and that it offers what a login
// needs. It returns what is good, as sentences, and the errors of what is
// not, each with the remedy.
func (b *BFF) Check(ctx context.Context) (good []string, err error) {
	md, err := b.provider.Discover(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(b.rp.mismatches(md)...); err != nil {
		return nil, err // asking it would only say the same in other words
	}
	if err := b.rp.checkClient(ctx, md); err != nil {
		return nil, err
	}
	good = append(good, b.rp.knownClient(md))
	if b.rp.pushes(md) {
		if err := b.rp.checkPush(ctx, md); err != nil {
			return good, err
		}
		good = append(good, "authorization requests are pushed (RFC 9126), and the provider took one of ours")
	}
	switch _, offline := b.rp.scope(md); {
	case offline:
		good = append(good, "offline access is offered: sessions outlive their first access token")
	case keycloak(md):
		good = append(good, "this is Keycloak: refresh tokens come without offline access, and sessions outlive their first access token")
	default:
		good = append(good, "no offline access: a session lasts as long as its first access token, then the person signs in again")
	}
	if b.rp.endSessionURL(md, b.base.String(), "", "") == "" {
		good = append(good, "no end-session endpoint: logging out here leaves the person signed in at the provider")
	}
	if len(md.CodeChallengeMethodsSupported) == 0 {
		good = append(good, "the provider does not say whether it enforces PKCE; it gets a code challenge at every login all the same")
	}
	if unlisted := b.rp.unlistedScopes(md); len(unlisted) > 0 {
		good = append(good, "not in the provider's list of scopes: "+strings.Join(unlisted, " ")+"; if logins end with invalid_scope, allow them there or take them out of GATEHOUSE_OIDC_SCOPE")
	}
	return good, nil
}

// mismatches are what the provider says of itself that does not go with what
// is configured here. What it does not speak of is no mismatch.
func (rp *relyingParty) mismatches(md *token.Metadata) []error {
	var errs []error
	lacks := func(list []string, value string) bool { return len(list) > 0 && !slices.Contains(list, value) }
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := rp.fits(md); err != nil {
		errs = append(errs, err)
	}
	if methods := md.CodeChallengeMethodsSupported; lacks(methods, "S256") {
		add("the provider does not offer PKCE with S256 (it lists %v), which every login here uses: turn it on there", methods)
	}
	if types := md.ResponseTypesSupported; lacks(types, "code") {
		add("the provider does not offer the response type code (it lists %v), which every login here uses: turn the authorization code flow on there", types)
	}
	if algs := md.IDTokenSigningAlgValuesSupported; lacks(algs, "RS256") {
		add("the provider does not sign ID tokens with RS256 (it lists %v), the one algorithm that is accepted here: turn it on there", algs)
	}
	if modes := md.ResponseModesSupported; rp.cfg.ResponseMode != ModeQuery && lacks(modes, rp.cfg.ResponseMode) {
		add("GATEHOUSE_OIDC_RESPONSE_MODE=%s: the provider does not offer it (it lists %v): unset it", rp.cfg.ResponseMode, modes)
	}
	if err := rp.checkClientAuth(md); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// unlistedScopes are those that are asked for and that the provider, which
// need not list all (Discovery section 3), does not list.
func (rp *relyingParty) unlistedScopes(md *token.Metadata) []string {
	if len(md.ScopesSupported) == 0 {
		return nil
	}
	asked, _ := rp.scope(md)
	return slices.DeleteFunc(strings.Fields(asked), func(s string) bool { return slices.Contains(md.ScopesSupported, s) })
}

func (rp *relyingParty) knownClient(md *token.Metadata) string {
	switch method := rp.clientAuth(md); method {
	case AuthNone:
		return fmt.Sprintf("client %s is known to the provider as a public one", rp.cfg.ClientID)
	case AuthPrivateKey:
		return fmt.Sprintf("client %s is known to the provider, and its key is right (%s)", rp.cfg.ClientID, method)
	default:
		return fmt.Sprintf("client %s is known to the provider, and its secret is right (%s)", rp.cfg.ClientID, method)
	}
}

// checkClient redeems a code that nobody issued: a provider that knows the
// client says that the code is bad.
func (rp *relyingParty) checkClient(ctx context.Context, md *token.Metadata) error {
	_, err := rp.tokens(ctx, md, rp.madeUpCode())
	refusal, ok := errors.AsType[*oauthError](err)
	switch {
	case err == nil:
		return fmt.Errorf("the token endpoint %s gave a token for a code that nobody issued; it must not be trusted", md.TokenEndpoint)
	case !ok:
		return fmt.Errorf("the token endpoint %s did not answer as one: %w", md.TokenEndpoint, err)
	case refusal.code == "invalid_grant":
		return nil
	case refusal.code == "invalid_client" || refusal.status == http.StatusUnauthorized:
		if rp.clientAuth(md) == AuthPrivateKey {
			if other := rp.withOtherAudience(); other.takesCredential(ctx, md) {
				return fmt.Errorf("the provider takes the key of client %s, but not the audience of its assertions: set GATEHOUSE_OIDC_ASSERTION_AUDIENCE=%s", rp.cfg.ClientID, other.cfg.AssertionAudience)
			}
		}
		return fmt.Errorf("the provider refuses client %s (%s): correct GATEHOUSE_OIDC_CLIENT_ID and %s, or its way of authentication, %s, with GATEHOUSE_OIDC_CLIENT_AUTH",
			rp.cfg.ClientID, refusal.code, rp.credential(md), rp.clientAuth(md))
	case refusal.code == "unauthorized_client":
		return fmt.Errorf("the provider does not allow client %s the authorization code grant: allow it there", rp.cfg.ClientID)
	}
	return nil // an error about the made-up code, in words of the provider's own
}

// madeUpCode redeems a code that nobody issued.
func (rp *relyingParty) madeUpCode() url.Values {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"gatehouse-check"},
		"redirect_uri":  {rp.callback},
		"code_verifier": {"gatehouse-check-gatehouse-check-gatehouse-check"},
	}
}

// takesCredential reports whether the provider, asked to redeem a code that
// nobody issued, says that the code is bad, and not the client.
func (rp *relyingParty) takesCredential(ctx context.Context, md *token.Metadata) bool {
	_, err := rp.tokens(ctx, md, rp.madeUpCode())
	refusal, ok := errors.AsType[*oauthError](err)
	return ok && refusal.code == "invalid_grant"
}

// credential names the setting with which the client proves who it is.
func (rp *relyingParty) credential(md *token.Metadata) string {
	if rp.clientAuth(md) == AuthPrivateKey {
		return "GATEHOUSE_OIDC_CLIENT_KEY (its public half is registered there, or read from " + rp.cfg.BaseURL + clientKeysPath + ")"
	}
	return "GATEHOUSE_OIDC_CLIENT_SECRET"
}

// checkPush pushes an authorization request that nobody will follow, and so
// has the provider judge redirect URI, scope and audience.
func (rp *relyingParty) checkPush(ctx context.Context, md *token.Metadata) error {
	a := &attempt{Seed: "gatehouse-check"}
	_, err := rp.push(ctx, md, rp.authorizationRequest(md, a, url.Values{}))
	refusal, ok := errors.AsType[*oauthError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return fmt.Errorf("the endpoint %s did not answer as one for pushed authorization requests: %w", md.PushedAuthorizationRequestEndpoint, err)
	case refusal.code == "invalid_target":
		return fmt.Errorf("the provider refuses the audience %s (invalid_target): correct GATEHOUSE_AUDIENCE, or set GATEHOUSE_OIDC_OMIT_RESOURCE", rp.cfg.Audience)
	case refusal.code == "invalid_scope":
		return fmt.Errorf("the provider refuses a scope of %q (invalid_scope): allow it there, or correct GATEHOUSE_OIDC_SCOPE", rp.cfg.Scope)
	}
	return fmt.Errorf("the provider refuses our authorization request (%s): is the redirect URI %s registered, and the client allowed to push requests? GATEHOUSE_OIDC_OMIT_PAR sends them through the browser instead", refusal.code, rp.callback)
}
