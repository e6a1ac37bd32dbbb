package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A healthService is grpc.health.v1, for the server as a whole and for each
// service by name. Its streams end when the server stops: grpc-go keeps them
// open, so that each client that watches would delay the stop.
type healthService struct {
	*health.Server
	names    []string
	stopping context.Context
	end      context.CancelFunc
}

func newHealthService() *healthService {
	h := &healthService{Server: health.NewServer(), names: []string{""}}
	h.stopping, h.end = context.WithCancel(context.Background())
	return h
}

// addServices adds the services that clients can ask about by name. They begin
// with NOT_SERVING, in grpc-go with SERVING. All have one status: without keys to
// verify tokens with, none can serve.
func (h *healthService) addServices(services collection) {
	for _, s := range services {
		h.names = append(h.names, s.desc.ServiceName)
	}
	h.set(false)
}

func (h *healthService) set(serving bool) {
	is := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		is = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range h.names {
		h.SetServingStatus(name, is)
	}
}

// stop reports NOT_SERVING from now on and ends all streams.
func (h *healthService) stop() {
	h.Shutdown()
	h.end()
}

// Watch implements healthpb.HealthServer.
func (h *healthService) Watch(req *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	err := h.Server.Watch(req, &watchStream{stream, ctx})
	if h.stopping.Err() == nil || stream.Context().Err() != nil {
		return err
	}
	// grpc-go may or may not have sent the last status before the context ended.
	if err := stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}); err != nil {
		return err
	}
	return errStopping
}

type watchStream struct {
	healthpb.Health_WatchServer
	ctx context.Context
}

func (s *watchStream) Context() context.Context { return s.ctx }

// errStopping tells clients to try another server.
var errStopping = status.Error(codes.Unavailable, "the server is shutting down")
