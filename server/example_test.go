package server_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// A server takes its services and, for services whose .proto files are not yours,
// their policies. Package lifecycle, or any listener, serves it on the network.
func Example() {
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(server.Config{
		Authn: authn.Config{Provider: provider, Audience: "https://api.example"},
		Register: func(r grpc.ServiceRegistrar) {
			testpb.RegisterTestServiceServer(r, testpb.UnimplementedTestServiceServer{})
		},
		Policies: map[string]*authv1.Policy{
			testpb.TestService_UnaryCall_FullMethodName: {Scopes: []string{"write"}},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, rule := range srv.Rules() {
		if rule.Method == testpb.TestService_UnaryCall_FullMethodName {
			fmt.Println(rule)
		}
	}

	// Calls in process pass the same interceptors as calls over the network.
	_, err = testpb.NewTestServiceClient(srv.Conn()).UnaryCall(context.Background(), &testpb.SimpleRequest{})
	fmt.Println(status.Code(err))
	health, err := healthpb.NewHealthClient(srv.Conn()).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(health.GetStatus(), err) // until Run has fetched the provider's keys
	// Output:
	// token, scope write
	// Unauthenticated
	// NOT_SERVING <nil>
}

// An interceptor of the application knows the caller: here it refuses calls of users
// who have not accepted the terms. Calls without a valid token do not reach it.
func ExampleConfig_interceptors() {
	accepted := map[string]bool{"auth0|alice": true}
	terms := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if p, ok := authn.FromContext(ctx); ok && !accepted[p.Subject] {
			return nil, status.Error(codes.FailedPrecondition, "accept the terms first")
		}
		return handler(ctx, req)
	}
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(server.Config{
		Authn:             authn.Config{Provider: provider, Audience: "https://api.example"},
		UnaryInterceptors: []grpc.UnaryServerInterceptor{terms},
		Register: func(r grpc.ServiceRegistrar) {
			testpb.RegisterTestServiceServer(r, testpb.UnimplementedTestServiceServer{})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = testpb.NewTestServiceClient(srv.Conn()).UnaryCall(context.Background(), &testpb.SimpleRequest{})
	fmt.Println(status.Code(err))
	// Output: Unauthenticated
}

// Validate reports all errors of a configuration at once.
func ExampleConfig_Validate() {
	cfg := server.Config{
		Authn:  authn.Config{Provider: new(oidc.Provider), Audience: "https://api.example"},
		Limits: server.LimitsConfig{MaxRequestBytes: 10, MaxResponseBytes: -1},
	}
	fmt.Println(cfg.Validate())
	// Output:
	// Limits.MaxRequestBytes "10" is too small or too large a limit on messages; give a number of bytes from 1024 to 1073807360
	// Limits.MaxResponseBytes "-1" is too small or too large a limit on messages; give a number of bytes from 1024 to 1073741824
}
