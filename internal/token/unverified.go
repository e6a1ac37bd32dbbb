package token

import (
	"errors"
	"fmt"
	"time"
)

// Unverified is what an access token for another server says. It decides only
// whether a token that the provider has just issued is of use there: its signature,
// of any algorithm, is that server's to verify.
type Unverified struct {
	Audience []string
	Expiry   time.Time // zero without exp
}

// ErrOpaque says that a token is not a JWT that can be read.
var ErrOpaque = errors.New("not a JWT")

// ReadUnverified reads an access token with the limits of verification, and without
// its signature. The error is ErrOpaque for a token that is not a JWT.
func ReadUnverified(raw string) (Unverified, error) {
	dots, err := separate(raw, maxAccess)
	if err != nil {
		return Unverified{}, fmt.Errorf("%w: %w", ErrOpaque, err)
	}
	head, err := decodeSegment(raw[:dots[0]])
	if err == nil {
		_, err = parseObject(string(head))
	}
	if err != nil {
		return Unverified{}, fmt.Errorf("%w: header: %w", ErrOpaque, err)
	}
	payload, err := decodeSegment(raw[dots[0]+1 : dots[1]])
	if err != nil {
		return Unverified{}, fmt.Errorf("%w: payload: %w", ErrOpaque, err)
	}
	members, err := parseObject(string(payload))
	if err != nil {
		return Unverified{}, fmt.Errorf("payload: %w", err)
	}
	var u Unverified
	for _, m := range members {
		ok := true
		switch m.name {
		case "aud":
			u.Audience, ok = stringOrList(m.raw)
		case "exp":
			u.Expiry, ok = numericDate(m.raw)
		case "cnf": // as in parseClaims
			return Unverified{}, errors.New("cnf: the token is bound to a key, which is not supported")
		}
		if !ok {
			return Unverified{}, fmt.Errorf("claim %s has the wrong type or an invalid value", m.name)
		}
	}
	return u, nil
}
