package token

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// UserinfoConfig configures a UserinfoVerifier. Provider and ClientID are required.
type UserinfoConfig struct {
	Provider *oidc.Provider
	ClientID string           // must be among the audiences, where there are any
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // is told of refused tokens, at debug level; nil: discard
}

// UserinfoVerifier verifies signed answers of the userinfo endpoint for one client (OpenID Connect Core §5.3.2). It is safe
// for concurrent use.
type UserinfoVerifier struct {
	*verifier
}

// NewUserinfoVerifier refuses a configuration that lacks a required field.
func NewUserinfoVerifier(cfg UserinfoConfig) (*UserinfoVerifier, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("token: userinfo verifier: ClientID is empty; set it to the client's id")
	}
	pr := profile{
		kind:     "userinfo",
		maxLen:   maxIDToken,
		audience: cfg.ClientID,
		types:    []string{"", "jwt"},
		check:    checkUserinfo,
		partial:  true,
	}
	v, err := newVerifier(cfg.Provider, pr, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &UserinfoVerifier{v}, nil
}

func checkUserinfo(c *Claims, _ time.Time) error {
	if c.Subject == "" {
		return errors.New("sub is missing")
	}
	if c.has("events") {
		return errors.New("events: a logout token or another security event, not userinfo")
	}
	return nil
}

// Verify returns the claims of a good answer. That its sub is that of the ID token is left to the caller. Every error is an
// *Error.
func (v *UserinfoVerifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.verify(ctx, raw)
	return c, err
}
