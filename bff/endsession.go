package bff

import (
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// endSessionURL is where the browser signs out of the provider
// (RP-Initiated Logout section 2), "" if it has no such place.
func (rp *relyingParty) endSessionURL(md *token.Metadata, base, idToken, state string) string {
	if md.EndSessionEndpoint == "" {
		return rp.auth0LogoutURL(md, base)
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", rp.cfg.ClientID)
	q.Set("post_logout_redirect_uri", base)
	q.Set("state", state)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// auth0LogoutURL serves Auth0 tenants that do not announce an end-session
// endpoint.
func (rp *relyingParty) auth0LogoutURL(md *token.Metadata, base string) string {
	u, err := url.Parse(md.Issuer)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".auth0.com") {
		return ""
	}
	return u.JoinPath("v2", "logout").String() + "?" + url.Values{"client_id": {rp.cfg.ClientID}, "returnTo": {base}}.Encode()
}
