package services_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/services"
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
		all, err := services.Open(t.Context(), []services.Service{{Desc: &healthpb.Health_ServiceDesc,
			Open: func(context.Context) (any, error) {
				if attempts++; attempts < 4 {
					return nil, fmt.Errorf("refused: %w", cause.ErrUnavailable)
				}
				return health.NewServer(), nil
			}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var r registrar
		all.Register(&r)
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
		if err := all.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("ready: %v, want the reason", err)
		}
		work := all.Upkeep()
		if len(work) != 1 {
			t.Fatalf("%d parts wait, want 1", len(work))
		}
		if err := work[0].Run(t.Context()); err != nil {
			t.Errorf("the wait ends with %v", err)
		}
		if err := errors.Join(r.check(t.Context(), interceptor), all.Ready(t.Context()), all.Close()); err != nil {
			t.Errorf("when it is open: %v", err)
		}
	})
}
