package authn_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// A service reads the principal if the answer depends on the caller. The interceptor
// has applied the policy of the method before.
func ExampleFromContext() {
	deleteProduct := func(ctx context.Context, seller string) error {
		caller, ok := authn.FromContext(ctx)
		if !ok || caller.Subject != seller {
			return status.Error(codes.PermissionDenied, "only the seller may delete a product")
		}
		return nil
	}

	// A test of the service sets the principal as the interceptor does.
	ada := authn.NewContext(context.Background(), &authn.Principal{Issuer: "https://issuer.example", Subject: "ada"})
	fmt.Println(deleteProduct(ada, "ada"))
	fmt.Println(deleteProduct(ada, "grace"))
	fmt.Println(deleteProduct(context.Background(), "ada"))
	// Output:
	// <nil>
	// rpc error: code = PermissionDenied desc = only the seller may delete a product
	// rpc error: code = PermissionDenied desc = only the seller may delete a product
}

// A gRPC server without package server needs these lines.
func ExampleNewInterceptor() {
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := authn.NewVerifier(authn.Config{Provider: provider, Audience: "https://api.example"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = verifier.Run(ctx) }() // fetches the provider's keys and keeps them fresh

	table := authn.NewTable(map[string]*authv1.Policy{
		healthpb.Health_Check_FullMethodName: {Public: true},
	})
	auth := authn.NewInterceptor(verifier, table)
	server := grpc.NewServer(grpc.UnaryInterceptor(auth.Unary), grpc.StreamInterceptor(auth.Stream))
	healthpb.RegisterHealthServer(server, healthpb.UnimplementedHealthServer{})
	if err := table.Check(server.GetServiceInfo()); err != nil { // contradictory policies stop the start
		log.Fatal(err)
	}

	for _, rule := range table.Rules() {
		fmt.Println(rule.Method, "-", rule)
	}
	// Output:
	// /grpc.health.v1.Health/Check - public
	// /grpc.health.v1.Health/List - token
	// /grpc.health.v1.Health/Watch - token
}

// A logout takes effect before the access token expires.
func ExampleConfig_revoked() {
	list, err := denylist.New(denylist.Config{TokenLifetime: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := authn.NewVerifier(authn.Config{
		Provider: provider,
		Audience: "https://api.example",
		Denylist: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = verifier

	// When the provider reports that a session has ended:
	if err := list.DenySession(context.Background(), "https://issuer.example", "sid-1", time.Time{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(list.Revoked(context.Background(), &authn.RevocationKey{Issuer: "https://issuer.example", SessionID: "sid-1"}))
	// Output: authn: the token has been revoked
}

// The jobs of one repository at GitHub may import notes. They have no permissions but
// these, and no method that admits only users.
func ExampleConfig_issuers() {
	users, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := oidc.NewProvider(oidc.Config{Issuer: "https://token.actions.githubusercontent.com"})
	if err != nil {
		log.Fatal(err)
	}
	cfg := authn.Config{
		Provider: users,
		Audience: "https://api.example",
		Issuers: []authn.IssuerConfig{{
			Provider:  jobs,
			Class:     authn.Machines,
			Audiences: []string{"https://api.example"},
			Grants: []authn.Grant{{
				Where:       map[string]string{"repository_id": "456789", "event_name": "push", "ref": "refs/tags/*"},
				Permissions: []string{"notes:import"},
			}},
		}},
	}
	fmt.Println(cfg.Validate())

	// In the .proto: callers: [CALLERS_USERS, CALLERS_MACHINES] permissions: "notes:import"
	_ = authn.NewTable(map[string]*authv1.Policy{"/notes.v1.NoteService/ImportNote": {
		Callers:     []authv1.Callers{authv1.Callers_CALLERS_USERS, authv1.Callers_CALLERS_MACHINES},
		Permissions: []string{"notes:import"},
	}})
	// Output: <nil>
}

// Opaque access tokens are verified by asking the provider, as a client of the API's own.
func ExampleIntrospectionConfig() {
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://issuer.example"})
	if err != nil {
		log.Fatal(err)
	}
	cfg := authn.Config{
		Provider: provider,
		Audience: "https://api.example",
		Introspection: &authn.IntrospectionConfig{
			Client: authn.IntrospectionClient{ID: "notes-api"},
		},
	}
	fmt.Println(cfg.Validate())
	cfg.Introspection.Client.Secret = "the client secret"
	fmt.Println(cfg.Validate())
	// Output:
	// Introspection.Client.Secret is missing; give the secret of the client as which the API introspects tokens, or Client.Key
	// <nil>
}
