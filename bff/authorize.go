package bff

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// authorization is where the browser is sent to sign in. Where the provider
// takes pushed requests, the parameters go to it directly and the browser
// carries a reference alone (RFC 9126). There is no way back from that to
// parameters in the address: whoever can make a push fail could otherwise
// choose the weaker way.
func (rp *relyingParty) authorization(ctx context.Context, md *oidc.Metadata, a *attempt, extra url.Values) (string, error) {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err != nil {
		return "", err
	}
	request := rp.authorizationRequest(md, a, extra)
	if rp.pushes(md) {
		if request, err = rp.push(ctx, md, request); err != nil {
			return "", err
		}
	}
	q := u.Query()
	maps.Copy(q, request)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (rp *relyingParty) authorizationRequest(md *oidc.Metadata, a *attempt, extra url.Values) url.Values {
	q := maps.Clone(extra)
	scope, offline := rp.scope(md)
	q.Set("client_id", rp.cfg.Client.ID)
	q.Set("response_type", "code")
	q.Set("redirect_uri", rp.callback)
	q.Set("scope", scope)
	q.Set("state", a.state())
	q.Set("nonce", a.nonce())
	q.Set("code_challenge", a.challenge())
	q.Set("code_challenge_method", "S256")
	if rp.cfg.Login.ResponseMode != ModeQuery {
		q.Set("response_mode", string(rp.cfg.Login.ResponseMode))
	}
	if offline && rp.needsConsent(md) {
		q.Set("prompt", withConsent(q.Get("prompt")))
	}
	rp.addAudience(q)
	return q
}

// pushes reports whether authorization requests are pushed.
func (rp *relyingParty) pushes(md *oidc.Metadata) bool {
	return md.PushedAuthorizationRequestEndpoint != "" && !rp.cfg.Login.OmitPAR
}

// maxRequestURI bounds a request_uri, in bytes: it goes into an address.
const maxRequestURI = 2048

// push hands an authorization request to the provider, and returns the
// parameters that refer to it.
func (rp *relyingParty) push(ctx context.Context, md *oidc.Metadata, request url.Values) (url.Values, error) {
	body, err := rp.post(ctx, md, md.PushedAuthorizationRequestEndpoint, request)
	if err != nil {
		return nil, fmt.Errorf("pushed authorization request: %w", err)
	}
	var answer struct {
		RequestURI string `json:"request_uri"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.RequestURI == "" || len(answer.RequestURI) > maxRequestURI {
		return nil, errors.New("pushed authorization request: the answer has no request_uri")
	}
	return url.Values{"client_id": {rp.cfg.Client.ID}, "request_uri": {answer.RequestURI}}, nil
}

// withConsent adds consent to a prompt, without which the provider must ignore
// offline_access (OpenID Connect Core section 11). "none" goes with nothing
// else, and what this does not know stays alone too.
func withConsent(prompt string) string {
	values := strings.Fields(prompt)
	for _, value := range values {
		if value != "login" && value != "select_account" {
			return prompt
		}
	}
	return strings.Join(append(values, "consent"), " ")
}

// scope is what is asked for: offline_access only where the provider lists
// it, since some refuse a scope that they do not know, and not by itself at
// Keycloak. There refresh tokens come without it; with it a login has no
// session at Keycloak any more, so that the person is not known there at the
// next login, and a logout there does not reach us.
func (rp *relyingParty) scope(md *oidc.Metadata) (scope string, offline bool) {
	fields := strings.Fields(cmp.Or(rp.cfg.Login.Scope, DefaultScope))
	if !slices.Contains(md.ScopesSupported, "offline_access") || rp.cfg.Login.Scope == "" && keycloak(md) {
		fields = slices.DeleteFunc(fields, func(s string) bool { return s == "offline_access" })
	}
	return strings.Join(fields, " "), slices.Contains(fields, "offline_access")
}

// keycloak tells whether the provider is Keycloak, by its endpoints.
func keycloak(md *oidc.Metadata) bool {
	return strings.Contains(md.Issuer, "/realms/") && strings.Contains(md.TokenEndpoint, "/protocol/openid-connect/")
}

// needsConsent reports whether the person has to be asked before offline
// access is granted. OpenID Connect Core section 11 demands the prompt unless
// other conditions are in place, as they are at the providers below, which
// decide by the client's settings and would only annoy with it.
func (rp *relyingParty) needsConsent(md *oidc.Metadata) bool {
	switch rp.cfg.Login.OfflineConsent {
	case ConsentAlways:
		return true
	case ConsentNever:
		return false
	}
	u, err := url.Parse(md.Issuer)
	if err != nil {
		return true
	}
	for _, domain := range []string{"auth0.com", "okta.com", "oktapreview.com", "microsoftonline.com"} {
		if strings.HasSuffix(u.Hostname(), "."+domain) {
			return false
		}
	}
	return !strings.Contains(u.Path, "/realms/") // Keycloak, where somebody has asked for it all the same
}

// addAudience names the API for which the access token is meant.
func (rp *relyingParty) addAudience(q url.Values) {
	if rp.cfg.Login.Audience == "" {
		return
	}
	if !rp.cfg.Login.OmitAudience {
		q.Set("audience", rp.cfg.Login.Audience)
	}
	if u, err := url.Parse(rp.cfg.Login.Audience); err == nil && u.IsAbs() && u.Fragment == "" && !rp.cfg.Login.OmitResource {
		q.Set("resource", rp.cfg.Login.Audience)
	}
}
