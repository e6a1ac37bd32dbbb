package token

import (
	"errors"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// ErrStepUp is wrapped by errors that say that an ID token is good, and tells of a login that is not as fresh or as strong
// as was asked for (IDChecks.MaxAge, IDChecks.ACRValues).
var ErrStepUp = errors.New("the login is not what was asked for")

// Reason is why a token was not accepted: all that may be told to whoever sent it.
type Reason int

// The reasons. ReasonUnavailable is the only one that is no fault of the token: 503, the others 401.
const (
	ReasonInvalid     Reason = iota + 1 // wrong in any way that has no reason of its own
	ReasonMissing                       // there was no token
	ReasonMalformed                     // not a compact JWS of the strict kind that is accepted here
	ReasonExpired                       // authentic, but past its exp
	ReasonRevoked                       // authentic, but denied
	ReasonUnavailable                   // the keys or the denials could not be consulted
)

// String returns the reason as one public word.
func (r Reason) String() string {
	switch r {
	case ReasonMissing:
		return "missing"
	case ReasonMalformed:
		return "malformed"
	case ReasonExpired:
		return "expired"
	case ReasonRevoked:
		return "revoked"
	case ReasonUnavailable:
		return "unavailable"
	default:
		return "invalid"
	}
}

// Error is the error of every verification. Reason is public; Err is for the log, and never holds the token or a part of it
// that is secret. An error with ReasonUnavailable wraps oidc.ErrUnavailable.
type Error struct {
	Reason Reason
	Err    error
}

// Error tells reason and cause, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return "token: " + e.Reason.String()
	}
	return "token: " + e.Reason.String() + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, oidc.ErrUnavailable) true for every error with ReasonUnavailable.
func (e *Error) Is(target error) bool {
	return target == oidc.ErrUnavailable && e.Reason == ReasonUnavailable
}
