package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The kinds of token exclude each other, so that none passes for another with the
// same issuer and audience (RFC 8725 §3.11, §3.12).

// accessTypes are the header types of RFC 9068 §2.1, in lower case.
var accessTypes = []string{"at+jwt", "application/at+jwt"}

// isAccessType reports whether the header says that the token is an access token.
func (c *Claims) isAccessType() bool { return slices.Contains(accessTypes, strings.ToLower(c.Type)) }

// An accessProfile refuses tokens that are not access tokens.
type accessProfile struct {
	idTokenClients []string // ids of clients whose ID tokens are refused
	idTokenShape   bool     // nonce and at_hash are accepted
}

func (p *accessProfile) check(c *Claims) error {
	if c.Subject == "" && c.ClientID == "" {
		return errors.New("neither sub nor a client id")
	}
	// All users would be one caller, the client: lightweight access tokens of Keycloak
	// name the session and not the user.
	for _, name := range []string{"sid", "auth_time", "username"} {
		if c.Subject == "" && c.has(name) {
			return fmt.Errorf("%s without sub: a user's token that does not name the user; have the provider write sub into access tokens", name)
		}
	}
	if c.has("events") {
		return errors.New("events: a logout token or another security event, not an access token") // RFC 8417 §2.2
	}
	if err := c.notMarked("access", "ID", "Refresh", "Offline", "Logout"); err != nil {
		return err
	}
	// Claims of ID tokens (OpenID Connect Core §3.3.2.11, FAPI 1.0 part 2 §5.1).
	for _, name := range []string{"c_hash", "s_hash"} {
		if c.has(name) {
			return fmt.Errorf("%s: an ID token, not an access token", name)
		}
	}
	if !p.idTokenShape {
		switch {
		case c.has("at_hash"):
			return errors.New("at_hash: an ID token, not an access token")
		case c.has("nonce") && !c.isAccessType() && c.payloadType != "Bearer": // Keycloak before 25 copies nonce into access tokens
			return errors.New("nonce: an ID token, not an access token")
		}
	}
	if !c.isAccessType() {
		for _, id := range p.idTokenClients {
			if slices.Contains(c.Audience, id) {
				return fmt.Errorf("aud contains the client id %q and typ is not at+jwt: an ID token", id)
			}
		}
	}
	return nil
}

// notMarked refuses a payload typ of another kind (Keycloak) and a token_use other
// than use (Cognito).
func (c *Claims) notMarked(use string, others ...string) error {
	for _, other := range others {
		if strings.EqualFold(c.payloadType, other) {
			return fmt.Errorf("payload typ %.128q: another kind of token", c.payloadType)
		}
	}
	if c.has("token_use") && c.tokenUse != use {
		return fmt.Errorf("token_use %.128q is not %s", c.tokenUse, use)
	}
	return nil
}

// has reports whether there is a claim with this name, including null.
func (c *Claims) has(name string) bool {
	_, ok := c.raw(name)
	return ok
}
