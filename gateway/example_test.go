package gateway_test

import (
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gatehouse-dev/gatehouse/gateway"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
)

// A gateway in front of a remote server. In the process of the server, Conn is
// the connection of server.Server.Conn.
func Example() {
	conn, err := grpc.NewClient("dns:///server:9090", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	api, err := gateway.New(gateway.Config{
		Conn: conn,
		Services: []gateway.Service{
			gateway.Expose(sessionadminv1.NewSessionAdminServiceClient, sessionadminv1.RegisterSessionAdminServiceHandlerClient,
				"gatehouse.sessionadmin.v1.SessionAdminService"),
		},
		Access:   gateway.AccessConfig{BaseURL: "https://shop.example"},
		Document: gateway.DocumentConfig{Title: "Shop", Version: "1.4"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, route := range api.Routes() {
		fmt.Println(route.Method, route.Pattern)
	}
	httpServer := api.Server()
	httpServer.Addr = ":5000"
	// A program calls httpServer.ListenAndServe here.

	// Output:
	// GET /api/admin/sessions
	// DELETE /api/admin/{name=sessions/*}
	// POST /api/admin/sessions:end
}

// Validate returns all errors of a Config at once.
func ExampleConfig_Validate() {
	cfg := gateway.Config{
		Access: gateway.AccessConfig{BaseURL: "shop.example"},
		Limits: gateway.LimitsConfig{Timeout: -1},
	}
	fmt.Println(cfg.Validate())
	// Output:
	// Conn is missing; give the connection of a server in this process, or a *grpc.ClientConn
	// Services is empty; give at least one service, made with Expose
	// Access.BaseURL "shop.example" is invalid: the scheme is missing; did you mean https://shop.example?
	// Limits.Timeout "-1ns" is negative; give a positive duration, or 0 for 30s
}
