package app

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// comments are those of the .proto files, for the API's description: make
// generate writes them.
//
//go:embed comments.binpb
var comments []byte

// A service is one entry of the list of what is served.
type service struct {
	exposed gateway.Service
	open    func(context.Context, environment) (implementation, error)
	probe   func(context.Context, environment) error // nil if it keeps nothing in the database
}

// An implementation is a service's own code. It may have three methods besides
// those of its .proto:
//
//	Ready(context.Context) error  says why it cannot do its work at the moment
//	Drain()                       ends streams that would keep the server from stopping
//	Close() error                 is called after the last call
type implementation struct {
	value    any
	register func(grpc.ServiceRegistrar)
}

// An environment is what an implementation may be made of.
type environment struct {
	Config
	development bool
}

// examples reports whether the database is one to fill with examples: that of
// gatehouse dev, as long as it ends with the process.
func (env environment) examples() bool { return env.development && env.DatabaseURL == "memory:" }

// databaseError says which setting an error comes from.
func (env environment) databaseError(err error) error {
	return fmt.Errorf("GATEHOUSE_DATABASE_URL=%s: %w", place(env.DatabaseURL), err)
}

// A generated is what is generated from the .proto of a service whose
// implementation is an S.
type generated[S any] struct {
	exposed  gateway.Service
	register func(grpc.ServiceRegistrar, S)
}

// serve begins an entry, with the full name of a service and the functions that
// are generated from it.
func serve[S, C any](
	name string,
	register func(grpc.ServiceRegistrar, S),
	client func(grpc.ClientConnInterface) C,
	rest func(context.Context, *runtime.ServeMux, C) error,
) generated[S] {
	return generated[S]{gateway.Expose(client, rest, name), register}
}

// by ends an entry with an implementation that needs nothing to begin with.
func (g generated[S]) by(s S) service {
	return g.opened(func(context.Context, environment) (S, error) { return s, nil })
}

// opened ends an entry with an implementation that has to be opened first: it
// may use the settings, and take its time.
func (g generated[S]) opened(open func(context.Context, environment) (S, error)) service {
	return service{exposed: g.exposed, open: func(ctx context.Context, env environment) (implementation, error) {
		s, err := open(ctx, env)
		return implementation{s, func(r grpc.ServiceRegistrar) { g.register(r, s) }}, err
	}}
}

// probed gives a service what gatehouse check asks about the database, which
// must change nothing there.
func (s service) probed(probe func(context.Context, environment) error) service {
	s.probe = probe
	return s
}

// probeDatabase asks every service that keeps its data in the database whether
// it could, and reports whether there is one.
func probeDatabase(ctx context.Context, env environment) (asked bool, err error) {
	for _, s := range services {
		if s.probe != nil {
			asked = true
			if err := s.probe(ctx, env); err != nil {
				return asked, err
			}
		}
	}
	return asked, nil
}

// implementations are those of all services, opened.
type implementations []implementation

// openServices opens every service of the list. What is open when one fails
// is closed again.
func openServices(ctx context.Context, env environment) (all implementations, err error) {
	for _, s := range services {
		one, err := s.open(ctx, env)
		if err != nil {
			_ = all.close() // the cause is worth more
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (all implementations) register(r grpc.ServiceRegistrar) {
	for _, one := range all {
		one.register(r)
	}
}

// ready says why services cannot do their work at the moment.
func (all implementations) ready(ctx context.Context) error {
	for _, one := range all {
		if s, ok := one.value.(interface{ Ready(context.Context) error }); ok {
			if err := s.Ready(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain ends what would last longer than the server wants to.
func (all implementations) drain(context.Context) error {
	for _, one := range all {
		if s, ok := one.value.(interface{ Drain() }); ok {
			s.Drain()
		}
	}
	return nil
}

func (all implementations) close() error {
	var errs []error
	for _, one := range all {
		if s, ok := one.value.(interface{ Close() error }); ok {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func exposedServices() []gateway.Service {
	exposed := make([]gateway.Service, 0, len(services))
	for _, s := range services {
		exposed = append(exposed, s.exposed)
	}
	return exposed
}
