package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// LogoutConfig configures a LogoutVerifier. Provider and ClientID are required.
type LogoutConfig struct {
	Provider *oidc.Provider
	ClientID string           // must be an audience
	Now      func() time.Time // nil means time.Now
	Logger   *slog.Logger     // gets the refused tokens' reasons at debug level; nil discards
}

// logoutLifetime is the lifetime of a logout token without exp, which Ory Hydra
// does not write (ory/hydra#4035) though Back-Channel Logout 1.0 §2.4 requires it.
// With the skew it is two minutes from iat, the longest lifetime that §4
// recommends.
const logoutLifetime = 2*time.Minute - skew

// A LogoutVerifier verifies logout tokens for one client (OpenID Connect
// Back-Channel Logout §2.6). It is safe for concurrent use. The caller refuses a
// jti that was used before, since all replicas must know it.
type LogoutVerifier struct {
	*verifier
}

// NewLogoutVerifier returns a verifier. It fails if a required field is missing.
func NewLogoutVerifier(cfg LogoutConfig) (*LogoutVerifier, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("token: logout token verifier: ClientID is missing; give the client's id")
	}
	pr := profile{
		kind:     "logout token",
		maxLen:   maxIDToken,
		audience: cfg.ClientID,
		types:    []string{"", "jwt", "logout+jwt", "application/logout+jwt"},
		check:    checkLogout,
		lifetime: logoutLifetime,
	}
	v, err := newVerifier(cfg.Provider, pr, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &LogoutVerifier{v}, nil
}

func checkLogout(c *Claims, _ time.Time) error {
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if c.has(name) {
			return fmt.Errorf("%s: an ID token, not a logout token", name)
		}
	}
	if err := c.notMarked("logout", "Bearer", "ID", "Refresh", "Offline"); err != nil {
		return err
	}
	switch {
	case c.Subject == "" && c.SessionID == "":
		return errors.New("neither sub nor sid")
	case c.IssuedAt.IsZero():
		return errors.New("iat is missing")
	case c.ID == "":
		return errors.New("jti is missing")
	}
	raw, ok := c.raw("events")
	if !ok {
		return errors.New("events is missing")
	}
	events, err := parseObject(raw)
	if err != nil {
		return errors.New("events is not an object")
	}
	for _, m := range events {
		if m.name == logoutEvent {
			if m.raw[0] != '{' {
				return errors.New("events: the logout event is not an object")
			}
			return nil
		}
	}
	return errors.New("events has no logout event")
}

// Verify returns the claims of a valid logout token. At least one of Subject and
// SessionID is set. Every error is an *Error.
func (v *LogoutVerifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.verify(ctx, raw)
	return c, err
}
