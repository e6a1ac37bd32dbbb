package gateway

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/transcode"
)

// Service is a gRPC service to serve as REST and to generated clients. [Expose]
// returns one.
type Service struct{ rest transcode.Service }

// Expose returns a service to serve: at the paths of its google.api.http
// annotations, and, for gRPC-Web and Connect, each method at
// /api/SERVICE/METHOD.
//
//	gateway.Expose(pb.NewThingServiceClient, pb.RegisterThingServiceHandlerClient, "things.v1.ThingService")
//
// client and register are generated functions; name is the full Protobuf name of
// the service, by which [New] finds its descriptor. The generated function
// RegisterXHandlerServer does not fit on purpose: it calls the implementation
// without interceptors, so without authentication.
func Expose[C any](
	client func(grpc.ClientConnInterface) C,
	register func(context.Context, *runtime.ServeMux, C) error,
	name string,
) Service {
	if client == nil || register == nil {
		return Service{rest: transcode.Service{Name: name}} // New reports it
	}
	return Service{rest: transcode.Service{Name: name, Register: func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return register(ctx, mux, client(conn))
	}}}
}

// Route is one HTTP method and path, and the gRPC method that it calls.
type Route struct {
	Method  string // HTTP method, GET
	Pattern string // path template as in the .proto, /api/things/{id}
	RPC     string // full gRPC method, /things.v1.ThingService/GetThing
}

// Routes returns the routes of all services, in the order of the services and of
// the methods in their .proto files.
func (g *Gateway) Routes() []Route {
	routes := make([]Route, len(g.routes))
	for i, rt := range g.routes {
		routes[i] = Route{Method: rt.Method, Pattern: rt.Pattern, RPC: rt.RPC}
	}
	return routes
}
