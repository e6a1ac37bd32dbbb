package refusal

import (
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// Challenges consist of the ErrorInfo that the server attaches and of fixed
// texts. A status message never becomes part of the header: grpc-gateway would
// copy it verbatim, and a service may quote its input in it.
const (
	challengeBare = `Bearer realm="gatehouse"`
	// InvalidRequest is the challenge to more than one Authorization header.
	InvalidRequest = challengeBare + `, error="invalid_request", error_description="Send one Authorization header."`
)

// challenge returns the WWW-Authenticate value for a status, "" for none, and
// the HTTP status that RFC 6750 §3.1 and RFC 9470 §3 pair with it.
func challenge(st *status.Status) (value string, httpStatus int) {
	switch st.Code() {
	case codes.Unauthenticated:
		value, httpStatus = challengeBare, http.StatusUnauthorized // RFC 9110 §15.5.2: required with 401
	case codes.PermissionDenied:
		httpStatus = http.StatusForbidden
	case codes.InvalidArgument:
		if authInfo(st).GetReason() == reason.ContentTooLong {
			return "", http.StatusRequestEntityTooLarge
		}
		return "", runtimeStatus(st.Code())
	default:
		return "", runtimeStatus(st.Code())
	}
	info := authInfo(st)
	switch info.GetReason() {
	case reason.TokenMissing:
		// RFC 6750 §3: without credentials no error code.
		return challengeBare, http.StatusUnauthorized
	case reason.TokenExpired:
		return errorChallenge("invalid_token", "The access token has expired."), http.StatusUnauthorized
	case reason.TokenRevoked:
		return errorChallenge("invalid_token", "The access token has been revoked."), http.StatusUnauthorized
	case reason.TokenInvalid:
		return errorChallenge("invalid_token", "The access token is not valid."), http.StatusUnauthorized
	case reason.ScopeMissing:
		return errorChallenge("insufficient_scope", "The access token lacks a scope that is needed.",
			"scope", scopes(info.GetMetadata()["scope"])), http.StatusForbidden
	case reason.PermissionMissing:
		// A permission is not a scope, so that a client cannot ask for it as one.
		// There is a scope only if the server names one.
		return errorChallenge("insufficient_scope", "The access token lacks a permission that is needed.",
			"scope", scopes(info.GetMetadata()["scope"])), http.StatusForbidden
	case reason.CallerNotAllowed:
		return errorChallenge("insufficient_scope", "The access token is of an issuer whose callers are not admitted."), http.StatusForbidden
	case reason.StepUpRequired:
		return errorChallenge("insufficient_user_authentication", "A fresher or stronger sign-in is required.",
			"acr_values", httpheader.Printable(info.GetMetadata()["acr_values"]),
			"max_age", httpheader.Digits(info.GetMetadata()["max_age"])), http.StatusUnauthorized
	}
	return value, httpStatus
}

// authInfo returns the ErrorInfo of Gatehouse in a status, nil if there is none.
func authInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Proto().GetDetails() {
		info := new(errdetails.ErrorInfo)
		if detail.MessageIs(info) && detail.UnmarshalTo(info) == nil && info.GetDomain() == reason.Domain {
			return info
		}
	}
	return nil
}

// errorChallenge returns a challenge with an error. pairs are names and values;
// empty values are left out.
func errorChallenge(code, description string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(challengeBare + `, error=` + httpheader.Quote(code) + `, error_description=` + httpheader.Quote(description))
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(", " + pairs[i] + "=" + httpheader.Quote(pairs[i+1]))
		}
	}
	return b.String()
}

// scopes returns the valid scope tokens in s (RFC 6749 §3.3), single-spaced.
func scopes(s string) string {
	var kept []string
	for scope := range strings.FieldsSeq(s) {
		if httpheader.IsPrintable(scope) && !strings.ContainsAny(scope, `"\`) {
			kept = append(kept, scope)
		}
	}
	return strings.Join(kept, " ")
}
