// Package services owns the implementations of an application's gRPC services in a
// server: they are opened, awaited while what they need is unavailable, registered, asked
// whether they are ready, and closed. It leaves calls to package server.
package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/await"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// A Service is one that is to be opened.
type Service struct {
	Desc *grpc.ServiceDesc
	// Open returns the implementation. Its error may wrap cause.ErrUnavailable.
	Open func(context.Context) (any, error)
}

// All are the opened implementations, in the order of their services. The methods Ready,
// Drain and Close of implementations are optional.
type All []implementation

// An implementation is registered by its service's descriptor.
type implementation struct {
	desc    *grpc.ServiceDesc
	opening *await.Value[any]
}

// Open opens the implementations of all services. If one fails, the others are closed.
// One that is unavailable is awaited; its outage is logged.
func Open(ctx context.Context, services []Service, logger *slog.Logger) (all All, err error) {
	for _, s := range services {
		monitor := outage.New(outage.Config{Name: "service", Logger: logger.With("service", s.Desc.ServiceName)})
		opening, err := await.Open(ctx, monitor, func(ctx context.Context) (any, error) {
			value, err := s.Open(ctx)
			if err != nil {
				return nil, fmt.Errorf("open service %s: %w", s.Desc.ServiceName, err)
			}
			want := reflect.TypeOf(s.Desc.HandlerType).Elem()
			if value == nil || !reflect.TypeOf(value).Implements(want) {
				return nil, fmt.Errorf("gatehouse: service %s: implementation %T is not a %v", s.Desc.ServiceName, value, want)
			}
			return value, nil
		})
		if err != nil {
			_ = all.Close() // err is the cause
			return nil, err
		}
		all = append(all, implementation{s.Desc, opening})
	}
	return all, nil
}

// Upkeep returns the work of opening services that are awaited.
func (all All) Upkeep() (work []*lifecycle.Part) {
	for _, one := range all {
		if _, err := one.opening.Get(); err != nil {
			work = append(work, &lifecycle.Part{Name: "service " + one.desc.ServiceName, Run: one.opening.Run})
		}
	}
	return work
}

// Opened returns why an implementation is not there yet.
func (all All) Opened() error {
	for _, one := range all {
		if _, err := one.opening.Get(); err != nil {
			return err
		}
	}
	return nil
}

// Register adds all services to a gRPC server.
func (all All) Register(r grpc.ServiceRegistrar) {
	for _, one := range all {
		if value, err := one.opening.Get(); err == nil {
			r.RegisterService(one.desc, value)
		} else {
			r.RegisterService(awaitedDesc(one.desc, one.opening), one.opening)
		}
	}
}

// Ready returns the error of the first service that is not ready.
func (all All) Ready(ctx context.Context) error {
	for _, one := range all {
		value, err := one.opening.Get()
		if err != nil {
			return err
		}
		if s, ok := value.(interface{ Ready(context.Context) error }); ok {
			if err := s.Ready(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Drain ends streams that have no end of their own.
func (all All) Drain(context.Context) error {
	for _, one := range all {
		value, _ := one.opening.Get()
		if s, ok := value.(interface{ Drain() }); ok {
			s.Drain()
		}
	}
	return nil
}

// Close closes what has a method Close, and returns all errors.
func (all All) Close() error {
	var errs []error
	for _, one := range all {
		value, _ := one.opening.Stop()
		if s, ok := value.(io.Closer); ok {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// errNotOpened answers calls of a service that is not there yet.
var errNotOpened = status.Error(codes.Unavailable, "the service is not available yet")

// awaitedDesc returns a description of a service whose implementation is not there
// yet. Until it is, calls pass the interceptors and then fail with UNAVAILABLE.
func awaitedDesc(desc *grpc.ServiceDesc, impl *await.Value[any]) *grpc.ServiceDesc {
	wrapped := *desc
	wrapped.HandlerType = (*any)(nil)
	wrapped.Methods, wrapped.Streams = nil, nil
	for _, m := range desc.Methods {
		handler := m.Handler
		m.Handler = func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			srv, err := impl.Get()
			if err == nil {
				return handler(srv, ctx, decode, interceptor)
			}
			if interceptor == nil {
				return nil, errNotOpened
			}
			return handler(nil, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
				return interceptor(ctx, req, info, func(context.Context, any) (any, error) { return nil, errNotOpened })
			})
		}
		wrapped.Methods = append(wrapped.Methods, m)
	}
	for _, st := range desc.Streams {
		handler := st.Handler
		st.Handler = func(_ any, stream grpc.ServerStream) error {
			srv, err := impl.Get()
			if err != nil {
				return errNotOpened
			}
			return handler(srv, stream)
		}
		wrapped.Streams = append(wrapped.Streams, st)
	}
	return &wrapped
}
