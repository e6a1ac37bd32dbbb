package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	grpcmiddleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
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
// calls and streams pass the same, for the same reasons.
func interceptors(cfg Config, auth *authn.Interceptor) ([]grpc.UnaryServerInterceptor, []grpc.StreamServerInterceptor) {
	logger, logOptions := callLogger(cfg.Logger)
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		cfg.Logger.ErrorContext(ctx, "panic in a service", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error")
	})
	unary := []grpc.UnaryServerInterceptor{
		identifyUnary, // first, so that every line about the call has its id
		logging.UnaryServerInterceptor(logger, logOptions...), // around all that can fail, so that it logs what the caller got
		recovery.UnaryServerInterceptor(recovered),            // a panic below becomes an error, in the log line too
		deadline(cfg.Timeout),                                 // before auth, which may wait for the provider's keys
		auth.Unary,                                            // nothing below runs for a caller who may not call
		validate.Unary,                                        // after auth: strangers do not learn the rules, nor make us compute them
	}
	stream := []grpc.StreamServerInterceptor{
		identifyStream,
		logging.StreamServerInterceptor(logger, logOptions...),
		recovery.StreamServerInterceptor(recovered),
		auth.Stream, // bounds the stream by its token, which takes the deadline's place
		validate.Stream,
	}
	return unary, stream
}

// identify puts the request's id into the context: the caller's, if it is fit
// to be logged, or a fresh one.
func identify(ctx context.Context) context.Context {
	id := ""
	if values := metadata.ValueFromIncomingContext(ctx, requestid.Header); len(values) == 1 {
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
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return handler(ctx, req)
	}
}

// callLogger adapts slog: one line a call, when it ends, without messages.
func callLogger(l *slog.Logger) (logging.Logger, []logging.Option) {
	adapter := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		l.Log(ctx, slog.Level(level), msg, fields...)
	})
	return adapter, []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey, logging.MethodTypeFieldKey, "grpc.start_time"), // what every line would repeat
	}
}
