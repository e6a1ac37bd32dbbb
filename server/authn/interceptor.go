package authn

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/callstate"
)

// TransferTime is how long a transfer of bytes may last whose token expires before.
const TransferTime = 12 * time.Hour

// An Interceptor authenticates calls and applies the policy of their method. Its
// two methods go into the interceptor chain of a gRPC server. It is safe for
// concurrent use.
type Interceptor struct {
	verifier *Verifier
	table    *Table
}

// NewInterceptor returns an interceptor that verifies tokens with the verifier
// and applies the policies of the table.
func NewInterceptor(verifier *Verifier, table *Table) *Interceptor {
	if table.needsPermissions() {
		verifier.inspector.Require(verifier.permissionsClaim)
	}
	return &Interceptor{verifier: verifier, table: table}
}

// Unary authenticates a unary call: a grpc.UnaryServerInterceptor.
func (i *Interceptor) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	rule, raw, err := i.begin(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if raw == "" {
		return handler(ctx, req)
	}
	p, err := i.verifier.Verify(ctx, raw)
	if err != nil {
		i.denied(ctx, rule, nil, err)
		return nil, err
	}
	if st := rule.allows(p, i.verifier.now()); st != nil {
		err := st.Err()
		i.denied(ctx, rule, p, err)
		return nil, err
	}
	if rule.ignores(p) {
		return handler(ctx, req)
	}
	return handler(withPrincipal(ctx, p), req)
}

// Stream authenticates a stream: a grpc.StreamServerInterceptor. The stream of an
// authenticated caller ends with the refusal that a new call would get: when the
// token expires, and within a second when the token is revoked, its key has left
// the key set, the denylist is unavailable, or the sign-in is older than the
// method's max_age. The handler's context is then cancelled, and sending and
// receiving fail; the caller gets the refusal when the handler returns.
//
// A transfer outlives its token, so that the lifetime of tokens does not limit the
// length of files: a method that answers with a stream of google.api.HttpBody, or
// takes a stream of requests that are or have one. Expiry and max_age count when it
// begins. It ends as other streams do when its token is revoked, and after
// [TransferTime].
//
// Since clocks differ, a unary call is accepted up to 60 s after the token's
// expiry. A stream is not: it would end at once.
func (i *Interceptor) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	rule, raw, err := i.begin(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if raw == "" {
		return handler(srv, ss)
	}
	p, refusal, err := i.verifier.open(ss.Context(), raw)
	if err != nil {
		i.denied(ss.Context(), rule, nil, err)
		return err
	}
	allowed := func() *status.Status { return rule.allows(p, i.verifier.now()) }
	if st := allowed(); st != nil {
		err := st.Err()
		i.denied(ss.Context(), rule, p, err)
		return err
	}
	if rule.ignores(p) {
		return handler(srv, ss)
	}
	if p.expired(i.verifier.now()) {
		err := statusExpired.Err()
		i.denied(ss.Context(), rule, nil, err)
		return err
	}
	until := p.ExpiresAt // zero for a token without exp
	if rule.transfers {
		if longest := i.verifier.now().Add(TransferTime); until.Before(longest) {
			until = longest
		}
		allowed = func() *status.Status { return nil }
	}
	ctx, refuse := context.WithCancelCause(withPrincipal(ss.Context(), p))
	defer refuse(nil)
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, until.Sub(i.verifier.now()), &refused{statusExpired})
		defer cancel()
	}
	bound := &boundStream{ServerStream: ss, ctx: ctx, expiry: until, now: i.verifier.now}
	w := &watched{refusal: func() *status.Status {
		if bound.expired() { // the timer stops while the machine sleeps
			return statusExpired
		}
		if st := allowed(); st != nil {
			return st
		}
		return refusal()
	}, end: refuse}
	i.verifier.watch.add(w)
	defer i.verifier.watch.remove(w)
	err = handler(srv, bound)
	if ended := bound.ended(); ended != nil {
		return ended
	}
	return err
}

// begin returns the rule of a method and the token of a call, "" for a call of a
// public method without one. The error is a gRPC status.
func (i *Interceptor) begin(ctx context.Context, method string) (rule *Rule, raw string, err error) {
	rule = i.table.rule(method)
	if rule.err != nil { // the server was not checked at its start
		i.verifier.logger.ErrorContext(ctx, "method has no usable policy", "rpc", method, "err", rule.err)
		return nil, "", statusNoPolicy.Err()
	}
	raw, st := bearer(ctx)
	switch {
	case st == nil:
		return rule, raw, nil
	case rule.Public && st == statusMissing:
		return rule, "", nil
	}
	err = st.Err()
	i.denied(ctx, rule, nil, err)
	return nil, "", err
}

// bearer returns the token of a call. It refuses two authorization values, of which
// two readers might use different ones, and any other scheme, even for public
// methods, so that credentials are never silently ignored.
func bearer(ctx context.Context) (string, *status.Status) {
	values := callstate.Incoming(ctx, "authorization")
	switch len(values) {
	case 0:
		return "", statusMissing
	case 1:
	default:
		return "", statusInvalid
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", statusScheme
	}
	if raw == "" {
		return "", statusInvalid
	}
	return raw, nil
}
