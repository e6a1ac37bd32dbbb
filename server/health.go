package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A healthService is grpc.health.v1 for the server as a whole and for each
// service by name. Its streams end when the server leaves: those of grpc-go
// stay open, so that every client that watches would hold up the end.
type healthService struct {
	*health.Server
	names   []string
	leaving context.Context
	end     context.CancelFunc
}

func newHealthService() *healthService {
	h := &healthService{Server: health.NewServer(), names: []string{""}}
	h.leaving, h.end = context.WithCancel(context.Background())
	return h
}

// serves adds the services that can be asked after by name, and begins with
// NOT_SERVING, where grpc-go has SERVING. All share one status: what keeps one
// from serving, the want of keys to verify tokens by, keeps all.
func (h *healthService) serves(services collection) {
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

// leave says NOT_SERVING to all who watch, for good, and ends their streams.
func (h *healthService) leave() {
	h.Shutdown()
	h.end()
}

// Watch implements healthpb.HealthServer.
func (h *healthService) Watch(req *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(h.leaving, cancel)()
	err := h.Server.Watch(req, &watchStream{stream, ctx})
	if h.leaving.Err() == nil || stream.Context().Err() != nil {
		return err
	}
	// Whether the watch saw the last status before its end is a race.
	if err := stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}); err != nil {
		return err
	}
	return errLeaving
}

type watchStream struct {
	healthpb.Health_WatchServer
	ctx context.Context
}

func (s *watchStream) Context() context.Context { return s.ctx }

// errLeaving tells a caller to try another server.
var errLeaving = status.Error(codes.Unavailable, "the server is shutting down")
