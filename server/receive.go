package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

const (
	// anonymousBytes bounds the memory of messages that are arriving from callers without a token,
	// in total. Each counts as four times the limit of a message: grpc-go does not report how much
	// of a message has arrived, and keeps small frames in more memory than their bytes.
	anonymousBytes = 64 << 20
	// maxAnonymousStreams bounds the open streams of callers without a token.
	maxAnonymousStreams = 1000
	// maxUnauthenticated bounds the calls whose token is not verified yet. Each holds its header and
	// at most a window of data.
	maxUnauthenticated = 500
	// anonymousTimeout is how long the message of a caller without a token may take to arrive.
	anonymousTimeout = 10 * time.Second
)

// A receiver runs the interceptors of a call before its message is read. grpc-go reads the message
// of a unary call first, so that a caller without a token could make it hold memory up to the limit
// of a message, on each stream of each connection, for as long as the caller likes. Unary methods
// are therefore registered as streams that receive one message and send one.
type receiver struct {
	before, after grpc.UnaryServerInterceptor // of a unary call, without and with its message
	stream        grpc.StreamServerInterceptor
	inner         grpc.StreamServerInterceptor    // of the application, nil for none
	known         func(authorization string) bool // reports whether its token was verified before
	anonymous     *arrival.Limiter
	maxMessage    int64
	timeout       time.Duration // of a unary call
	limited       *metrics.Counter

	unauthenticated atomic.Int64
	streams         atomic.Int64 // anonymous ones
}

// service returns a description of the same methods with handlers that run the interceptors.
func (rc *receiver) service(desc *grpc.ServiceDesc, impl any) *grpc.ServiceDesc {
	received := *desc
	received.Methods, received.Streams = nil, nil
	for _, m := range desc.Methods {
		received.Streams = append(received.Streams, grpc.StreamDesc{
			StreamName: m.MethodName,
			Handler:    rc.unaryHandler(m, &grpc.UnaryServerInfo{Server: impl, FullMethod: "/" + desc.ServiceName + "/" + m.MethodName}),
		})
	}
	for _, st := range desc.Streams {
		st.Handler = rc.streamHandler(st, "/"+desc.ServiceName+"/"+st.StreamName)
		received.Streams = append(received.Streams, st)
	}
	return &received
}

func (rc *receiver) unaryHandler(m grpc.MethodDesc, info *grpc.UnaryServerInfo) grpc.StreamHandler {
	return func(srv any, ss grpc.ServerStream) error {
		authenticated := authenticatedOf(ss)
		defer authenticated()
		resp, err := rc.before(ss.Context(), nil, info, func(ctx context.Context, _ any) (any, error) {
			authenticated()
			return m.Handler(srv, ctx, func(msg any) error { return rc.receive(ctx, ss, msg) }, rc.after)
		})
		if err != nil {
			return err
		}
		return ss.SendMsg(resp)
	}
}

func (rc *receiver) streamHandler(st grpc.StreamDesc, name string) grpc.StreamHandler {
	info := &grpc.StreamServerInfo{FullMethod: name, IsClientStream: st.ClientStreams, IsServerStream: st.ServerStreams}
	handler := st.Handler
	if rc.inner != nil {
		// Inside, so that what it reads of a caller without a token is limited too.
		handler = func(srv any, ss grpc.ServerStream) error { return rc.inner(srv, ss, info, st.Handler) }
	}
	return func(srv any, ss grpc.ServerStream) error {
		authenticated := authenticatedOf(ss)
		defer authenticated()
		return rc.stream(srv, ss, info, func(srv any, ss grpc.ServerStream) error {
			authenticated()
			if _, ok := authn.FromContext(ss.Context()); ok {
				return handler(srv, ss)
			}
			if rc.streams.Add(1) > maxAnonymousStreams {
				rc.streams.Add(-1)
				return rc.tooMany()
			}
			defer rc.streams.Add(-1)
			return handler(srv, &anonymousStream{ss, rc})
		})
	}
}

// errTooMany has a code that clients and gateways retry.
var errTooMany = status.Error(codes.Unavailable, "too many calls without a verified token at once; try again")

