package bff

import (
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// endSessionURL is where the browser signs out of the provider
// (RP-Initiated Logout section 2), "" if it has no such place.
//
// An ID token that names the API stays here: the address gets into histories
// and logs, and an API may take the token for an access token. client_id says
// which client asks, as it does beside the hint.
func (rp *relyingParty) endSessionURL(md *oidc.Metadata, base, idToken, state string) string {
	if cognito(md) {
		return rp.cognitoLogoutURL(md, base)
	}
	if md.EndSessionEndpoint == "" {
		return rp.auth0LogoutURL(md, base)
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", rp.cfg.Client.ID)
	q.Set("post_logout_redirect_uri", base)
	q.Set("state", state)
	switch {
	case idToken == "":
	case rp.cfg.Login.Audience != "" && token.MayName(idToken, rp.cfg.Login.Audience):
		rp.hintOmitted.Do(func() {
			rp.cfg.Logger.Warn("logout without id_token_hint: the provider's ID tokens name the API as an audience, so that the redirect would show what may pass for an access token; the provider may ask whether to sign out",
				"audience", rp.cfg.Login.Audience)
		})
		if strings.Contains(rp.cfg.Login.Scope, dexAudienceScope) { // Dex looks up the redirect URI by the hint, and answers 400 without one
			q.Del("post_logout_redirect_uri")
			q.Del("state")
		}
	default:
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// dexAudienceScope begins a scope with which Dex adds an audience to tokens.
const dexAudienceScope = "audience:server:client_id:"

// cognitoLogoutURL serves Amazon Cognito, whose logout endpoint is beside the
// authorization endpoint and knows other parameters than those of RP-Initiated
// Logout.
func (rp *relyingParty) cognitoLogoutURL(md *oidc.Metadata, base string) string {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err != nil {
		return ""
	}
	u.Path = "/logout"
	u.RawQuery = url.Values{"client_id": {rp.cfg.Client.ID}, "logout_uri": {base}}.Encode()
	return u.String()
}

// auth0LogoutURL serves Auth0 tenants that do not announce an end-session
// endpoint.
func (rp *relyingParty) auth0LogoutURL(md *oidc.Metadata, base string) string {
	u, err := url.Parse(md.Issuer)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".auth0.com") {
		return ""
	}
	return u.JoinPath("v2", "logout").String() + "?" + url.Values{"client_id": {rp.cfg.Client.ID}, "returnTo": {base}}.Encode()
}
