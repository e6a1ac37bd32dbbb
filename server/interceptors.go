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

	grpcmiddleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// interceptors is the one list of what a call passes, outermost first. Unary
// calls and streams pass the same, for the same reasons. A unary call passes
// before without its message, which is read only then, and after with it.
func interceptors(cfg Config, auth *authn.Interceptor) (before, after []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) {
	calls := newCallLog(cfg.Logger)
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		cfg.Logger.ErrorContext(ctx, "panic in a service", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error")
	})
	before = []grpc.UnaryServerInterceptor{
		identifyUnary, // first, so that every line about the call has its id
		calls.Unary,   // around all that can fail, so that it logs what the caller got
		concludeUnary, // every error below becomes a status, before it is logged
		recovery.UnaryServerInterceptor(recovered), // a panic below becomes an error
		deadline(cfg.Limits.Timeout),               // before auth, which may wait for the provider's keys
		auth.Unary,                                 // nothing below runs for a caller who may not call
	}
	after = []grpc.UnaryServerInterceptor{
		validate.Unary, // after auth: strangers do not learn the rules, nor make us compute them
	}
	stream = []grpc.StreamServerInterceptor{
		identifyStream,
		calls.Stream,
		concludeStream,
		recovery.StreamServerInterceptor(recovered),
		auth.Stream, // bounds the stream by its token, which takes the deadline's place
		validate.Stream,
		announce, // tells the caller that the stream is open, when its first message is long in coming
	}
	return before, after, stream
}

// requestIDKey is the metadata key of the request's id.
var requestIDKey = strings.ToLower(requestid.Header)

// identify puts the request's id into the context: the caller's, if it is fit
// to be logged, or a fresh one.
func identify(ctx context.Context) context.Context {
	id := ""
	if values := metadata.ValueFromIncomingContext(ctx, requestIDKey); len(values) == 1 {
		id = values[0]
	}
	return requestid.NewContext(ctx, requestid.Keep(id))
}

func identifyUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(identify(ctx), req)
}

func identifyStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	wrapped := grpcmiddleware.WrapServerStream(ss)
	wrapped.WrappedContext = identify(ss.Context())
	return handler(srv, wrapped)
}

// deadline bounds a unary call. A client that sets none, or a later one, does
// not keep a handler longer than this.
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

// announce sends the header of a stream whose first message is long in
// coming, so that the caller knows that it is connected and a gateway can
// answer 200. A handler that refuses at once does so before any header, and
// its error becomes the answer's status.
func announce(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !info.IsServerStream {
		return handler(srv, ss)
	}
	announced := &announcedStream{ServerStream: ss}
	timer := time.AfterFunc(announceAfter, announced.announce)
	defer func() {
		timer.Stop()
		announced.began() // a timer that has fired already finds the stream over
	}()
	return handler(srv, announced)
}

// An announcedStream keeps its header from being sent twice.
type announcedStream struct {
	grpc.ServerStream
	mu   sync.Mutex
	sent bool // the header, or all that there was
}

// announce sends the header if nothing was sent yet. One without a value
// would get lost in process, so it carries the request's id.
func (s *announcedStream) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sent {
		s.sent = true
		_ = s.ServerStream.SendHeader(metadata.Pairs(requestIDKey, requestid.FromContext(s.Context()))) // the stream says so itself
	}
}

// began notes that the handler itself sends the header, or has ended.
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

// SendHeader sends the handler's header, unless it comes too late: then the
// stream is announced already, and that is what a handler without anything to
// say wanted.
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

// A failure is what the caller of a method is told about an error that is no
// status, and its cause, which only the log is told.
type failure struct {
	public *status.Status
	cause  error
}

func (f *failure) Error() string              { return f.public.Err().Error() }
func (f *failure) GRPCStatus() *status.Status { return f.public }

// conclude makes a status of whatever a service returned, the same on the
// network, where grpc-go would do it later, and in process, where nobody
// would. The text of other errors may hold anything, such as an SQL statement:
// it stays here.
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

// sendable makes text of what a service has put into a status, such as a
// client's own input: a status that is not UTF-8 cannot be encoded, and would
// arrive without its details.
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
