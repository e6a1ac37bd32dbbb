package refresh

import (
	"errors"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
)

// A Class is the kind of a failed token request, by what follows it.
type Class int

// The classes. docs/login.md describes them to operators.
const (
	// Transient failures pass. The token is used while it is valid, and the request is repeated.
	Transient Class = iota + 1
	// Over means that the grant has ended, and with it the session.
	Over
	// User failures need the user at the provider. There is no further refresh,
	// and the session ends with its access token.
	User
	// Operator failures need a change of the configuration, here or at the provider.
	Operator
	// Unknown is the outcome of a request that was sent and not answered: the
	// provider may have rotated the refresh token.
	Unknown
)

var classNames = [...]string{"", "transient", "over", "user", "operator", "unknown"}

// String returns the class in one word.
func (c Class) String() string { return classNames[c] }

// byError has the error codes of RFC 6749 section 5.2 and 4.1.2.1, RFC 7009, RFC
// 8628 and RFC 8707, of OpenID Connect Core section 3.1.2.6 and its extensions,
// and those that providers have added.
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

// Classify returns the class of a response without tokens: by its error code or,
// if that has no class, by its HTTP status. code is "" for a response without
// one, such as the page of a proxy.
func Classify(code string, status int) Class {
	if class, ok := byError[code]; ok {
		return class
	}
	if code == "" || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500 {
		return Transient
	}
	return Operator
}

// classOf returns the class of an error of [rp.Party.Refresh].
func classOf(err error) Class {
	if refusal, ok := errors.AsType[*rp.Error](err); ok {
		return Classify(refusal.Code, refusal.Status)
	}
	if none, ok := errors.AsType[*rp.NoResponse](err); ok {
		if none.Sent {
			return Unknown
		}
		return Transient
	}
	return Classify("", http.StatusOK) // a response that cannot be interpreted
}

// IsFinal reports whether repeating a call to the provider would give the same
// error.
func IsFinal(err error) bool {
	_, ok := errors.AsType[*rp.Error](err)
	return ok && classOf(err) != Transient
}
