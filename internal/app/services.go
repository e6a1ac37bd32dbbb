package app

import (
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/server/catalog"
)

// services is the one list of what is served. A new service is one entry: its
// implementation for the server, and its client for the gateway, both made by
// generated functions.
var services = []service{
	{
		serve(audioarchivev1.RegisterStatusServiceServer, audioarchivev1.StatusServiceServer(catalog.Status{})),
		gateway.Expose(audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService"),
	},
}

type service struct {
	register func(grpc.ServiceRegistrar)
	exposed  gateway.Service
}

func serve[S any](register func(grpc.ServiceRegistrar, S), implementation S) func(grpc.ServiceRegistrar) {
	return func(r grpc.ServiceRegistrar) { register(r, implementation) }
}

func registerServices(r grpc.ServiceRegistrar) {
	for _, s := range services {
		s.register(r)
	}
}

func exposedServices() []gateway.Service {
	exposed := make([]gateway.Service, 0, len(services))
	for _, s := range services {
		exposed = append(exposed, s.exposed)
	}
	return exposed
}
