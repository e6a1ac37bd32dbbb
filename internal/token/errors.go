package token

import "errors"

// ErrUnavailable is wrapped by errors that say that the provider's metadata or keys are not there (yet): the caller's
// token may well be good, so the answer is 503 and not 401.
var ErrUnavailable = errors.New("token: provider unavailable")

// ErrNoKey is wrapped by errors that say that the provider's key set has no key for a token, as far as is known here: the
// signature was not verified, and may be good.
var ErrNoKey = errors.New("no key to verify the signature with")

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
// that is secret. An error with ReasonUnavailable wraps ErrUnavailable.
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

// Is makes errors.Is(err, ErrUnavailable) true for every error with ReasonUnavailable.
func (e *Error) Is(target error) bool {
	return target == ErrUnavailable && e.Reason == ReasonUnavailable
}
