// Package reason owns the domain and the reasons of google.rpc.ErrorInfo that
// Gatehouse attaches to errors and reads from them. It leaves codes, messages
// and metadata to the packages that return the errors.
package reason

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// Domain is the ErrorInfo domain of every error that Gatehouse itself returns.
const Domain = "gatehouse"

// Reasons of refused calls. Server attaches them; gateway makes challenges of
// them and client fetches another token for them.
const (
	TokenMissing      = "TOKEN_MISSING"            // no bearer token in the call
	TokenInvalid      = "TOKEN_INVALID"            // malformed, badly signed, or for another audience or issuer
	TokenExpired      = "TOKEN_EXPIRED"            // past exp
	TokenRevoked      = "TOKEN_REVOKED"            // on the denylist
	TokenUnverifiable = "TOKEN_UNVERIFIABLE"       // key set or denylist unavailable
	ScopeMissing      = "SCOPE_MISSING"            // metadata "scope": required scopes, space-separated
	PermissionMissing = "PERMISSION_MISSING"       // metadata "permissions": required permissions, space-separated
	StepUpRequired    = "STEP_UP_REQUIRED"         // metadata "max_age" (seconds), "acr_values" (RFC 9470)
	CallerNotAllowed  = "CALLER_CLASS_NOT_ALLOWED" // metadata "callers": the admitted classes, space-separated
)

// Reasons of session administration.
const (
	SessionNotFound         = "SESSION_NOT_FOUND"
	NoSessionStore          = "NO_SESSION_STORE"          // the server has no session store
	SessionStoreUnavailable = "SESSION_STORE_UNAVAILABLE" // retry
)

// Reasons that any service may use, with its own domain.
const (
	ETagMismatch   = "ETAG_MISMATCH"    // a conditional request whose entity tag is not the resource's (AIP-154)
	ContentTooLong = "CONTENT_TOO_LONG" // an upload that exceeds the service's limit; metadata "max_bytes"
	ServerStopping = "SERVER_STOPPING"  // a stream ends because the process stops; RetryInfo says when to reconnect
)

// Status returns a status with details, such as an ErrorInfo; without them if they
// cannot be encoded.
func Status(code codes.Code, message string, details ...protoadapt.MessageV1) *status.Status {
	st := status.New(code, message)
	if detailed, err := st.WithDetails(details...); err == nil {
		return detailed
	}
	return st
}
