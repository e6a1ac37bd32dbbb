// Package audit owns the record of what was done with sessions, tokens and
// settings, by whom and from where: its events, their form as JSON, and the file
// that they are written to. It leaves what happens to the parts that report it,
// and how long records are kept to the operator.
//
// Recording is synchronous: what an event reports has its effect, or its answer
// is sent, only after the handler has returned. No event contains a token, a
// cookie, a code or a secret.
package audit

import (
	"context"
	"time"
)

// A Handler stores events. It is called synchronously and from several
// goroutines at once, also after the client of a request has gone away; it must
// limit the time that it takes itself. An error does not undo what has happened:
// the part that reports the event logs it.
type Handler func(context.Context, Event) error

// An Action says what an event reports.
type Action string

// The actions. docs/audit.md describes the fields of each.
const (
	// SignIn: a user has signed in, and a session has begun.
	SignIn Action = "sign_in"
	// SignInRefused: the provider's response to a login was refused, or the
	// provider has refused the login.
	SignInRefused Action = "sign_in_refused"
	// SignOut: a session was ended by a logout; Cause says which kind.
	SignOut Action = "sign_out"
	// SessionEnded: a session was ended by something other than a logout of its
	// user; Cause and By say by what.
	SessionEnded Action = "session_ended"
	// RefreshRefused: the provider has refused to refresh a session's tokens.
	RefreshRefused Action = "refresh_refused"
	// SubjectRevoked: all tokens and sessions of a subject were revoked.
	SubjectRevoked Action = "subject_revoked"
	// CallDenied: a call to the API was refused for its token or by its policy.
	CallDenied Action = "call_denied"
	// RateLimited: a client has reached a limit. It is reported once a minute for
	// each client and limit, with the number of requests refused since the last
	// report in Count.
	RateLimited Action = "rate_limited"
	// KeySetChanged: the provider's set of signing keys has changed.
	KeySetChanged Action = "key_set_changed"
	// SettingChanged: a setting was changed while the process runs.
	SettingChanged Action = "setting_changed"
)

// An Event is one entry of the audit log. Fields that do not apply are empty and
// absent from its JSON.
type Event struct {
	// Time is when the event happened, in UTC.
	Time time.Time `json:"time"`
	// Action says what happened.
	Action Action `json:"action"`
	// Part is the part that reports it: bff, gateway, server or program.
	Part string `json:"part"`
	// Cause is a stable word for why it happened, from the table in docs/audit.md.
	Cause string `json:"cause,omitempty"`
	// Issuer and Subject identify the user or machine that the event is about:
	// the claims iss and sub of its tokens.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// ByIssuer and BySubject identify the caller, if it is not the subject itself,
	// such as an operator who ends another user's session.
	ByIssuer  string `json:"by_issuer,omitempty"`
	BySubject string `json:"by_subject,omitempty"`
	// Client is the address of the client. Behind proxies it is right if the
	// trusted proxies are configured.
	Client string `json:"client,omitempty"`
	// Session is the handle of the session, which the access log and the list of
	// sessions show too. It gives no access.
	Session string `json:"session,omitempty"`
	// RequestID and TraceID are those of the request, for its lines in the log and
	// its trace.
	RequestID string `json:"request_id,omitempty"`
	TraceID   string `json:"trace_id,omitempty"`
	// Method is the full name of the gRPC method that was called.
	Method string `json:"method,omitempty"`
	// Setting is the name of the setting that has changed or of the limit that was
	// reached, and Value its new value if that is no secret.
	Setting string `json:"setting,omitempty"`
	Value   string `json:"value,omitempty"`
	// Keys are the ids of the keys in a changed key set.
	Keys []string `json:"keys,omitempty"`
	// Count is the number of occurrences that one event stands for; 0 means one.
	Count int64 `json:"count,omitempty"`
}
