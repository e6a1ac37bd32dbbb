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

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

// A callLog writes one line per call, without messages. A call in process belongs
// to a request whose line the bff or the gateway writes: its outcome is added to
// that line. Health checks have no line.
type callLog struct{ logger *slog.Logger }

func (c callLog) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := handler(ctx, req)
	c.write(ctx, info.FullMethod, start, err)
	return resp, err
}

func (c callLog) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	start := time.Now()
	err := handler(srv, ss)
	c.write(ss.Context(), info.FullMethod, start, err)
	return err
}

// write adds the outcome of a call to the line of its request. If there is none, or it
// has been written already, the call has a line of its own.
func (c callLog) write(ctx context.Context, method string, start time.Time, err error) {
	code, cause := status.Code(err), causeOf(err)
	level := levelOf(code)
	outcome, n := [...]slog.Attr{slog.String("code", code.String()), slog.String("err", cause)}, 2
	if err == nil {
		n = 1
	}
	if accesslog.FromContext(ctx).Add(level, outcome[:n]...) || strings.HasPrefix(method, "/grpc.health.v1.Health/") {
		level = slog.LevelDebug
	}
	if c.logger.Enabled(ctx, level) {
		attrs := append(make([]slog.Attr, 0, 7), slog.String("rpc", method))
		attrs = append(attrs, outcome[:n]...)
		attrs = append(attrs, logs.Seconds("duration", time.Since(start)))
		if client := address(ctx); client != "" {
			attrs = append(attrs, slog.String("client", client))
		}
		c.logger.LogAttrs(ctx, level, logs.Request, logs.AppendIDs(attrs, ctx)...)
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
