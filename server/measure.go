package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// A callMeter measures the duration of calls and counts open streams.
type callMeter struct {
	calls   *metrics.RPC
	streams *metrics.UpDownCounter
}

func (m *callMeter) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !m.calls.Enabled() {
		return handler(ctx, req)
	}
	start := time.Now()
	resp, err := handler(ctx, req)
	m.done(ctx, start, info.FullMethod, err)
	return resp, err
}

func (m *callMeter) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !m.calls.Enabled() {
		return handler(srv, ss)
	}
	start := time.Now()
	defer m.streams.Begin(metrics.StreamRPC)()
	err := handler(srv, ss)
	m.done(ss.Context(), start, info.FullMethod, err)
	return err
}

// unknown refuses a call of a method that no service has, as grpc-go would. It is the only
// one that no interceptor sees.
func (m *callMeter) unknown(_ any, ss grpc.ServerStream) error {
	m.calls.Since(ss.Context(), time.Now(), metrics.Other, codeName(codes.Unimplemented), true)
	method, _ := grpc.MethodFromServerStream(ss)
	return status.Errorf(codes.Unimplemented, "unknown method %q", method)
}

func (m *callMeter) done(ctx context.Context, start time.Time, method string, err error) {
	code := status.Code(err)
	m.calls.Since(ctx, start, method, codeName(code), isFault(code))
}

// isFault reports whether a code is a failure of the server, as the semantic conventions
// for gRPC say.
func isFault(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}

// codeNames are the names of the codes in the specification of gRPC.
var codeNames = [...]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
	codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

// codeName returns the name of a code. A service may return a number that is none.
func codeName(code codes.Code) string {
	if code < codes.Code(len(codeNames)) {
		return codeNames[code]
	}
	return codeNames[codes.Unknown]
}
