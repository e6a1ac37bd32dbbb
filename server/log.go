package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	grpcmiddleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// A callLog writes one line per call, without messages. A call in process belongs
// to a request whose line the bff or the gateway writes: its outcome is added to
// that line. Health checks have no line.
type callLog struct {
	logger  *slog.Logger
	audited bool // the client is wanted for audit events
}

func (c callLog) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := time.Now()
	ctx, own := c.begin(ctx, info.FullMethod)
	resp, err := handler(ctx, req)
	c.end(ctx, own, info.FullMethod, start, err)
	return resp, err
}

func (c callLog) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	start := time.Now()
	ctx, own := c.begin(ss.Context(), info.FullMethod)
	if own != nil {
		wrapped := grpcmiddleware.WrapServerStream(ss)
		wrapped.WrappedContext = ctx
		ss = wrapped
	}
	err := handler(srv, ss)
	c.end(ctx, own, info.FullMethod, start, err)
	return err
}

func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// begin returns the line of a call that belongs to no request in this process.
func (c callLog) begin(ctx context.Context, method string) (context.Context, *accesslog.Line) {
	if accesslog.FromContext(ctx) != nil || isHealth(method) {
		return ctx, nil
	}
	started, line := accesslog.Begin(ctx, c.logger, c.audited)
	line.SetClient(ctx, clientOf)
	return started, line
}

// clientOf returns the address of the caller of a context.
func clientOf(of any) string {
	ctx, _ := of.(context.Context)
	return address(ctx)
}

// end adds the outcome of a call to its line or to that of its request. If that has been
// written already, the call has a line of its own.
func (c callLog) end(ctx context.Context, own *accesslog.Line, method string, start time.Time, err error) {
	code := status.Code(err)
	level, line := levelOf(code), accesslog.FromContext(ctx)
	added := line.Add(level, slog.String("code", code.String()))
	if err != nil {
		line.AddMissing(level, slog.String("err", causeOf(err))) // the refusal of a token says more
	}
	if own != nil {
		own.Write(ctx, c.logger, level, slog.String("rpc", method),
			logs.Seconds("duration", time.Since(start)), slog.String("client", address(ctx)))
		return
	}
	if added || isHealth(method) {
		level = slog.LevelDebug
	}
	if c.logger.Enabled(ctx, level) {
		c.logger.LogAttrs(ctx, level, logs.Request, slog.String("rpc", method), slog.String("code", code.String()),
			slog.String("err", causeOf(err)), logs.Seconds("duration", time.Since(start)))
	}
}

// levelOf returns the level of a call with a code. Those that a caller has caused are no
// warnings.
func levelOf(code codes.Code) slog.Level {
	switch code {
	case codes.Unknown, codes.Internal, codes.DataLoss, codes.Unavailable, codes.DeadlineExceeded:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// causeOf returns the cause of a failed call, which its caller does not always get to see.
func causeOf(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.cause.Error()
	}
	return status.Convert(err).Message()
}

// address returns the address of the caller, without its port; "" in process.
func address(ctx context.Context) string {
	caller, ok := peer.FromContext(ctx)
	if !ok || caller.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(caller.Addr.String())
	if err != nil {
		return ""
	}
	return host
}
