package gateway

import (
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// Challenges are made of the ErrorInfo that the server attaches, and of fixed
// texts. A status message never reaches the header: grpc-gateway copies it
// there verbatim, whoever wrote it and whatever it quotes.
const (
	challengeBare           = `Bearer realm="gatehouse"`
	challengeInvalidRequest = challengeBare + `, error="invalid_request", error_description="Send one Authorization header."`
)

// challenge returns the WWW-Authenticate value for a refusal, "" for none, and
// the HTTP status that RFC 6750 §3.1 and RFC 9470 §3 pair with it.
func challenge(st *status.Status) (value string, httpStatus int) {
	switch st.Code() {
	case codes.Unauthenticated:
		value, httpStatus = challengeBare, http.StatusUnauthorized // RFC 9110 §15.5.2: never a 401 without
	case codes.PermissionDenied:
		httpStatus = http.StatusForbidden
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
		// Permissions are no scopes: asking for one as such would not help,
		// so there is a scope only if the server names one.
		return errorChallenge("insufficient_scope", "The access token lacks a permission that is needed.",
			"scope", scopes(info.GetMetadata()["scope"])), http.StatusForbidden
	case reason.StepUpRequired:
		return errorChallenge("insufficient_user_authentication", "A fresher or stronger sign-in is required.",
			"acr_values", printable(info.GetMetadata()["acr_values"]),
			"max_age", digits(info.GetMetadata()["max_age"])), http.StatusUnauthorized
	}
	return value, httpStatus
}

// authInfo returns our ErrorInfo of a status, nil if there is none.
func authInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Proto().GetDetails() {
		info := new(errdetails.ErrorInfo)
		if detail.MessageIs(info) && detail.UnmarshalTo(info) == nil && info.GetDomain() == reason.Domain {
			return info
		}
	}
	return nil
}

// errorChallenge writes a challenge; pairs are names and values, of which empty
// values are left out.
func errorChallenge(code, description string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(challengeBare + `, error=` + quoted(code) + `, error_description=` + quoted(description))
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(", " + pairs[i] + "=" + quoted(pairs[i+1]))
		}
	}
	return b.String()
}

// quoted writes a quoted-string, RFC 9110 §5.6.4.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// scopes keeps the scope tokens of RFC 6749 §3.3, single-spaced.
func scopes(s string) string {
	var kept []string
	for scope := range strings.FieldsSeq(s) {
		if isPrintable(scope) && !strings.ContainsAny(scope, `"\`) {
			kept = append(kept, scope)
		}
	}
	return strings.Join(kept, " ")
}

// printable drops what a header value cannot hold.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s)
}

func digits(s string) string {
	if strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		return ""
	}
	return s
}
