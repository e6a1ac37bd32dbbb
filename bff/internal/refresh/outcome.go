package refresh

import (
	"net/http"
	"time"
)

// A Class says what follows a token request that gave no tokens.
type Class int

// The classes. docs/login.md describes them to operators.
const (
	// Transient failures pass: the token is used while it is valid, and the request is repeated.
	Transient Class = iota + 1
	// Over is the end of the grant, and of the session.
	Over
	// User failures need the user at the provider: no further refresh, and the session ends with its access token.
	User
	// Operator failures need another configuration, here or at the provider.
	Operator
	// Unknown is the outcome of a request that was sent and not answered: the provider may have rotated the refresh token.
	Unknown
)

var classNames = [...]string{"", "transient", "over", "user", "operator", "unknown"}

// String returns the class in one word.
func (c Class) String() string { return classNames[c] }

// byError has the error codes of RFC 6749 section 5.2 and 4.1.2.1, RFC 7009, RFC 8628 and RFC 8707, of OpenID Connect Core
// section 3.1.2.6 and its extensions, and those that providers have added.
var byError = map[string]Class{
	"invalid_grant": Over,

	"access_denied":                     User,
	"account_selection_required":        User,
	"consent_required":                  User,
	"insufficient_user_authentication":  User, // RFC 9470
	"interaction_required":              User,
	"login_required":                    User,
	"mfa_required":                      User, // Auth0
	"unmet_authentication_requirements": User, // OpenID Connect Core Error Code unmet_authentication_requirements

	"server_error":            Transient,
	"slow_down":               Transient,
	"temporarily_unavailable": Transient,

	"invalid_client":         Operator,
	"invalid_request":        Operator,
	"invalid_scope":          Operator,
	"invalid_target":         Operator,
	"unauthorized_client":    Operator,
	"unsupported_grant_type": Operator,
}

// Classify returns the class of an answer without tokens: by its error code and, where that has no class of its own, by its
// HTTP status. code is "" for an answer that holds none, such as a proxy's page, which cannot be interpreted.
func Classify(code string, status int) Class {
	if class, ok := byError[code]; ok {
		return class
	}
	if code == "" || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500 {
		return Transient
	}
	return Operator
}

// A Failure is a token request that gave no tokens.
type Failure struct {
	// Status is the HTTP status of the answer, 0 for none.
	Status int
	// Code is the answer's error code, "" for none that can be read.
	Code string
	// RetryAfter is how long the provider asks to be left alone, 0 if it does not.
	RetryAfter time.Duration
	// NotSent says of a request without an answer that nothing of it has left this process.
	NotSent bool
	// Err is the cause, for the log.
	Err error
}

// Error is the cause's.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Class returns the class of the failure.
func (f *Failure) Class() Class {
	switch {
	case f.Status != 0:
		return Classify(f.Code, f.Status)
	case f.NotSent:
		return Transient
	}
	return Unknown
}
