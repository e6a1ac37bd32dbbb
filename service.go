package gatehouse

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/services"
	"github.com/gatehouse-dev/gatehouse/internal/stores"
)

// A Service is a gRPC service of an application, for the server and for the
// gateway. NewService and NewServiceFunc make one.
//
// An implementation may have three methods besides those of its .proto:
//
//	Ready(context.Context) error  says why the service is not ready; /readyz reports it
//	Drain()                       ends streams that would delay the end of the process
//	Close() error                 is called after the last call
type Service struct {
	desc    *grpc.ServiceDesc
	exposed []gateway.Service // none for gRPC only
	open    func(context.Context, Environment) (any, error)
	// What check runs; nil for none.
	probe, probeFiles func(context.Context, Environment) error
}

// NewService returns a service with its implementation:
//
//	gatehouse.NewService(&notesv1.NotesService_ServiceDesc, notesv1.NewNotesServiceClient,
//		notesv1.RegisterNotesServiceHandlerClient, &notes.Service{})
//
// The first three arguments are generated from the .proto by protoc-gen-go-grpc
// and protoc-gen-grpc-gateway. The program does not start if implementation
// lacks a method of the service.
//
// A service is gRPC only if client and rest are both nil: the server has it, the
// gateway does not expose it. Otherwise one of its methods must have a
// google.api.http annotation. C cannot be inferred from nil:
//
//	gatehouse.NewService[any](&notesv1.NotesService_ServiceDesc, nil, nil, &notes.Service{})
func NewService[C any](
	desc *grpc.ServiceDesc,
	client func(grpc.ClientConnInterface) C,
	rest func(context.Context, *runtime.ServeMux, C) error,
	implementation any,
) Service {
	return NewServiceFunc(desc, client, rest, func(context.Context, Environment) (any, error) {
		return implementation, nil
	})
}

// NewServiceFunc is NewService for an implementation that open makes of the
// settings. It is called before the program serves, and not by the commands that
// run no server. Its error stops the program, unless it wraps ErrUnavailable.
func NewServiceFunc[S, C any](
	desc *grpc.ServiceDesc,
	client func(grpc.ClientConnInterface) C,
	rest func(context.Context, *runtime.ServeMux, C) error,
	open func(context.Context, Environment) (S, error),
) Service {
	if desc == nil {
		return Service{} // Run reports it
	}
	s := Service{
		desc: desc,
		open: func(ctx context.Context, env Environment) (any, error) { return open(ctx, env) },
	}
	if client != nil || rest != nil {
		s.exposed = []gateway.Service{gateway.Expose(client, rest, desc.ServiceName)}
	}
	return s
}

// WithProbe returns the service with a test of its database for the command
// check. The probe must change nothing there.
func (s Service) WithProbe(probe func(context.Context, Environment) error) Service {
	s.probe = probe
	return s
}

// WithFilesProbe returns the service with a test of its place for files for the
// command check. The probe may write a file of its own there, and must remove it.
func (s Service) WithFilesProbe(probe func(context.Context, Environment) error) Service {
	s.probeFiles = probe
	return s
}

// ErrUnavailable is wrapped by an error of NewServiceFunc's open that may pass by
// itself, such as a refused connection to a database. The process then serves
// without the service, not ready and with UNAVAILABLE for its calls, and open is
// called again until it succeeds.
var ErrUnavailable = cause.ErrUnavailable

// An Environment has the settings of the program that implementations of
// services may need.
type Environment struct {
	// DatabaseURL is where services keep their data: "memory:", "sqlite:PATH"
	// or "postgres://…".
	DatabaseURL string
	// FilesURL is where services keep files, if any: "memory:", "dir:PATH", or the
	// URL of a bucket, such as "s3://BUCKET?region=REGION". MaxFileBytes is the
	// maximum size of a file.
	FilesURL     string
	MaxFileBytes int64
	// Issuer is the OpenID provider's. With the subject it identifies a user.
	Issuer string
	// Development is true for the command dev.
	Development bool
	// Logger is never nil.
	Logger *slog.Logger

	database, files string // how errors name the settings
}

// environment returns the settings for implementations of services.
func (p *program) environment() Environment {
	return Environment{
		DatabaseURL: stores.WithAuthorities(p.cfg.DatabaseURL, p.cfg.TLS.DatabaseCAFile), Issuer: p.cfg.Provider.Issuer, Development: p.development,
		FilesURL: p.cfg.FilesURL, MaxFileBytes: p.cfg.MaxFileBytes,
		Logger: p.logger.With("part", "services"), database: p.values.Name("database-url"), files: p.values.Name("files-url"),
	}
}

// DatabaseError returns err with the setting of the database before it, without
// its password, and nil for nil.
func (env Environment) DatabaseError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", env.database, err)
}

// FilesError returns err with the setting of the place for files before it, and nil
// for nil.
func (env Environment) FilesError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", env.files, err)
}

// probeFiles runs the probes of all services, and reports whether there is one.
func probeFiles(ctx context.Context, services []Service, env Environment) (probed bool, err error) {
	for _, s := range services {
		if s.probeFiles != nil {
			probed = true
			if err := s.probeFiles(ctx, env); err != nil {
				return probed, err
			}
		}
	}
	return probed, nil
}

// probeDatabase runs the probes of all services, and reports whether there is
// one.
func probeDatabase(ctx context.Context, services []Service, env Environment) (probed bool, err error) {
	for _, s := range services {
		if s.probe != nil {
			probed = true
			if err := s.probe(ctx, env); err != nil {
				return probed, err
			}
		}
	}
	return probed, nil
}

// exposedServices returns what the gateway serves of the application.
func exposedServices(services []Service) []gateway.Service {
	exposed := make([]gateway.Service, 0, len(services)+1) // with room for the operator's
	for _, s := range services {
		exposed = append(exposed, s.exposed...)
	}
	return exposed
}

// openServices opens the implementations of all services.
func openServices(ctx context.Context, all []Service, env Environment) (services.All, error) {
	opened := make([]services.Service, len(all))
	for i, s := range all {
		opened[i] = services.Service{Desc: s.desc, Open: func(ctx context.Context) (any, error) { return s.open(ctx, env) }}
	}
	return services.Open(ctx, opened, env.Logger)
}
