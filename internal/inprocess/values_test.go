package inprocess_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// Of the caller's values a service gets the span alone, so that a trace goes on without
// a network.
func TestSpanPasses(t *testing.T) {
	t.Parallel()
	type key struct{}
	var got trace.SpanContext
	observe := func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		got = trace.SpanContextFromContext(ctx)
		if ctx.Value(key{}) != nil {
			t.Error("a value of the caller's reached the service")
		}
		return text(""), nil
	}
	conn := inprocess.New(inprocess.Config{Unary: []grpc.UnaryServerInterceptor{observe}})
	conn.RegisterService(&desc, &service{})
	want := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(context.WithValue(t.Context(), key{}, "x"), want)
	if _, err := call(ctx, conn, "x"); err != nil {
		t.Fatal(err)
	}
	if !got.Equal(want) {
		t.Errorf("span context %v, want %v", got, want)
	}
}

// The functions of grpc-go find the metadata and the stream of a call, and the server the line of its
// request. This fails if one looks up another key, after an update for example.
func TestValuesAreFound(t *testing.T) {
	t.Parallel()
	observe := func(ctx context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		for range 2 {
			md, _ := metadata.FromIncomingContext(ctx)
			if got := md["authorization"]; len(got) != 1 || got[0] != "Bearer a" {
				t.Errorf("authorization = %q, want that of the caller", got)
				continue
			}
			md["authorization"][0] = "Bearer b" // a copy
			metadata.ValueFromIncomingContext(ctx, "authorization")[0] = "Bearer b"
		}
		if method, _ := grpc.Method(ctx); method != info.FullMethod {
			t.Errorf("method = %q, want %q", method, info.FullMethod)
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-set", "1")); err != nil {
			t.Error(err)
		}
		return text(""), nil
	}
	conn := inprocess.New(inprocess.Config{Unary: []grpc.UnaryServerInterceptor{observe}})
	conn.RegisterService(&desc, &service{})
	if _, err := call(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a"), conn, "x"); err != nil {
		t.Fatal(err)
	}
}
