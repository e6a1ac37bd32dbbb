package bff

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// exchange redeems an authorization code (RFC 6749 section 4.1.3).
func (rp *relyingParty) exchange(ctx context.Context, md *oidc.Metadata, a *attempt, code string) (session.Tokens, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {rp.callback},
		"code_verifier": {a.verifier()},
	}
	rp.addAudience(form)
	return rp.tokens(ctx, md, form)
}

// refresh trades a refresh token for new tokens (RFC 6749 section 6).
func (rp *relyingParty) refresh(ctx context.Context, md *oidc.Metadata, refreshToken string) (session.Tokens, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	rp.addAudience(form)
	return rp.tokensWithin(ctx, rp.cfg.Sessions.RefreshTimeout+connectTimeout, md, form)
}

// revoke ends a refresh token and with it the access tokens of its grant (RFC
// 7009). A provider without the endpoint is left alone.
func (rp *relyingParty) revoke(ctx context.Context, md *oidc.Metadata, refreshToken string) error {
	if md.RevocationEndpoint == "" || refreshToken == "" {
		return nil
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	_, err := rp.post(ctx, md, md.RevocationEndpoint, form)
	return err
}

// tokens calls the token endpoint.
func (rp *relyingParty) tokens(ctx context.Context, md *oidc.Metadata, form url.Values) (session.Tokens, error) {
	return rp.tokensWithin(ctx, providerTimeout, md, form)
}

func (rp *relyingParty) tokensWithin(ctx context.Context, limit time.Duration, md *oidc.Metadata, form url.Values) (session.Tokens, error) {
	body, err := rp.postWithin(ctx, limit, md, md.TokenEndpoint, form)
	if err != nil {
		return session.Tokens{}, err
	}
	var answer struct {
		AccessToken  string      `json:"access_token"`
		TokenType    string      `json:"token_type"`
		ExpiresIn    json.Number `json:"expires_in"` // some send a string
		RefreshToken string      `json:"refresh_token"`
		IDToken      string      `json:"id_token"`
		Scope        string      `json:"scope"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return session.Tokens{}, errors.New("token endpoint: the answer is not the JSON of RFC 6749 section 5.1")
	}
	switch {
	case answer.AccessToken == "":
		return session.Tokens{}, errors.New("token endpoint: the answer has no access_token")
	case !strings.EqualFold(answer.TokenType, "Bearer"):
		return session.Tokens{}, errors.New("token endpoint: the token_type is not Bearer")
	case strings.ContainsFunc(answer.AccessToken, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return session.Tokens{}, errors.New("token endpoint: the access_token is not fit for a header")
	}
	now := rp.cfg.Now()
	tokens := session.Tokens{
		Access:     answer.AccessToken,
		Refresh:    answer.RefreshToken,
		ID:         answer.IDToken,
		Type:       "Bearer",
		Scope:      answer.Scope,
		ObtainedAt: now,
	}
	if seconds, err := answer.ExpiresIn.Float64(); err == nil && seconds > 0 {
		tokens.ExpiresAt = now.Add(time.Duration(min(seconds, maxExpiresIn) * float64(time.Second)))
	}
	return tokens, nil
}

// maxExpiresIn, ten years in seconds, keeps a nonsensical lifetime from
// overflowing.
const maxExpiresIn = 10 * 365 * 24 * 60 * 60
