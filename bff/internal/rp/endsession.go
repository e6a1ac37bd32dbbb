package rp

import (
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// EndSessionURL returns the address at which the browser signs out of the
// provider (RP-Initiated Logout §2), "" if there is none.
//
// An ID token with the API's audience is not sent: the address gets into
// histories and logs, and the API might accept the token as an access token.
// client_id identifies the client without it.
func (p *Party) EndSessionURL(md *oidc.Metadata, idToken, state string) string {
	if IsCognito(md) {
		return p.cognitoLogoutURL(md)
	}
	if md.EndSessionEndpoint == "" {
		return p.auth0LogoutURL(md)
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.cfg.Client.ID)
	q.Set("post_logout_redirect_uri", p.cfg.BaseURL)
	q.Set("state", state)
	switch {
	case idToken == "":
	case p.cfg.Audience != "" && token.MayName(idToken, p.cfg.Audience):
		p.hintOmitted.Do(func() {
			p.cfg.Logger.Warn("logout without id_token_hint: the provider's ID tokens name the API as an audience, so that the redirect would show what may pass for an access token; the provider may ask whether to sign out",
				"audience", p.cfg.Audience)
		})
		if strings.Contains(p.cfg.Scope, dexAudienceScope) { // Dex finds the redirect URI by the hint, and answers 400 without one
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

// IsCognito reports whether the provider is Amazon Cognito, by its issuer.
func IsCognito(md *oidc.Metadata) bool {
	return strings.HasPrefix(md.Issuer, "https://cognito-idp.") && strings.Contains(md.Issuer, ".amazonaws.com")
}

// cognitoLogoutURL is for Amazon Cognito, whose logout endpoint lies beside the
// authorization endpoint and has other parameters than RP-Initiated Logout.
func (p *Party) cognitoLogoutURL(md *oidc.Metadata) string {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err != nil {
		return ""
	}
	u.Path = "/logout"
	u.RawQuery = url.Values{"client_id": {p.cfg.Client.ID}, "logout_uri": {p.cfg.BaseURL}}.Encode()
	return u.String()
}

// auth0LogoutURL is for Auth0 tenants that do not announce an end-session
// endpoint.
func (p *Party) auth0LogoutURL(md *oidc.Metadata) string {
	u, err := url.Parse(md.Issuer)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".auth0.com") {
		return ""
	}
	return u.JoinPath("v2", "logout").String() + "?" + url.Values{"client_id": {p.cfg.Client.ID}, "returnTo": {p.cfg.BaseURL}}.Encode()
}
