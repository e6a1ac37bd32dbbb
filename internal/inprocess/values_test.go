package inprocess_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

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
