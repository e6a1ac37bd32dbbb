package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/callstate"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
	"github.com/gatehouse-dev/gatehouse/internal/tracing/grpctrace"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// interceptors returns what a call passes, outermost first. Unary calls and
// streams pass the same, for the same reasons. A unary call passes before without
// its message, which is read only then, and after with it.
func interceptors(cfg Config, meter *callMeter, auth *authn.Interceptor) (before, after []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) {
	calls := callLog{cfg.Logger, cfg.Authn.Audit != nil}
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		cfg.Logger.ErrorContext(ctx, "panic in a service", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error")
	})
	door := entrance{tracing.New(tracing.Config{
		Provider: cfg.TracerProvider, Part: "server", Trusted: tracing.Machine(cfg.TraceTrusted), Logger: cfg.Logger,
	})}
	before = []grpc.UnaryServerInterceptor{
		door.unary,    // first, so that every log line about the call has its ids, and its span is the whole call
		meter.Unary,   // outside of the log, with the same outcome
		calls.Unary,   // outside of everything that can fail, so that it logs what the caller gets
		concludeUnary, // turns every error below into a status, before it is logged
		recovery.UnaryServerInterceptor(recovered), // turns a panic below into an error
		deadline(cfg.Limits.Timeout),               // before auth, which may wait for the keys of the provider
		auth.Unary,                                 // nothing below runs for an unauthorized caller
	}
	after = []grpc.UnaryServerInterceptor{
		validate.Unary, // after auth: unauthorized callers neither learn the rules nor make us evaluate them
	}
	stream = []grpc.StreamServerInterceptor{
		door.stream,
		meter.Stream,
		calls.Stream,
		concludeStream,
		recovery.StreamServerInterceptor(recovered),
		auth.Stream, // bounds the stream by the expiry of its token, in place of a deadline
		validate.Stream,
		announce, // sends the header of a stream whose first message takes long
	}
	return before, after, stream
}

// ownMethod reports whether a method is of the health service or of reflection, which
// this package registers itself.
func ownMethod(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.v1.") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// applications returns the interceptors of the application, each chain as one, and nil
// for none. They are innermost: they see what the service sees, and everything in
// interceptors applies to them as to the service.
func applications(cfg Config) (unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) {
	if len(cfg.UnaryInterceptors) > 0 {
		unary = append(unary, forServices(inprocess.ChainUnary(cfg.UnaryInterceptors)))
	}
	if len(cfg.StreamInterceptors) > 0 {
		stream = append(stream, forServiceStreams(inprocess.ChainStream(cfg.StreamInterceptors)))
	}
	return unary, stream
}

// forServices returns an interceptor that runs for the registered services only.
func forServices(interceptor grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if ownMethod(info.FullMethod) {
			return handler(ctx, req)
		}
		return interceptor(ctx, req, info, handler)
	}
}

// forServiceStreams is forServices for streams.
func forServiceStreams(interceptor grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if ownMethod(info.FullMethod) {
			return handler(srv, ss)
		}
		return interceptor(srv, ss, info, handler)
	}
}

// requestIDKey is the metadata key of the request's id.
var requestIDKey = strings.ToLower(requestid.Header)

// identify puts the request's id into the state of the call: the caller's if it is safe to
// log, or a new one.
func identify(ctx context.Context) context.Context {
	state := callstate.Of(ctx)
	if state == nil { // over a network
		state = callstate.New(ctx)
		ctx = state
	}
	id := ""
	if values := callstate.Incoming(ctx, requestIDKey); len(values) == 1 {
		id = values[0]
	}
	state.IDs[0] = requestid.Keep(id)
	return ctx
}

// An entrance is where a call enters the server: it gets its span and its id.
type entrance struct{ tracer *tracing.Tracer }

func (e entrance) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, span := grpctrace.Receive(ctx, e.tracer, info.FullMethod)
	resp, err := handler(identify(ctx), req)
	grpctrace.End(span, info.FullMethod, err)
	return resp, err
}

func (e entrance) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, span := grpctrace.Receive(ss.Context(), e.tracer, info.FullMethod)
	err := handler(srv, grpctrace.Serve(identify(ctx), ss, span, info))
	grpctrace.End(span, info.FullMethod, err)
	return err
}

// deadline bounds a unary call whose client sets no deadline or a later one.
func deadline(timeout time.Duration) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if earlier, ok := ctx.Deadline(); ok && time.Until(earlier) <= timeout {
			return handler(ctx, req)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return handler(ctx, req)
	}
}

// announceAfter is how long a handler has to refuse a stream, or to send its
// own header, before announce sends one.
const announceAfter = 200 * time.Millisecond

// announce sends the header of a stream whose first message takes long, so that
// the caller knows that it is connected and a gateway can answer 200. A handler
// that refuses at once returns before that, and its error becomes the status of
// the answer.
func announce(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !info.IsServerStream {
		return handler(srv, ss)
	}
	announced := &announcedStream{ServerStream: ss}
	timer := time.AfterFunc(announceAfter, announced.announce)
	defer func() {
		timer.Stop()
		announced.began() // for a timer that is firing: the stream has ended
	}()
	return handler(srv, announced)
}

// An announcedStream sends its header once.
type announcedStream struct {
	grpc.ServerStream
	mu   sync.Mutex
	sent bool // the header, or the stream has ended
}

// announce sends the header if nothing was sent yet. In process a header without
// a value would be lost, so it carries the request's id.
func (s *announcedStream) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sent {
		s.sent = true
		_ = s.ServerStream.SendHeader(metadata.Pairs(requestIDKey, requestid.FromContext(s.Context()))) // later calls return the error
	}
}

// began records that the handler has sent the header itself, or has ended.
func (s *announcedStream) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = true
}

func (s *announcedStream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent {
		return nil // as in SendHeader
	}
	return s.ServerStream.SetHeader(md)
}

// SendHeader sends the handler's header. It does nothing if announce has sent one
// already: most handlers call it only to show that the stream is open.
func (s *announcedStream) SendHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent {
		return nil
	}
	s.sent = true
	return s.ServerStream.SendHeader(md)
}

func (s *announcedStream) SendMsg(m any) error {
	s.began()
	return s.ServerStream.SendMsg(m)
}

// A failure is the public form of an error that is not a status, and its cause,
// which only the log gets.
type failure struct {
	public *status.Status
	cause  error
}

func (f *failure) Error() string              { return f.public.Err().Error() }
func (f *failure) GRPCStatus() *status.Status { return f.public }

// conclude turns the error of a service into a status, on the network, where
// grpc-go would do it later, and in process alike. The text of an error that is
// not a status may contain anything, such as an SQL statement, so only the log
// gets it.
func conclude(err error) error {
	if err == nil {
		return nil
	}
	switch st, ok := status.FromError(err); {
	case ok && st.Code() != codes.OK:
		return sendable(st).Err()
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{status.New(codes.DeadlineExceeded, "the call took too long"), err}
	case errors.Is(err, context.Canceled):
		return &failure{status.New(codes.Canceled, "the call was cancelled"), err}
	}
	return &failure{status.New(codes.Unknown, "internal error"), err}
}

// sendable replaces what is not UTF-8 in the message of a status, which may
// contain a client's input. Such a status cannot be encoded and would arrive
// without its details.
func sendable(st *status.Status) *status.Status {
	if utf8.ValidString(st.Message()) {
		return st
	}
	p := st.Proto()
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\uFFFD")
	return status.FromProto(p)
}

func concludeUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	if err != nil {
		return nil, conclude(err)
	}
	return resp, nil
}

func concludeStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return conclude(handler(srv, ss))
}
