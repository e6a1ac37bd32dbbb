package devidp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// target returns the audience that a token request names (audience, RFC 8707 resource),
// that of the API if it names none. Others than Config.Audiences are refused.
func (rl *realm) target(form url.Values) (string, error) {
	target := rl.audience
	for i, named := range slices.DeleteFunc(slices.Concat(form["audience"], form["resource"]), func(s string) bool { return s == "" }) {
		switch {
		case named != rl.audience && !slices.Contains(rl.audiences, named):
			return "", oidc.ErrInvalidTarget().WithDescription("audience unknown")
		case i > 0 && named != target:
			return "", oidc.ErrInvalidTarget().WithDescription("tokens have one audience")
		}
		target = named
	}
	return target, nil
}

// clientToken issues a relying party an access token of its own, without permissions.
func (t *tokens) clientToken(r *http.Request, client *registration) (*oidc.AccessTokenResponse, error) {
	target, err := t.target(r.PostForm)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.audiences, target) {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("client_credentials for the API is for machines only")
	}
	claims := oidc.TokenClaims{Subject: client.ID, ClientID: client.ID, Audience: oidc.Audience{target}}
	return t.respond(claims, strings.Fields(r.PostForm.Get("scope")), nil, t.now())
}

// exchangeToken exchanges an access token that the client has got for a user (RFC 8693).
func (t *tokens) exchangeToken(r *http.Request, client *registration) (*oidc.TokenExchangeResponse, error) {
	form := r.PostForm
	switch {
	case form.Get("subject_token") == "" || form.Get("subject_token_type") != string(oidc.AccessTokenType):
		return nil, oidc.ErrInvalidRequest().WithDescription("subject_token must be an access token")
	case form.Get("requested_token_type") != "" && form.Get("requested_token_type") != string(oidc.AccessTokenType):
		return nil, oidc.ErrInvalidRequest().WithDescription("only access tokens are issued")
	}
	target, err := t.target(form)
	if err != nil {
		return nil, err
	}
	known := t.state.accessToken(form.Get("subject_token"), t.now())
	if known == nil || known.grant.client != client {
		return nil, oidc.ErrInvalidRequest().WithDescription("subject_token unknown, expired, revoked, or issued to another client")
	}
	scopes := slices.DeleteFunc(slices.Clone(known.scopes), func(s string) bool { return s == oidc.ScopeOpenID || s == oidc.ScopeOfflineAccess })
	if asked := strings.Fields(form.Get("scope")); len(asked) > 0 {
		scopes = asked
	}
	resp, err := t.issue(known.grant, target, scopes, "", false)
	if err != nil {
		return nil, err
	}
	return &oidc.TokenExchangeResponse{
		AccessToken: resp.AccessToken, IssuedTokenType: oidc.AccessTokenType, TokenType: oidc.BearerToken, ExpiresIn: resp.ExpiresIn, Scopes: resp.Scope,
	}, nil
}
