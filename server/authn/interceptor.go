package authn

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// An Interceptor authenticates calls and holds them to the policy of their
// method. Its two methods go into a gRPC server's interceptor chain. It is
// safe for concurrent use.
type Interceptor struct {
	verifier *Verifier
	table    *Table
}

// NewInterceptor returns an interceptor that judges tokens by the verifier
// and methods by the table. A method that the table does not know needs a
// valid token.
func NewInterceptor(verifier *Verifier, table *Table) *Interceptor {
	return &Interceptor{verifier: verifier, table: table}
}

// Unary authenticates a unary call: a grpc.UnaryServerInterceptor.
func (i *Interceptor) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	p, err := i.authenticate(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if p != nil {
		ctx = NewContext(ctx, p)
	}
	return handler(ctx, req)
}

// Stream authenticates a stream: a grpc.StreamServerInterceptor. The stream
// of an authenticated caller ends with Unauthenticated when the token
// expires: the handler's context is cancelled, and sending and receiving fail.
// (A unary call may still begin up to 60 s later, because clocks differ; a
// stream may not, since it would have no time to live.)
func (i *Interceptor) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	p, err := i.authenticate(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if p == nil {
		return handler(srv, ss)
	}
	left := p.ExpiresAt.Sub(i.verifier.now())
	if left <= 0 {
		return statusExpired.Err()
	}
	ctx, cancel := context.WithTimeoutCause(NewContext(ss.Context(), p), left, errExpired)
	defer cancel()
	bound := &boundStream{ServerStream: ss, ctx: ctx, expiry: p.ExpiresAt, now: i.verifier.now}
	err = handler(srv, bound)
	if ended := bound.ended(); ended != nil {
		return ended
	}
	return err
}

// authenticate returns the caller of a method, nil for an anonymous caller of
// a public one. The error is a gRPC status.
func (i *Interceptor) authenticate(ctx context.Context, method string) (*Principal, error) {
	rule := i.table.rule(method)
	raw, st := bearer(ctx)
	if st != nil {
		if rule.Public && st == statusMissing {
			return nil, nil
		}
		return nil, st.Err()
	}
	p, err := i.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if st := rule.allows(p, i.verifier.now()); st != nil {
		return nil, st.Err()
	}
	return p, nil
}

// bearer returns the token of a call. Two authorization values are refused:
// readers that each take another one would see different callers. Any other
// scheme is refused too, also where no token is needed, so that credentials
// are never silently passed over.
func bearer(ctx context.Context) (string, *status.Status) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
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
