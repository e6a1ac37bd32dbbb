package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// IDChecks are the checks of an ID token that depend on the request (OpenID
// Connect Core §3.1.3.7).
type IDChecks struct {
	// Nonce is that of the authorization request. It is required at login, when
	// Subject is empty. At a refresh the token need not have a nonce; if it has one
	// and Nonce is given, they must be equal (§12.2).
	Nonce string
	// AccessToken is compared with at_hash if the token has one.
	AccessToken string
	// Subject, if set, is the required sub of an ID token from a refresh (§12.2).
	Subject string
	// MaxAge, if set, requires an auth_time that is at most this long ago, with 60 s
	// of skew.
	MaxAge *time.Duration
	// ACRValues, if not empty, requires acr to be one of them.
	ACRValues []string
}

// An IDVerifier verifies ID tokens for one client. It is safe for concurrent use.
type IDVerifier struct {
	*verifier
}

// NewIDVerifier returns a verifier. It fails if a required field is missing.
func NewIDVerifier(cfg ClientConfig) (*IDVerifier, error) {
	v, err := newClientVerifier(cfg, profile{
		kind:  "ID token",
		types: []string{"", "jwt"},
		check: func(c *Claims) error { return checkID(c, cfg.ClientID) },
	})
	if err != nil {
		return nil, err
	}
	return &IDVerifier{v.verifier}, nil
}

// checkID makes the checks that do not depend on the request.
func checkID(c *Claims, clientID string) error {
	switch {
	case c.Subject == "":
		return errors.New("sub is missing")
	case len(c.Subject) > 255:
		return errors.New("sub is longer than 255 bytes")
	case c.IssuedAt.IsZero():
		return errors.New("iat is missing")
	case c.AuthorizedParty == "" && len(c.Audience) > 1:
		return errors.New("several audiences and no azp")
	case c.AuthorizedParty != "" && c.AuthorizedParty != clientID:
		return fmt.Errorf("azp %.128q is not this client", c.AuthorizedParty)
	}
	if c.has("events") {
		return errors.New("events: a logout token or another security event, not an ID token") // Back-Channel Logout §2.4
	}
	return c.notMarked("id", "Bearer", "Refresh", "Offline", "Logout")
}

// Verify returns the claims of a valid ID token. Every error is an *Error.
func (v *IDVerifier) Verify(ctx context.Context, raw string, checks IDChecks) (*Claims, error) {
	c, key, err := v.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := checks.compare(c, key, v.now()); err != nil {
		return nil, v.refuse(ctx, &Error{ReasonInvalid, err})
	}
	return c, nil
}

func (want *IDChecks) compare(c *Claims, key *oidc.Key, now time.Time) error {
	_, hasNonce := c.raw("nonce")
	switch {
	case want.Subject == "" && want.Nonce == "":
		// The zero value must not accept the ID token of another login.
		return errors.New("no nonce to compare with")
	case want.Subject == "" && !hasNonce:
		return errors.New("nonce is missing")
	case want.Nonce != "" && hasNonce && c.Nonce != want.Nonce:
		return errors.New("nonce differs from that of the request")
	case want.Subject != "" && c.Subject != want.Subject:
		return errors.New("sub differs from that of the session")
	case want.Subject == "" && c.AuthTime.After(now.Add(skew)): // not used at a refresh
		return errors.New("auth_time is in the future")
	}
	if want.AccessToken != "" && c.AtHash != "" {
		h := claimHash(key)
		io.WriteString(h, want.AccessToken)
		if sum := h.Sum(nil); c.AtHash != base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) {
			return errors.New("at_hash differs from that of the access token")
		}
	}
	if want.MaxAge != nil {
		if c.AuthTime.IsZero() {
			return fmt.Errorf("%w: auth_time is missing though max_age was requested", ErrStepUp)
		}
		if now.Sub(c.AuthTime) > *want.MaxAge+skew {
			return fmt.Errorf("%w: auth_time is longer ago than max_age %v", ErrStepUp, *want.MaxAge)
		}
	}
	if len(want.ACRValues) > 0 && !slices.Contains(want.ACRValues, c.ACR) {
		return fmt.Errorf("%w: acr %.128q was not requested", ErrStepUp, c.ACR)
	}
	return nil
}

// ProtocolClaims are the claims of an ID token that describe the token and not the user.
var ProtocolClaims = []string{
	"aud", "iss", "iat", "exp", "nbf", "nonce", "azp", "auth_time", "s_hash", "at_hash", "c_hash",
}
