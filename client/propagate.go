package client

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

var requestIDKey = strings.ToLower(requestid.Header)

// propagate ties a call to the request in whose course it is made: by the
// request's id, and by its place in a trace (W3C Trace Context). What the caller
// has set stands. Nothing else of the request is passed on, its token least of
// all.
func propagate(ctx context.Context) context.Context {
	out, _ := metadata.FromOutgoingContext(ctx)
	in, _ := metadata.FromIncomingContext(ctx)
	var pairs []string
	if len(out.Get(requestIDKey)) == 0 {
		id := requestid.FromContext(ctx)
		if ids := in.Get(requestIDKey); id == "" && len(ids) == 1 {
			id = ids[0]
		}
		pairs = append(pairs, requestIDKey, requestid.Keep(id))
	}
	if parents := in.Get("traceparent"); len(parents) == 1 && len(out.Get("traceparent")) == 0 {
		pairs = append(pairs, "traceparent", parents[0])
		for _, state := range in.Get("tracestate") {
			pairs = append(pairs, "tracestate", state)
		}
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func propagateUnary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(propagate(ctx), method, req, reply, conn, opts...)
}

func propagateStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return stream(propagate(ctx), desc, conn, method, opts...)
}
