package authn

import (
	"context"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
)

// causes are the causes of audit events by the reason of the refusal. A token that
// cannot be verified at the moment is an outage and no denial.
var causes = map[string]audit.Cause{
	ReasonTokenMissing:      audit.TokenMissing,
	ReasonTokenInvalid:      audit.TokenInvalid,
	ReasonTokenExpired:      audit.TokenExpired,
	ReasonTokenRevoked:      audit.TokenRevoked,
	ReasonScopeMissing:      audit.ScopeMissing,
	ReasonPermissionMissing: audit.PermissionMissing,
	ReasonStepUpRequired:    audit.StepUpRequired,
	ReasonCallerNotAllowed:  audit.CallerNotAllowed,
}

// denied records a refused call: each one of a principal, and a sample of those without
// a valid token, of which anyone can send any number.
func (i *Interceptor) denied(ctx context.Context, rule *Rule, p *Principal, refusal error) {
	recorder := i.verifier.audit
	if !recorder.Enabled() {
		return
	}
	cause := causes[reasonOf(refusal)]
	if cause == "" {
		return
	}
	e := audit.Event{
		Action: audit.CallDenied, Cause: cause, Method: rule.Method, Session: accesslog.FromContext(ctx).Session(),
	}
	if p == nil {
		recorder.RecordSampled(ctx, e)
		return
	}
	e.Issuer, e.Subject, e.ClientID = p.Issuer, p.Subject, p.ClientID
	recorder.Record(ctx, e)
}

// reasonOf returns the reason in the ErrorInfo of a refusal.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
