package authn

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// Domain is the domain of every google.rpc.ErrorInfo that this package attaches.
const Domain = reason.Domain

// The reasons of refusals, in google.rpc.ErrorInfo.reason. Clients branch on
// them; the messages are for people and may change.
const (
	ReasonTokenMissing      = reason.TokenMissing      // no bearer token in the call
	ReasonTokenInvalid      = reason.TokenInvalid      // malformed, badly signed, or for another audience or issuer
	ReasonTokenExpired      = reason.TokenExpired      // past exp
	ReasonTokenRevoked      = reason.TokenRevoked      // on the denylist
	ReasonScopeMissing      = reason.ScopeMissing      // metadata "scope": all that the method needs, space-separated
	ReasonPermissionMissing = reason.PermissionMissing // metadata "permissions": all that the method needs, space-separated
	ReasonStepUpRequired    = reason.StepUpRequired    // metadata "max_age" (seconds), "acr_values" (RFC 9470)
	ReasonCallerNotAllowed  = reason.CallerNotAllowed  // metadata "callers": the classes that the method admits, space-separated
	ReasonUnverifiable      = reason.TokenUnverifiable // key set or denylist unavailable
)

// retryDelay is the RetryInfo of a token that cannot be verified at the moment: the
// interval at which the key set is fetched again.
const retryDelay = 2 * time.Second

func refusal(code codes.Code, why, message string, metadata map[string]string) *status.Status {
	return reason.Status(code, message, &errdetails.ErrorInfo{Reason: why, Domain: Domain, Metadata: metadata})
}

var (
	statusMissing = refusal(codes.Unauthenticated, ReasonTokenMissing, "a bearer token is required", nil)
	// RFC 6750 §3.1: another scheme counts as a missing token, not as a bad one.
	statusScheme  = refusal(codes.Unauthenticated, ReasonTokenMissing, "a bearer token is required; no other authorization scheme is accepted", nil)
	statusInvalid = refusal(codes.Unauthenticated, ReasonTokenInvalid, "the bearer token is not valid here", nil)
	statusExpired = refusal(codes.Unauthenticated, ReasonTokenExpired, "the bearer token has expired", nil)
	statusRevoked = refusal(codes.Unauthenticated, ReasonTokenRevoked, "the bearer token has been revoked", nil)
	statusUnknown = reason.Status(codes.Unavailable, "the bearer token cannot be verified at the moment",
		&errdetails.ErrorInfo{Reason: ReasonUnverifiable, Domain: Domain}, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})

	statusNoPolicy = status.New(codes.Internal, "internal error") // the log has the cause
)

// classRefusals are the refusals of callers by the only class that a method admits.
var classRefusals = map[Class]*status.Status{
	Users: refusal(codes.PermissionDenied, ReasonCallerNotAllowed,
		"this method is for users; the token is one of a machine", map[string]string{"callers": Users.String()}),
	Machines: refusal(codes.PermissionDenied, ReasonCallerNotAllowed,
		"this method is for machines; the token is one of a user", map[string]string{"callers": Machines.String()}),
}

func statusScopes(scopes []string) *status.Status {
	needed := strings.Join(scopes, " ")
	return refusal(codes.PermissionDenied, ReasonScopeMissing,
		"the token lacks a scope that this method needs: "+needed, map[string]string{"scope": needed})
}

func statusPermissions(permissions []string) *status.Status {
	needed := strings.Join(permissions, " ")
	return refusal(codes.PermissionDenied, ReasonPermissionMissing,
		"the token lacks a permission that this method needs: "+needed, map[string]string{"permissions": needed})
}

func statusStepUp(maxAge time.Duration, acr []string) *status.Status {
	metadata := map[string]string{}
	if maxAge > 0 {
		metadata["max_age"] = strconv.FormatInt(int64(maxAge/time.Second), 10)
	}
	if len(acr) > 0 {
		metadata["acr_values"] = strings.Join(acr, " ")
	}
	return refusal(codes.Unauthenticated, ReasonStepUpRequired, "a fresher or stronger sign-in is required", metadata)
}