// tooMany counts a refusal.
func (rc *receiver) tooMany() error {
	rc.limited.Add(metrics.LimitArriving)
	return errTooMany
}

// receive reads the message of a unary call, until the call's deadline. The message of a caller
// without a token must arrive within anonymousTimeout and fit into anonymousBytes.
func (rc *receiver) receive(ctx context.Context, ss grpc.ServerStream, msg any) error {
	err := rc.receiveWithin(ctx, ss, msg)
	if errors.Is(err, io.EOF) {
		return status.Error(codes.InvalidArgument, "the call has no request message")
	}
	return err
}

func (rc *receiver) receiveWithin(ctx context.Context, ss grpc.ServerStream, msg any) error {
	if _, ok := authn.FromContext(ctx); ok {
		deadline, _ := ctx.Deadline()
		if sooner, ok := ss.Context().Deadline(); !ok || deadline.Before(sooner) {
			// RecvMsg knows only the transport's deadline, which is the caller's.
			stop := context.AfterFunc(ctx, giveUp(ss))
			defer stop()
		}
		return ss.RecvMsg(msg)
	}
	return rc.receiveAnonymous(ss, msg)
}

func (rc *receiver) receiveAnonymous(ss grpc.ServerStream, msg any) error {
	request := rc.anonymous.Begin(rc.maxMessage, giveUp(ss))
	if request == nil {
		return rc.tooMany()
	}
	defer request.Arrived()
	timeout := time.AfterFunc(anonymousTimeout, giveUp(ss))
	defer timeout.Stop()
	return ss.RecvMsg(msg)
}

// An anonymousStream applies the limits for callers without a token to each message.
type anonymousStream struct {
	grpc.ServerStream
	receiver *receiver
}

func (s *anonymousStream) RecvMsg(msg any) error {
	return s.receiver.receiveAnonymous(s.ServerStream, msg)
}

// A callContext is the context of a call's transport. A handler can end it as a deadline would,
// which is the only way to end RecvMsg; RecvMsg then sends the status to the caller itself.
type callContext struct {
	context.Context
	cancel        context.CancelCauseFunc
	authenticated func() // nil for a call with a known token
}

type callKey struct{}

// tap sees the header of a call before any other memory is allocated for it: grpc-go calls it in the
// connection's reader. It admits calls whose token was verified before, and others as long as fewer
// than maxUnauthenticated of them wait for authentication. It decides nothing else.
func (rc *receiver) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	authorization := info.Header.Get("authorization")
	known := len(authorization) == 1 && rc.known(authorization[0])
	if deadline, ok := ctx.Deadline(); known && ok && time.Until(deadline) <= rc.timeout {
		return ctx, nil // only its own deadline has to end it: nearly all calls of a gateway
	}
	ctx, cancel := context.WithCancelCause(ctx)
	call := &callContext{Context: ctx, cancel: cancel}
	if known {
		return call, nil
	}
	if rc.unauthenticated.Add(1) > maxUnauthenticated {
		rc.unauthenticated.Add(-1)
		cancel(nil)
		return nil, rc.tooMany()
	}
	release := sync.OnceFunc(func() { rc.unauthenticated.Add(-1) })
	stop := context.AfterFunc(ctx, release) // for a call that ends before its handler runs
	call.authenticated = func() { release(); stop() }
	return call, nil
}

func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func (c *callContext) Err() error {
	if context.Cause(c.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

// authenticatedOf returns the function by which tap no longer counts the call. It may be called more
// than once.
func authenticatedOf(ss grpc.ServerStream) func() {
	if call, ok := ss.Context().Value(callKey{}).(*callContext); ok && call.authenticated != nil {
		return call.authenticated
	}
	return func() {}
}

// giveUp returns the function that ends the wait for a call's message.
func giveUp(ss grpc.ServerStream) func() {
	call, ok := ss.Context().Value(callKey{}).(*callContext)
	if !ok { // ended by the deadline of the transport
		return func() {}
	}
	return func() { call.cancel(context.DeadlineExceeded) }
}
