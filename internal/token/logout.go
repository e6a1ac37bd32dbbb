package token

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// logoutLifetime is the lifetime of a logout token without exp, which Ory Hydra
// does not write (ory/hydra#4035) though Back-Channel Logout 1.0 §2.4 requires it.
// With the skew it is two minutes from iat, the longest lifetime that §4
// recommends.
const logoutLifetime = 2*time.Minute - skew

// NewLogoutVerifier returns a verifier of logout tokens (OpenID Connect Back-Channel
// Logout §2.6), whose claims have at least one of Subject and SessionID. The caller
// refuses a jti that was used before, since all replicas must know it. It fails if a
// required field is missing.
func NewLogoutVerifier(cfg ClientConfig) (*ClientVerifier, error) {
	return newClientVerifier(cfg, profile{
		kind:     "logout token",
		types:    []string{"", "jwt", "logout+jwt", "application/logout+jwt"},
		check:    checkLogout,
		lifetime: logoutLifetime,
	})
}

func checkLogout(c *Claims) error {
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
	i := slices.IndexFunc(events, func(m member) bool { return m.name == logoutEvent })
	switch {
	case i < 0:
		return errors.New("events has no logout event")
	case events[i].raw[0] != '{':
		return errors.New("events: the logout event is not an object")
	}
	return nil
}
