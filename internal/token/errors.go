package token

import (
	"errors"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// ErrStepUp is wrapped by errors that say that an ID token is valid, but its
// authentication is older or weaker than requested (IDChecks.MaxAge,
// IDChecks.ACRValues).
var ErrStepUp = errors.New("authentication older or weaker than requested")

// A Reason is the public reason for which a token was refused.
type Reason int

// The reasons. ReasonUnavailable says nothing about the token: it becomes 503, the
// others 401.
const (
	ReasonInvalid     Reason = iota + 1 // invalid, without a reason of its own
	ReasonMissing                       // no token
	ReasonMalformed                     // not a compact JWS, or one that is not accepted
	ReasonExpired                       // authentic, but expired
	ReasonRevoked                       // authentic, but revoked
	ReasonUnavailable                   // keys or revocations not available
)

var reasons = [...]string{
	ReasonInvalid:     "invalid",
	ReasonMissing:     "missing",
	ReasonMalformed:   "malformed",
	ReasonExpired:     "expired",
	ReasonRevoked:     "revoked",
	ReasonUnavailable: "unavailable",
}

// String returns the reason as one word.
func (r Reason) String() string {
	if r < ReasonInvalid || r > ReasonUnavailable {
		return "invalid"
	}
	return reasons[r]
}

// An Error is the error of every verification. Reason is public. Err is for the
// log and never contains the token. An error with ReasonUnavailable matches
// oidc.ErrUnavailable.
type Error struct {
	Reason Reason
	Err    error
}

// Error returns reason and cause, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return "token: " + e.Reason.String()
	}
	return "token: " + e.Reason.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an error with ReasonUnavailable match oidc.ErrUnavailable.
func (e *Error) Is(target error) bool {
	return target == oidc.ErrUnavailable && e.Reason == ReasonUnavailable
}
