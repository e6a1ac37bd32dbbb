package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/test/oidctest"
	"github.com/gatehouse-dev/gatehouse/server"
)

func healthOf(t *testing.T, conn grpc.ClientConnInterface, service string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	answer, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatalf("health of %q: %v", service, err)
	}
	return answer.GetStatus()
}

// The health service reports SERVING from when tokens can be verified until the
// server stops.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t)
		issuer.SetDown(true)
		cfg := newConfig(t, nil, &probe{})
		cfg.Authn.Provider = oidctest.NewProvider(t, issuer)
		var closed atomic.Bool
		cfg.Ready = func() error {
			if closed.Load() {
				return errors.New("closed for lunch")
			}
			return nil
		}
		s, err := server.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Shutdown(t.Context()) }() // ends its goroutines
		const not, serving = healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING
		want := func(when string, want healthpb.HealthCheckResponse_ServingStatus) {
			t.Helper()
			synctest.Wait()
			for _, service := range []string{"", "probe.v1.Probe", "grpc.health.v1.Health"} {
				if got := healthOf(t, s.Conn(), service); got != want {
					t.Errorf("%s: the health of %q is %v, want %v", when, service, got, want)
				}
			}
			if ready := s.Ready() == nil; ready != (want == serving) {
				t.Errorf("%s: Ready returned %v", when, s.Ready())
			}
		}
		want("before Run", not)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-time.After(10 * time.Second) // fake time
		want("while the provider is down", not)
		if _, err := healthpb.NewHealthClient(s.Conn()).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "unknown"}); status.Code(err) != codes.NotFound {
			t.Errorf("the health of an unknown service: %v", err)
		}
		issuer.SetDown(false)
		<-time.After(4 * time.Second) // keys are fetched every 2 s, the health is set every second
		want("when the keys are there", serving)
		closed.Store(true)
		<-time.After(time.Second)
		want("while Config.Ready returns an error", not)
		closed.Store(false)
		<-time.After(time.Second)
		want("when it returns none", serving)
		issuer.SetDown(true)
		<-time.After(25 * time.Hour) // keys are valid for 24 h
		want("when the keys are too old", not)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// TestHealthAtStart checks that the health service does not keep gateways waiting that start with
// the server.
func TestHealthAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := newConfig(t, nil, &probe{})
		cfg.Authn.Provider = oidctest.NewProvider(t, newIssuer(t))
		opened := time.Now().Add(50 * time.Millisecond)
		cfg.Ready = func() error {
			if time.Now().Before(opened) {
				return errors.New("not opened yet")
			}
			return nil
		}
		s, err := server.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Shutdown(t.Context()) }()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-time.After(100 * time.Millisecond)
		synctest.Wait()
		if got := healthOf(t, s.Conn(), ""); got != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("50ms after it is ready, 100ms after the start: the health is %v", got)
		}
		cancel()
		<-done
	})
}
