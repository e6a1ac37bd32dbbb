// Package routetoken owns the access tokens of routes that take another token
// than the session's: the client's own, and tokens for another audience. It
// leaves the session's own token, and the session's refresh token, to package
// refresh, requests to the provider to package rp, and answers to browsers to
// its caller.
package routetoken

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A Grant is how the token of a route is obtained.
type Grant string

// The grants.
const (
	// Client is the client's own token, by the client credentials grant (RFC 6749 §4.4).
	Client Grant = "client"
	// Refresh is the user's, by the session's refresh token.
	Refresh Grant = "refresh"
	// Exchange is the user's, by a token exchange (RFC 8693) of the session's access token.
	Exchange Grant = "exchange"
)

// A Route says which token the requests of a route carry.
type Route struct {
	// Path names the route in log lines. Setting names its element of the
	// configuration, such as "routes[1]".
	Path, Setting string
	Grant         Grant
	// Audience is what the token must be for. It is required, except with Client,
	// where "" means that the token is not examined.
	Audience string
	// Scope is the requested scope, "" for the provider's default.
	Scope string
}

// Tokens gives routes their tokens. It is safe for concurrent use.
type Tokens struct{}

// Source returns the source of a route's tokens.
func (t *Tokens) Source(r Route) *Source { return &Source{r} }

// A Source gives the requests of a route their tokens. It is safe for concurrent
// use.
type Source struct{ route Route }

// Authorization returns the value of the Authorization header for a request of a
// session, nil with Client. [session.ErrNotFound] means that the session is over, an
// *[Error] that there is no token, any other error that the session store does not
// answer.
func (src *Source) Authorization(context.Context, *session.Session) (string, error) {
	return "", &Error{Status: http.StatusServiceUnavailable, Message: "this route has no token", Err: errors.New("tokens of routes are not supported yet")}
}

// Refused tells that the upstream has refused a value of Authorization with 401. It
// reports whether Authorization will obtain another one: not if that was done a short
// while ago. It does not block.
func (src *Source) Refused(*session.Session, string) bool { return false }

// An Error means that there is no token for a route at the moment. The session
// goes on.
type Error struct {
	// Status is that of the answer to the browser: 403 if the provider does not
	// give this user such a token, 502 if the configuration has to be corrected,
	// 503 for everything that passes.
	Status int
	// RetryAfter is the time until the next attempt, 0 if it is not known.
	RetryAfter time.Duration
	// Message is for the browser, and says nothing of the cause.
	Message string
	// Err is for the log.
	Err error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
