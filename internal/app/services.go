package app

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/server/catalog"
	"github.com/gatehouse-dev/gatehouse/server/catalog/productdb"
)

// services is the one list of what is served. A new service is one entry: its
// implementation for the server, and its client for the gateway, both made by
// generated functions.
var services = []service{
	{
		serve(audioarchivev1.RegisterStatusServiceServer, func(*resources) audioarchivev1.StatusServiceServer { return catalog.Status{} }),
		gateway.Expose(audioarchivev1.NewStatusServiceClient, audioarchivev1.RegisterStatusServiceHandlerClient, "audioarchive.v1.StatusService"),
	},
	{
		serve(audioarchivev1.RegisterProductServiceServer, func(r *resources) audioarchivev1.ProductServiceServer { return r.products }),
		gateway.Expose(audioarchivev1.NewProductServiceClient, audioarchivev1.RegisterProductServiceHandlerClient, "audioarchive.v1.ProductService"),
	},
}

// resources are what services work with beyond the call itself. They are
// opened before the server takes its first call, and closed after its last.
type resources struct {
	database *productdb.DB
	products *catalog.Products
}

func openResources(ctx context.Context, cfg Config) (*resources, error) {
	db, err := productdb.Open(ctx, productdb.Config{URL: cfg.DatabaseURL})
	if err != nil {
		return nil, fmt.Errorf("GATEHOUSE_DATABASE_URL=%s: %w", place(cfg.DatabaseURL), err)
	}
	return &resources{database: db, products: catalog.NewProducts(catalog.ProductsConfig{DB: db})}, nil
}

// ready says why services cannot do their work at the moment.
func (r *resources) ready(ctx context.Context) error {
	if err := r.database.Ping(ctx); err != nil {
		return fmt.Errorf("the database (GATEHOUSE_DATABASE_URL) does not answer: %w", err)
	}
	return nil
}

// drain ends what would last longer than the server wants to.
func (r *resources) drain(context.Context) error {
	r.products.Drain()
	return nil
}

func (r *resources) close() error { return r.database.Close() }

type service struct {
	register func(grpc.ServiceRegistrar, *resources)
	exposed  gateway.Service
}

func serve[S any](register func(grpc.ServiceRegistrar, S), implementation func(*resources) S) func(grpc.ServiceRegistrar, *resources) {
	return func(r grpc.ServiceRegistrar, with *resources) { register(r, implementation(with)) }
}

func registerServices(with *resources) func(grpc.ServiceRegistrar) {
	return func(r grpc.ServiceRegistrar) {
		for _, s := range services {
			s.register(r, with)
		}
	}
}

func exposedServices() []gateway.Service {
	exposed := make([]gateway.Service, 0, len(services))
	for _, s := range services {
		exposed = append(exposed, s.exposed)
	}
	return exposed
}
