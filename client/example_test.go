package client_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-dev/gatehouse/client"
)

// A program that calls a service in its own name. The client of generated code
// takes the place of the health service's.
func Example() {
	tokens, err := client.NewTokenSource(client.Credentials{
		TokenURL:     "https://tenant.eu.auth0.com/oauth/token",
		ClientID:     "nightly-export",
		ClientSecret: "from the secret store",
		Audience:     "https://api.shop.example",
		Scopes:       []string{"products:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := client.New(client.Config{Target: "dns:///catalog.internal:9090", Tokens: tokens})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.GetStatus())
}
