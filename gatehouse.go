// Package gatehouse owns the program around an application's gRPC services and
// pages: commands, settings and their sources, the parts and how they are
// joined, stores, checks, development, and the life of the process. It leaves
// what is served to the application, and each part's work to package server,
// gateway and bff.
package gatehouse

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/gatehouse-dev/gatehouse/bff/web"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// An App is an application: what a program serves besides Gatehouse itself. No
// field is required.
type App struct {
	// Name is the program's name in its help; "" means gatehouse.
	Name string
	// Title and Version are those of the API in its OpenAPI document. Version
	// is that of the .proto packages, not of the program.
	Title, Version string
	// Comments is the FileDescriptorSet with the comments of the .proto files,
	// which buf build writes. The OpenAPI document shows them.
	Comments []byte
	// Services are the gRPC services, for server and gateway.
	Services []Service
	// Policies are those of server.Config.
	Policies map[string]*authv1.Policy
	// Pages are shown by the embedded front end besides its own.
	Pages []web.Section
	// Call is the path that the page /private calls, and CallConfirmed the one
	// that it calls to show a step-up; "" for none.
	Call, CallConfirmed string
	// DevPermissions are what the development provider grants to its demo
	// machine.
	DevPermissions []string
}

// Main runs the command that the process was started with, until it ends or
// the process is told to stop by SIGTERM or an interrupt, and exits with the
// code of Run. A second signal ends the process at once.
func Main(app App) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := Run(ctx, app, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
