package authn

import (
	"context"
	"errors"
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
func (i *Interceptor) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	p, err := i.authenticate(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if p == nil {
		return handler(srv, ss)
	}
	left := p.ExpiresAt.Sub(i.verifier.now())
	ctx, cancel := context.WithTimeoutCause(NewContext(ss.Context(), p), left, errExpired)
	defer cancel()
	err = handler(srv, &boundStream{ServerStream: ss, ctx: ctx, receives: info.IsClientStream})
	if errors.Is(context.Cause(ctx), errExpired) {
		return statusExpired.Err()
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
	if !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return "", statusInvalid
	}
	return raw, nil
}

var errExpired = errors.New("the token that opened the stream has expired")

// A boundStream ends with its context, which ends with the token.
type boundStream struct {
	grpc.ServerStream
	ctx      context.Context
	receives bool // the client sends more than one message
}

func (s *boundStream) Context() context.Context { return s.ctx }

func (s *boundStream) SendMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg waits for the client no longer than the token lives. A wait that is
// given up ends with the stream, that is, as soon as the handler returns.
func (s *boundStream) RecvMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	if !s.receives {
		return s.ServerStream.RecvMsg(m)
	}
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }()
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
		if err := s.ended(); err != nil {
			return err
		}
		return <-received // the client went away: the stream says how
	}
}

func (s *boundStream) ended() error {
	if errors.Is(context.Cause(s.ctx), errExpired) {
		return statusExpired.Err()
	}
	return nil
}
