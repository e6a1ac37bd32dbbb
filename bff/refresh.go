package bff

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// requestTimeout ends a browser's request that needs the provider.
const requestTimeout = 10 * time.Second

func (b *BFF) newRefresher(cfg Config) *refresh.Refresher {
	return refresh.New(refresh.Config{
		Sessions: b.sessions,
		Grant:    b.refreshGrant,
		Verify:   b.rp.ids.Verify,
		Revoke:   b.revoke,
		RevokeAt: b.pending.at,
		Setting:  func(code string) string { return cfg.SettingName(settingFor(code, cfg)) },
		Work:     &b.work,
		Now:      cfg.Now,
		Logger:   cfg.Logger,
	})
}

// settingFor returns the field of Config that an operator looks at first when
// the token endpoint answers with an error code.
func settingFor(code string, cfg Config) string {
	switch code {
	case "invalid_client", "unauthorized_client": // the latter is Keycloak's for a wrong secret
		if cfg.Client.Key != "" && cfg.Client.Auth != AuthBasic && cfg.Client.Auth != AuthPost {
			return "Client.Key"
		}
		return "Client.Secret"
	case "invalid_scope", "unsupported_grant_type":
		return "Login.Scope"
	case "invalid_target", "invalid_request":
		return "Login.Audience"
	}
	return "Client.ID"
}

// refreshGrant trades a refresh token for new tokens. An error is a
// *refresh.Failure.
func (b *BFF) refreshGrant(ctx context.Context, refreshToken string) (session.Tokens, error) {
	md, err := b.provider.AwaitMetadata(ctx)
	if err != nil {
		return session.Tokens{}, &refresh.Failure{NotSent: true, Err: err}
	}
	tokens, err := b.rp.refresh(ctx, md, refreshToken)
	if err == nil {
		return tokens, nil
	}
	failure := &refresh.Failure{Status: http.StatusOK, Err: err} // an answer that cannot be interpreted
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		failure.Status, failure.Code, failure.RetryAfter = refusal.status, refusal.code, refusal.retryAfter
	} else if none, ok := errors.AsType[*noAnswer](err); ok {
		failure.Status, failure.NotSent = 0, !none.sent
	}
	return session.Tokens{}, failure
}

// unrenewed answers a request whose session has no access token that is good,
// though it may have one later.
func unrenewed(w http.ResponseWriter, cause *refresh.Unavailable) {
	wait := respond.RetryAfter
	if cause.RetryAfter > 0 {
		wait = strconv.Itoa(int((cause.RetryAfter + time.Second - 1) / time.Second))
	}
	w.Header().Set("Retry-After", wait)
	respond.Error(w, http.StatusServiceUnavailable, "the sign-in service does not renew your access at the moment; you are still signed in")
}

// at revokes a refresh token when it is due.
func (p *revocations) at(ctx context.Context, refreshToken string, due time.Time) {
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pending := pendingToken{refreshToken, due.Add(revocationPatience).Unix()}
	if err := p.put(bounded, rand.Text(), pending, due.Sub(p.now())); err != nil {
		p.log.WarnContext(ctx, "refresh token not revoked", "cause", err)
	}
}
