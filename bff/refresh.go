package bff

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// requestTimeout ends a browser's request that needs the provider.
const requestTimeout = 10 * time.Second

func (b *BFF) newRefresher(cfg Config) *refresh.Refresher {
	return refresh.New(refresh.Config{
		Sessions: b.sessions,
		Grant:    b.refreshGrant,
		Verify:   b.rp.ids.Verify,
		Revoke:   b.revokeAndLog,
		RevokeAt: b.pending.At,
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

// revoke revokes a refresh token at the provider.
func (b *BFF) revoke(ctx context.Context, refreshToken string) error {
	md, err := b.provider.Metadata()
	if err != nil {
		return err
	}
	return b.rp.revoke(ctx, md, refreshToken)
}

// revokeAndLog is revoke for a token of which no session has a copy.
func (b *BFF) revokeAndLog(ctx context.Context, refreshToken string) {
	if err := b.revoke(ctx, refreshToken); err != nil {
		b.logger.WarnContext(ctx, "refresh token not revoked", "err", err)
	}
}

// finalRefusal reports whether an error of a call to the provider will not go
// away by itself.
func finalRefusal(err error) bool {
	refusal, ok := errors.AsType[*oauthError](err)
	return ok && refresh.Classify(refusal.code, refusal.status) != refresh.Transient
}
