package session

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Tokens are the provider's tokens. They never appear in the output of JSON, fmt or slog.
type Tokens struct {
	// Access is the access token, which is sent to the API.
	Access string `json:"-"`
	// Refresh is the refresh token, "" if there is none.
	Refresh string `json:"-"`
	// ID is the ID token as received, for the id_token_hint of a logout request.
	ID string `json:"-"`
	// Type is the token type, Scope the granted scope, separated by spaces.
	Type, Scope string
	// ObtainedAt is when the access token was received, ExpiresAt when it expires, zero if unknown.
	ObtainedAt, ExpiresAt time.Time
}

// end returns when the access token expires if it cannot be refreshed, and zero if it can, or if
// its expiry is unknown.
func (t *Tokens) end() time.Time {
	if t.Refresh != "" {
		return time.Time{}
	}
	return t.ExpiresAt.UTC().Truncate(time.Millisecond)
}

// String returns which tokens there are, and no token.
func (t Tokens) String() string {
	return fmt.Sprintf("Tokens(access %t, refresh %t, id %t, expires %s)",
		t.Access != "", t.Refresh != "", t.ID != "", t.ExpiresAt.UTC().Format(time.RFC3339))
}

// Format writes String for every verb, so that neither %#v nor %x shows a token.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue returns String, for log/slog.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Data is the part of a session that is sealed.
type Data struct {
	// Claims are those of the ID token and of userinfo. Numbers read from a store are json.Number,
	// digit for digit.
	Claims map[string]any
	Tokens Tokens
	// Routes are the user's access tokens for other audiences than the API's. [Manager.Write] keeps
	// the newest of them, at most MaxRoutes and as far as there is room.
	Routes []RouteToken
}

// Session is an open session, as one request sees it. Its fields are read-only: Data may be shared
// with other requests, so its map must not be written to; [Manager.Write] takes new Data. Several
// goroutines may read a Session, except during [Manager.Touch].
type Session struct {
	// Record is the part outside the seal. Its Sealed is nil.
	Record
	Data Data

	bearer string // see Bearer
	handle string // see Handle

	// value is a pointer, which package fmt does not follow in an unexported field.
	value *cookieValue
}

// Ends returns when the session ends if it is not used, and when it ends at the latest. The access
// token's expiry is the latest time if it cannot be refreshed.
func (s *Session) Ends() (idle, latest time.Time) {
	idle, latest = s.IdleExpiresAt, s.ExpiresAt
	if end := s.Data.Tokens.end(); !end.IsZero() {
		latest = earliest(latest, end)
	}
	return earliest(idle, latest), latest
}

const bearerScheme = "Bearer "

// Bearer returns the access token as the value of an Authorization header.
func (s *Session) Bearer() string {
	if token, ok := strings.CutPrefix(s.bearer, bearerScheme); ok && token == s.Data.Tokens.Access {
		return s.bearer // made once, when the session was opened
	}
	return bearerScheme + s.Data.Tokens.Access
}

// Handle returns the String of the ID, for logs.
func (s *Session) Handle() string {
	if s.handle == "" { // one that was not loaded
		return s.ID.String()
	}
	return s.handle
}

// String returns the handle, and neither cookie nor token.
func (s Session) String() string { return "Session(" + s.ID.String() + ")" }

// Format writes String for every verb, so that neither %#v nor %x shows the cookie or a token.
func (s Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns the handle, for log/slog.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.ID.String()) }
