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
	ClientID string           // must be an audience, if there are any
	Now      func() time.Time // nil means time.Now
	Logger   *slog.Logger     // gets the refused tokens' reasons at debug level; nil discards
}

// A UserinfoVerifier verifies signed userinfo responses for one client (OpenID
// Connect Core §5.3.2). It is safe for concurrent use.
type UserinfoVerifier struct {
	*verifier
}

// NewUserinfoVerifier returns a verifier. It fails if a required field is missing.
func NewUserinfoVerifier(cfg UserinfoConfig) (*UserinfoVerifier, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("token: userinfo verifier: ClientID is missing; give the client's id")
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

// Verify returns the claims of a valid response. The caller compares its sub with
// that of the ID token. Every error is an *Error.
func (v *UserinfoVerifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.verify(ctx, raw)
	return c, err
}
