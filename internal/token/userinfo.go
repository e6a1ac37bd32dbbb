package token

import "errors"

// NewUserinfoVerifier returns a verifier of signed userinfo responses (OpenID
// Connect Core §5.3.2). The client must be an audience only if there are any. The
// caller compares the sub with that of the ID token. It fails if a required field is
// missing.
func NewUserinfoVerifier(cfg ClientConfig) (*ClientVerifier, error) {
	return newClientVerifier(cfg, profile{
		kind:    "userinfo",
		types:   []string{"", "jwt"},
		check:   checkUserinfo,
		partial: true,
	})
}

func checkUserinfo(c *Claims) error {
	if c.Subject == "" {
		return errors.New("sub is missing")
	}
	if c.has("events") {
		return errors.New("events: a logout token or another security event, not userinfo")
	}
	return nil
}
