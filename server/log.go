package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
)

// A callLog writes one line per call, without messages. A call in process belongs
// to a request whose line the bff or the gateway writes: its outcome is added to
// that line.
type callLog struct {
	logger *slog.Logger
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

func newCallLog(l *slog.Logger) *callLog {
	logger, options := callLogger(l)
	return &callLog{l, logging.UnaryServerInterceptor(logger, options...), logging.StreamServerInterceptor(logger, options...)}
}

func (c *callLog) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	line := accesslog.FromContext(ctx)
	if line == nil {
		return c.unary(ctx, req, info, handler)
	}
	resp, err := handler(ctx, req)
	c.add(ctx, line, info.FullMethod, err)
	return resp, err
}

func (c *callLog) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	line := accesslog.FromContext(ss.Context())
	if line == nil {
		return c.stream(srv, ss, info, handler)
	}
	err := handler(srv, ss)
	c.add(ss.Context(), line, info.FullMethod, err)
	return err
}

// add adds the outcome of a call to the line of its request, and to the log itself
// at debug level or if the line has been written already.
func (c *callLog) add(ctx context.Context, line *accesslog.Line, method string, err error) {
	code := status.Code(err)
	level := slog.Level(logging.DefaultServerCodeToLevel(code))
	attrs := make([]slog.Attr, 0, 4)
	attrs = append(attrs, slog.String("grpc.code", code.String()))
	if err != nil {
		attrs = append(attrs, slog.String("grpc.error", err.Error()))
		if cause := causeOf(err); cause != "" {
			attrs = append(attrs, slog.String("err", cause))
		}
	}
	if line.Add(level, attrs...) {
		level = slog.LevelDebug
	}
	if c.logger.Enabled(ctx, level) {
		c.logger.LogAttrs(ctx, level, "finished call", append(attrs, slog.String("rpc", method))...)
	}
}

// causeOf returns what the caller does not get to see of an error.
func causeOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.cause.Error()
	}
	return ""
}

// callLogger adapts slog to go-grpc-middleware: one line per call, when it ends.
func callLogger(l *slog.Logger) (logging.Logger, []logging.Option) {
	adapter := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		// slog adds the time itself, and no option omits this field.
		if i := slices.Index(fields, any("grpc.start_time")); i >= 0 {
			fields = slices.Delete(fields, i, i+2)
		}
		l.Log(ctx, slog.Level(level), msg, fields...)
	})
	return adapter, []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey, logging.MethodTypeFieldKey), // the same on every line
		logging.WithErrorFields(func(err error) logging.Fields {
			if cause := causeOf(err); cause != "" {
				return logging.Fields{"err", cause}
			}
			return nil
		}),
	}
}
