package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Exchange redeems an authorization code (RFC 6749 §4.1.3).
func (p *Party) Exchange(ctx context.Context, md *oidc.Metadata, code, verifier string) (session.Tokens, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {p.cfg.Callback},
		"code_verifier": {verifier},
	}
	return p.tokens(ctx, CallTimeout, md, form)
}

// Refresh exchanges a refresh token for new tokens (RFC 6749 §6). It waits for
// the first fetch of the provider's metadata.
func (p *Party) Refresh(ctx context.Context, refreshToken string) (session.Tokens, error) {
	md, err := p.cfg.Provider.AwaitMetadata(ctx)
	if err != nil {
		return session.Tokens{}, &NoResponse{false, err}
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	return p.tokens(ctx, p.cfg.RefreshTimeout+ConnectTimeout, md, form)
}

// Revoke revokes a refresh token, and with it the access tokens of its grant
// (RFC 7009). It does nothing at a provider without the endpoint.
func (p *Party) Revoke(ctx context.Context, refreshToken string) error {
	md, err := p.cfg.Provider.Metadata()
	if err != nil {
		return err
	}
	if md.RevocationEndpoint == "" || refreshToken == "" {
		return nil
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	start := time.Now()
	_, err = p.post(ctx, md, md.RevocationEndpoint, form)
	p.measure(ctx, start, metrics.RequestRevoke, err)
	return err
}

// tokens makes a token request for the session's audience.
func (p *Party) tokens(ctx context.Context, limit time.Duration, md *oidc.Metadata, form url.Values) (session.Tokens, error) {
	p.AddAudience(form)
	issued, err := p.request(ctx, limit, md, form)
	if err == nil && p.inspector != nil {
		p.inspector.Issued(ctx, issued.tokens.Access)
	}
	return issued.tokens, err
}

// An issue is a response of the token endpoint.
type issue struct {
	tokens session.Tokens
	kind   string // issued_token_type, of a token exchange (RFC 8693 §2.2.1)
}

// request makes a token request.
func (p *Party) request(ctx context.Context, limit time.Duration, md *oidc.Metadata, form url.Values) (_ issue, err error) {
	defer func(start time.Time) { p.measure(ctx, start, requestName(form.Get("grant_type")), err) }(time.Now())
	body, err := p.postWithin(ctx, limit, md, md.TokenEndpoint, form)
	if err != nil {
		return issue{}, err
	}
	var response struct {
		AccessToken  string      `json:"access_token"`
		TokenType    string      `json:"token_type"`
		ExpiresIn    json.Number `json:"expires_in"` // some send a string
		RefreshToken string      `json:"refresh_token"`
		IDToken      string      `json:"id_token"`
		Scope        string      `json:"scope"`
		IssuedType   string      `json:"issued_token_type"`
	}
	if err := json.Unmarshal(body, &response); err != nil {
		return issue{}, errors.New("token endpoint: the response is not the JSON of RFC 6749 section 5.1")
	}
	now := p.cfg.Now()
	tokens := session.Tokens{
		Refresh:    response.RefreshToken,
		ID:         response.IDToken,
		Type:       "Bearer",
		Scope:      response.Scope,
		ObtainedAt: now,
	}
	if seconds, err := response.ExpiresIn.Float64(); err == nil && seconds > 0 {
		tokens.ExpiresAt = now.Add(time.Duration(min(seconds, maxExpiresIn) * float64(time.Second)))
	}
	unusable := ""
	switch {
	case response.AccessToken == "":
		unusable = "the response has no access_token"
	case !strings.EqualFold(response.TokenType, "Bearer"): // N_A, DPoP
		unusable = "the token_type is not Bearer"
	case strings.ContainsFunc(response.AccessToken, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		unusable = "the access_token is not fit for a header"
	}
	if unusable != "" {
		return issue{tokens: tokens}, fmt.Errorf("%w: %s", ErrUnusable, unusable)
	}
	tokens.Access = response.AccessToken
	return issue{tokens, response.IssuedType}, nil
}

// ErrUnusable says that the provider has granted something other than an access
// token that can be sent. The tokens beside it have the new refresh token.
var ErrUnusable = errors.New("token endpoint")

// maxExpiresIn is ten years in seconds. It keeps a nonsensical lifetime from
// overflowing.
const maxExpiresIn = 10 * 365 * 24 * 60 * 60
