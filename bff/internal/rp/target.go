package rp

import (
	"context"
	"fmt"
	"net/url"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// A Target is what an access token is for that is not the session's own. "" means the
// provider's default.
type Target struct {
	// Audience is requested as the session's is: as audience and, if it is an
	// absolute URL, as resource (RFC 8707).
	Audience, Scope string
}

// The grants and token types of RFC 8693.
const (
	GrantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType  = "urn:ietf:params:oauth:token-type:access_token"
	GrantCredentials = "client_credentials"
)

// requestName returns the name of a grant in metrics.
func requestName(grant string) string {
	if grant == GrantExchange {
		return metrics.RequestExchange
	}
	return grant
}

// RefreshFor is Refresh for another audience (RFC 8707 §2.2). The provider may ignore
// the target.
func (p *Party) RefreshFor(ctx context.Context, refreshToken string, t Target) (session.Tokens, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	issued, err := p.forTarget(ctx, form, t)
	return issued.tokens, err
}

// ClientTokens requests an access token for the client itself (RFC 6749 §4.4).
func (p *Party) ClientTokens(ctx context.Context, t Target) (session.Tokens, error) {
	issued, err := p.forTarget(ctx, url.Values{"grant_type": {GrantCredentials}}, t)
	return issued.tokens, err
}

// ExchangeToken exchanges a user's access token for one with another audience (RFC
// 8693).
func (p *Party) ExchangeToken(ctx context.Context, accessToken string, t Target) (session.Tokens, error) {
	issued, err := p.forTarget(ctx, url.Values{
		"grant_type":           {GrantExchange},
		"subject_token":        {accessToken},
		"subject_token_type":   {accessTokenType},
		"requested_token_type": {accessTokenType},
	}, t)
	if err == nil && issued.kind != accessTokenType {
		return session.Tokens{}, fmt.Errorf("%w: the issued_token_type is not that of an access token", ErrUnusable)
	}
	return issued.tokens, err
}

func (p *Party) forTarget(ctx context.Context, form url.Values, t Target) (issue, error) {
	md, err := p.cfg.Provider.AwaitMetadata(ctx)
	if err != nil {
		return issue{}, &NoResponse{false, err}
	}
	p.addAudience(form, t.Audience)
	if t.Scope != "" {
		form.Set("scope", t.Scope)
	}
	limit := CallTimeout
	if form.Get("refresh_token") != "" { // which may be spent
		limit = p.cfg.RefreshTimeout + ConnectTimeout
	}
	return p.request(ctx, limit, md, form)
}
