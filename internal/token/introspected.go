package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxOpaque bounds an opaque token, in bytes. Known ones have 20 to 300.
const maxOpaque = 4 << 10

// HasJWTForm reports whether a token has the form of a JWT: segments, of which the
// first is a JSON object. A JWT that is refused must not pass as an opaque token because
// the provider reads it with less care, so padding, the other alphabet of base64, foreign
// characters and any number of segments make no difference. It does not allocate.
func HasJWTForm(raw string) bool {
	head, _, segmented := strings.Cut(raw, ".")
	if !segmented {
		return false
	}
	const enough = 64 // characters, of which 48 bytes are decoded
	var digits [enough]byte
	n := 0
	for i := 0; i < len(head) && n < enough; i++ {
		c := head[i]
		switch c {
		case '+':
			c = '-'
		case '/':
			c = '_'
		}
		if base64url[c] {
			digits[n] = c
			n++
		}
	}
	if n%4 == 1 { // a single character encodes nothing
		n--
	}
	var decoded [enough]byte
	m, err := base64.RawURLEncoding.Decode(decoded[:], digits[:n])
	if err != nil || m == 0 {
		return false
	}
	text := bytes.TrimLeft(decoded[:m], " \t\r\n\ufeff")
	if len(text) == 0 {
		return true // white space only, and no opaque token begins so by chance
	}
	// Random bytes are no UTF-8, so that no opaque token with dots is taken for a JWT. The
	// last character may be cut.
	for cut := 0; cut < utf8.UTFMax-1 && !utf8.Valid(text); cut++ {
		text = text[:len(text)-1]
	}
	return len(text) > 0 && text[0] == '{' && utf8.Valid(text)
}

// CheckOpaque returns an error for a text that cannot be an opaque token: b64token of
// RFC 6750 §2.1, at most 4 KiB, and not of the form of a JWT.
func CheckOpaque(raw string) *Error {
	switch text := strings.TrimRight(raw, "="); {
	case raw == "":
		return &Error{ReasonMissing, errors.New("no token")}
	case len(raw) > maxOpaque:
		return &Error{ReasonMalformed, fmt.Errorf("%d bytes, more than the %d of an opaque token that are accepted", len(raw), maxOpaque)}
	case text == "" || strings.ContainsFunc(text, func(c rune) bool {
		return c >= 0x80 || !base64url[c] && !strings.ContainsRune(".~+/", c)
	}):
		return &Error{ReasonMalformed, errors.New("characters that no bearer token has (RFC 6750 §2.1)")}
	case HasJWTForm(raw):
		return &Error{ReasonMalformed, errors.New("a JWT, which is not introspected")}
	}
	return nil
}

// ErrNotActive is the cause of the refusal of a token that the provider calls inactive.
var ErrNotActive = errors.New("the provider says that the token is not active")

// ErrResponse is wrapped by errors about an introspection response that says nothing
// about the token.
var ErrResponse = errors.New("not a response of RFC 7662 §2.2")

// An IntrospectionProfile says which introspection responses make a token acceptable.
type IntrospectionProfile struct {
	Audience             string // must be among the token's
	InsecureIDTokenShape bool   // as in AccessConfig
}

// Read returns the claims in the response of an introspection endpoint (RFC 7662 §2.2)
// of issuer. A registered claim must have the JSON type that it has in a JWT. The error
// is an *Error: ReasonUnavailable, wrapping ErrResponse, for a response that says
// nothing about the token, and any other reason for a token that is refused. The claims
// are those of a token that the provider calls active, nil if they cannot be read.
//
// The expiry is optional, as in the RFC, and has no leeway: the provider knows better.
func (p *IntrospectionProfile) Read(response, issuer string, now time.Time) (*Claims, error) {
	members, err := parseObject(response)
	if err != nil {
		return nil, &Error{ReasonUnavailable, fmt.Errorf("%w: %w", ErrResponse, err)}
	}
	active := slices.IndexFunc(members, func(m member) bool { return m.name == "active" })
	switch {
	case active < 0:
		return nil, &Error{ReasonUnavailable, fmt.Errorf("%w: active is missing", ErrResponse)}
	case members[active].raw == "false":
		return nil, &Error{ReasonInvalid, ErrNotActive}
	case members[active].raw != "true":
		return nil, &Error{ReasonUnavailable, fmt.Errorf("%w: active is neither true nor false", ErrResponse)}
	}
	c, err := parseClaims(response)
	if err != nil {
		return nil, invalid("introspection response: %w", err)
	}
	c.introspected = true
	if !c.has("iss") { // optional
		c.Issuer = issuer
	}
	if err := p.check(c, issuer, now); err != nil {
		return c, err
	}
	return c, nil
}

func (p *IntrospectionProfile) check(c *Claims, issuer string, now time.Time) error {
	switch {
	case c.Issuer != issuer:
		return invalid("iss %.128q is not %q", c.Issuer, issuer)
	case !slices.Contains(c.Audience, p.Audience):
		return invalid("aud does not contain %q", p.Audience)
	case !c.Expiry.IsZero() && !now.Before(c.Expiry):
		return &Error{ReasonExpired, fmt.Errorf("exp was %s", c.Expiry.UTC().Format(time.RFC3339))}
	case c.NotBefore.After(now.Add(skew)):
		return invalid("nbf is in the future")
	case c.IssuedAt.After(now.Add(skew)):
		return invalid("iat is in the future")
	}
	// token_type is that of RFC 6749 §5.1; at Duende IdentityServer it is "access_token".
	if raw, ok := c.raw("token_type"); ok {
		if kind, ok := decodeString(raw); !ok || !strings.EqualFold(kind, "Bearer") && kind != introspectedUse {
			return invalid("token_type is not Bearer")
		}
	}
	if c.tokenUse == introspectedUse {
		c.tokenUse = "access"
	}
	rules := &accessProfile{idTokenShape: p.InsecureIDTokenShape} // no ID token is opaque
	if err := rules.check(c); err != nil {
		return &Error{ReasonInvalid, err}
	}
	return nil
}

// introspectedUse is the token_use of access tokens in responses of Ory Hydra, and the
// token_type in those of Duende IdentityServer.
const introspectedUse = "access_token"
