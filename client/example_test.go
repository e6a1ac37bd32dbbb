package client_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gatehouse-dev/gatehouse/client"
)

// A program calls a service with a token of its own. A program of yours uses the generated client
// of its service instead of the health client.
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

func ExampleCredentials_Validate() {
	err := client.Credentials{
		TokenURL:     "http://login.example/token",
		ClientID:     "nightly-export",
		ClientSecret: "from the secret store",
	}.Validate()
	fmt.Println(err)
	// Output:
	// TokenURL "http://login.example/token" is http and not on loopback, and would get the secret in the clear; give the https URL
}
