package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// registrar keeps the last service that is registered.
type registrar struct {
	desc *grpc.ServiceDesc
	impl any
}

func (r *registrar) RegisterService(desc *grpc.ServiceDesc, impl any) { r.desc, r.impl = desc, impl }

// check calls the method Check of the registered service, as a server does.
func (r *registrar) check(ctx context.Context, interceptor grpc.UnaryServerInterceptor) error {
	for _, m := range r.desc.Methods {
		if m.MethodName == "Check" {
			_, err := m.Handler(r.impl, ctx, func(any) error { return nil }, interceptor)
			return err
		}
	}
	return errors.New("no method Check")
}

// A service whose database is away is not ready, and its calls fail with UNAVAILABLE
// after the interceptors, until it can be opened.
func TestServiceAwaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		all, err := openServices(t.Context(), []Service{NewServiceFunc[*health.Server, any](&healthpb.Health_ServiceDesc, nil, nil,
			func(context.Context, Environment) (*health.Server, error) {
				if attempts++; attempts < 4 {
					return nil, fmt.Errorf("refused: %w", ErrUnavailable)
				}
				return health.NewServer(), nil
			})}, Environment{})
		if err != nil {
			t.Fatal(err)
		}
		var r registrar
		all.register(&r)
		intercepted := 0
		interceptor := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			intercepted++
			return handler(ctx, req)
		}
		if err := r.check(t.Context(), interceptor); status.Code(err) != codes.Unavailable || intercepted != 1 {
			t.Errorf("a call: %v after %d interceptors, want Unavailable after 1", err, intercepted)
		}
		if err := r.check(t.Context(), nil); status.Code(err) != codes.Unavailable {
			t.Errorf("a call without interceptors: %v, want Unavailable", err)
		}
		if err := all.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("ready: %v, want the reason", err)
		}
		work := all.upkeep()
		if len(work) != 1 {
			t.Fatalf("%d parts wait, want 1", len(work))
		}
		if err := work[0].Run(t.Context()); err != nil {
			t.Errorf("the wait ends with %v", err)
		}
		if err := errors.Join(r.check(t.Context(), interceptor), all.ready(t.Context()), all.close()); err != nil {
			t.Errorf("when it is open: %v", err)
		}
	})
}

// An error that does not pass ends the wait with it, at the first attempt and later.
// So does the end of the process.
func TestAwaitEnds(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong password")
	for name, c := range map[string]struct {
		errs []error // of the attempts
		want error   // of await or run
	}{
		"at first":   {[]error{wrong}, wrong},
		"later":      {[]error{ErrUnavailable, ErrUnavailable, wrong}, wrong},
		"never open": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				attempt := 0
				a, err := await(t.Context(), nil, func(ctx context.Context) (int, error) {
					if attempt++; attempt <= len(c.errs) {
						return 0, c.errs[attempt-1]
					}
					<-ctx.Done() // it does not answer
					return 0, ctx.Err()
				})
				if err == nil {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					err = a.run(ctx)
					if _, ok := a.stop(); ok {
						t.Error("there is a value")
					}
				}
				if !errors.Is(err, c.want) || err != nil && c.want == nil {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}
