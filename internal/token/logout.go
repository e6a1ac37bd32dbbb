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
	ClientID string           // must be among the audiences
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // is told of refused tokens, at debug level; nil: discard
}

// logoutLifetime is how long a logout token without exp is good. Back-Channel Logout 1.0 §2.4 requires exp, its drafts did not,
// and Ory Hydra writes none (ory/hydra#4035). With the skew that is two minutes from iat, the lifetime that the
// specification recommends at most (§4).
const logoutLifetime = 2*time.Minute - skew

// LogoutVerifier verifies logout tokens for one client (OpenID Connect Back-Channel Logout §2.6). It is safe for concurrent
// use. That a jti is used once only is left to the caller, because that memory must be shared by all replicas.
type LogoutVerifier struct {
	*verifier
}

// NewLogoutVerifier refuses a configuration that lacks a required field.
func NewLogoutVerifier(cfg LogoutConfig) (*LogoutVerifier, error) {
	if cfg.ClientID == "" {
		return nil, errors.New("token: logout token verifier: ClientID is empty; set it to the client's id")
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
			return fmt.Errorf("%s is present, which tells an ID token from a logout token", name)
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
		return errors.New("events is no object")
	}
	for _, m := range events {
		if m.name == logoutEvent {
			if m.raw[0] != '{' {
				return errors.New("events: the logout event is no object")
			}
			return nil
		}
	}
	return errors.New("events has no logout event")
}

// Verify returns the claims of a good logout token; Subject or SessionID, or both, are set. Every error is an *Error.
func (v *LogoutVerifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, _, err := v.verify(ctx, raw)
	return c, err
}
