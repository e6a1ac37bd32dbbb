package client

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

var requestIDKey = strings.ToLower(requestid.Header)

// propagate adds the id and the trace context (W3C Trace Context) of the request that is being
// served to an outgoing call, unless the caller has set them. The trace context is that of the
// current span, or in a server without tracing the one that it has received. Nothing else is
// passed on, in particular no token and no baggage.
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
	if len(out.Get(tracing.ParentKey)) > 0 {
		return metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	current := tracing.Pairs(ctx)
	if parents := in.Get(tracing.ParentKey); len(parents) == 1 && current == nil {
		current = append(current, tracing.ParentKey, parents[0])
		for _, state := range in.Get(tracing.StateKey) {
			current = append(current, tracing.StateKey, state)
		}
	}
	return metadata.AppendToOutgoingContext(ctx, append(pairs, current...)...)
}

func propagateUnary(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	return invoke(propagate(ctx), method, req, reply, conn, opts...)
}

func propagateStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn,
	method string, stream grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return stream(propagate(ctx), desc, conn, method, opts...)
}
