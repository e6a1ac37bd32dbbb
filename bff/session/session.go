package session

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Tokens are what the provider gave. The tokens themselves never appear in JSON, fmt or slog output.
type Tokens struct {
	// Access is the access token that goes to the API.
	Access string `json:"-"`
	// Refresh is the refresh token, "" if the provider gave none.
	Refresh string `json:"-"`
	// ID is the ID token as it came, for the logout request's id_token_hint.
	ID string `json:"-"`
	// Type is the token type, Scope what was granted, separated by spaces.
	Type, Scope string
	// ObtainedAt is when the access token came, ExpiresAt when it ends; zero if the provider did not say.
	ObtainedAt, ExpiresAt time.Time
}

// end returns when the access token expires for good, there being no refresh token to renew it with; zero if it can be
// renewed, or if its expiry is unknown.
func (t *Tokens) end() time.Time {
	if t.Refresh != "" {
		return time.Time{}
	}
	return t.ExpiresAt.UTC().Truncate(time.Millisecond)
}

// String says which tokens there are and shows none.
func (t Tokens) String() string {
	return fmt.Sprintf("Tokens(access %t, refresh %t, id %t, expires %s)",
		t.Access != "", t.Refresh != "", t.ID != "", t.ExpiresAt.UTC().Format(time.RFC3339))
}

// Format is String for every verb, so that neither %#v nor %x shows a token.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String, for log/slog.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Data is the part of a session that is sealed.
type Data struct {
	// Claims are those of the ID token and of userinfo. Numbers that come out of a store are json.Number, digit for digit.
	Claims map[string]any
	Tokens Tokens
}

// Session is an open session, as one request sees it. Its fields are for reading: Data may be shared with other requests,
// so its map is never written to; [Manager.Write] takes new Data. Several goroutines may read a Session, but none while
// [Manager.Touch] is given it.
type Session struct {
	// Record is what lies outside the seal. Sealed is nil in it.
	Record
	Data Data

	bearer string // see Bearer

	// value is behind a pointer since package fmt, which calls no method of an unexported field, follows none there.
	value *cookieValue
}

// Ends returns when the session ends if it is not used, and when at the latest: with its access token, if that cannot be
// renewed.
func (s *Session) Ends() (idle, latest time.Time) {
	idle, latest = s.IdleExpiresAt, s.ExpiresAt
	if end := s.Data.Tokens.end(); !end.IsZero() {
		latest = earliest(latest, end)
	}
	return earliest(idle, latest), latest
}

const bearerScheme = "Bearer "

// Bearer is the access token as the value of an Authorization header.
func (s *Session) Bearer() string {
	if token, ok := strings.CutPrefix(s.bearer, bearerScheme); ok && token == s.Data.Tokens.Access {
		return s.bearer // made once, when the session was opened
	}
	return bearerScheme + s.Data.Tokens.Access
}

// String shows the handle and nothing that is worth stealing.
func (s Session) String() string { return "Session(" + s.ID.String() + ")" }

// Format is String for every verb, so that neither %#v nor %x shows the cookie or a token.
func (s Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is the handle, for log/slog.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.ID.String()) }
