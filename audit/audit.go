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
	// SubjectRevoked: all tokens and sessions of a subject were revoked, those of its
	// logins in progress too; Cause is Operator, BackChannel or Everywhere, which spares
	// the current session. Each session has an event of its own.
	SubjectRevoked Action = "subject_revoked"
	// CallDenied: a call to the API was refused for its token or by its policy. Calls
	// that a policy refuses have an event each; those without a valid token are reported
	// like RateLimited, for each client and cause.
	CallDenied Action = "call_denied"
	// RateLimited: a client has reached a limit. The first refusal is reported at once,
	// the others of the next minute as one event, with their number in Count.
	RateLimited Action = "rate_limited"
	// KeySetChanged: the provider's set of signing keys has changed.
	KeySetChanged Action = "key_set_changed"
	// SettingChanged: a setting was changed while the process runs.
	SettingChanged Action = "setting_changed"
)

// A Cause is a stable word for why something happened.
type Cause string

// The causes of a [SignOut].
const (
	// User: the user has signed out in this browser.
	User Cause = "user"
	// OtherDevice: the user has ended the session from another of their sessions.
	OtherDevice Cause = "other_device"
	// Everywhere: the user has signed out everywhere else.
	Everywhere Cause = "everywhere"
	// BackChannel: the provider has sent a logout token.
	BackChannel Cause = "back_channel"
	// FrontChannel: a page of the provider has named the session.
	FrontChannel Cause = "front_channel"
)

// The causes of a [SessionEnded].
const (
	// Operator: an operator has ended it; ByIssuer and BySubject say which.
	Operator Cause = "operator"
	// Expired: a timeout has passed, or its access token has expired and cannot be
	// refreshed.
	Expired Cause = "expired"
	// Replaced: its browser has signed in again.
	Replaced Cause = "replaced"
	// Evicted: the subject had as many sessions as are allowed, and has begun another.
	Evicted Cause = "evicted"
	// NotRefreshed: the provider has refused to refresh its tokens.
	NotRefreshed Cause = "not_refreshed"
	// Mismatch: refreshed tokens were those of another user or login.
	Mismatch Cause = "mismatch"
)

// The causes of a [SignInRefused].
const (
	// Stale: the browser has no such login, or its login was used before.
	Stale Cause = "stale"
	// Response: the response in the browser was not valid, or its code was refused.
	Response Cause = "response"
	// Cancelled: the user or the provider has denied access (access_denied).
	Cancelled Cause = "cancelled"
	// NeedsUser: the provider has to ask the user something, mostly for prompt=none.
	NeedsUser Cause = "needs_user"
	// Provider: the provider has answered with another error.
	Provider Cause = "provider"
	// Tokens: the provider's tokens were not valid.
	Tokens Cause = "tokens"
	// StepUp: the sign-in was older or weaker than required.
	StepUp Cause = "step_up"
	// Application: the application has refused it; Reason has its word for why.
	Application Cause = "application"
	// SignedOut: the user was signed out while the login was in progress.
	SignedOut Cause = "signed_out"
)

// The causes of a [RefreshRefused].
const (
	// GrantEnded: the refresh token is not valid any more (invalid_grant).
	GrantEnded Cause = "grant_ended"
	// UserNeeded: the provider requires a login, and the session ends with its access
	// token.
	UserNeeded Cause = "user_needed"
	// Configuration: the provider refuses this client or its request.
	Configuration Cause = "configuration"
)

// The causes of a [CallDenied].
const (
	TokenMissing      Cause = "token_missing"
	TokenInvalid      Cause = "token_invalid"
	TokenExpired      Cause = "token_expired"
	TokenRevoked      Cause = "token_revoked"
	ScopeMissing      Cause = "scope_missing"
	PermissionMissing Cause = "permission_missing"
	StepUpRequired    Cause = "step_up_required"
	// CallerNotAllowed: the method does not admit the class of the caller.
	CallerNotAllowed Cause = "caller_class_not_allowed"
)

// The causes of a [KeySetChanged].
const (
	// FirstKeys: the process has fetched the keys for the first time.
	FirstKeys Cause = "first"
	// Rotated: keys were added or withdrawn.
	Rotated Cause = "rotated"
)

// The causes of a [SettingChanged].
const (
	// AdminPort: it was changed at the admin port.
	AdminPort Cause = "admin_port"
	// FileChanged: its file has changed.
	FileChanged Cause = "file"
	// TimeOver: a change for a limited time has ended.
	TimeOver Cause = "time_over"
)

// An Event is one entry of the audit log. Fields that do not apply are empty and
// absent from its JSON.
type Event struct {
	// Time is when the event happened, in UTC.
	Time time.Time `json:"time"`
	// Action says what happened.
	Action Action `json:"action"`
	// Part is the part that reports it: bff, server, provider or program.
	Part string `json:"part"`
	// Cause is why it happened, one of the causes of the action.
	Cause Cause `json:"cause,omitempty"`
	// Issuer and Subject identify the user or machine that the event is about:
	// the claims iss and sub of its tokens.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// ClientID is the OAuth 2.0 client that the token of a denied call was issued to. A
	// token of a machine may have no Subject.
	ClientID string `json:"client_id,omitempty"`
	// ByIssuer and BySubject identify the caller, if it is not the subject itself,
	// such as an operator who ends another user's session.
	ByIssuer  string `json:"by_issuer,omitempty"`
	BySubject string `json:"by_subject,omitempty"`
	// Client is the address of the client. Behind proxies it is right if the
	// trusted proxies are configured. At a server without a bff in its process it is
	// the other end of the connection.
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
	// Reason is the application's word for why it has refused a sign-in.
	Reason string `json:"reason,omitempty"`
	// Setting is the name of the setting that has changed or of the limit that was
	// reached, and Value its new value if that is no secret.
	Setting string `json:"setting,omitempty"`
	Value   string `json:"value,omitempty"`
	// Keys are the ids of the keys in a changed key set.
	Keys []string `json:"keys,omitempty"`
	// Count is the number of occurrences that one event stands for; 0 means one.
	Count int64 `json:"count,omitempty"`
}
