// Package gatehouse owns the program around an application's gRPC services and
// pages: commands, settings and their sources, the parts and how they are
// joined, stores, checks, development, and the life of the process. It leaves
// what is served to the application, and each part's work to package server,
// gateway and bff.
//
// An application is a value of type [App]; its main function calls [Main].
//
// # Commands
//
//	dev      runs all parts with a provider for development; needs no settings
//	serve    runs bff, gateway and server in one process; with --grpc-target
//	         bff and gateway
//	bff, gateway, server
//	         run one part
//	check    validates the settings, and proves what it can at the provider,
//	         the stores and the database
//	typescript
//	         writes the clients of the services, and the browser package, for a
//	         front end in TypeScript or JavaScript
//	catalog  prints the built-in catalog of the pages
//	version, help, completion
//
// The hidden commands reference, metrics and openapi write the references of all settings
// and metrics in Markdown, and the OpenAPI document.
//
// # Settings
//
// A setting comes from a flag, the environment, a file .env in the working
// directory, or the YAML file of --config, in this order. Variables of the
// program begin with GATEHOUSE_, those of the application with its name.
// Secrets can be given as files, by variables that end in _FILE. All problems
// are reported at once, each with the source of the value and the remedy.
//
// # Life of the process
//
// All ports are opened before anything else happens. SIGTERM and interrupts end
// the process: readiness checks fail, while requests are served for
// GATEHOUSE_LAME_DUCK. Then the requests in flight are finished, first at bff and
// gateway, within GATEHOUSE_SHUTDOWN_TIMEOUT. Refreshes and revocations in flight
// are finished as well. SIGHUP reads files again that may change, such as
// certificates, and ends nothing.
//
// Importing the package replaces the process-wide logger of gRPC.
package gatehouse

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/testrun"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// An App is an application: what a program serves besides Gatehouse itself. No
// field is required.
type App struct {
	// Name is the program's name in its help and, in capitals, the beginning of the
	// variables of Settings: lower case, with hyphens. Default: gatehouse.
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
	// UnaryInterceptors and StreamInterceptors are those of server.Config: they run for
	// authorized calls of all services, the operator's included.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
	// RequestHeaders are header fields of requests that services get as metadata, such as
	// "Idempotency-Key": those of bff.Config and of gateway.Config.
	RequestHeaders []string
	// MuxOptions are those of gateway.Config.
	MuxOptions []runtime.ServeMuxOption
	// Hooks are those of bff.Config. SessionEnded is called by a server, too, for the
	// sessions that an operator ends.
	Hooks bff.Hooks
	// Pages are shown by the embedded front end besides its own.
	Pages []web.Section
	// ErrorPages has templates of the application for the pages of problems and for
	// pages that do not exist; see web.Config.
	ErrorPages fs.FS
	// Catalog is the catalog of the pages: a YAML file with name, logo, colors, legal
	// links and texts, as package bff/catalog reads it. The file of the setting catalog
	// replaces it. Default: the built-in catalog, in English.
	Catalog []byte
	// Call is the path that the page /private calls, and CallConfirmed the one
	// that it calls to show a step-up; "" for none.
	Call, CallConfirmed string
	// Settings are those of the application. They come from the same sources as
	// those of the program, and stand beside them in help and reference.
	Settings []Setting
	// Audit gets the events of the audit log, besides the file or stdout that
	// GATEHOUSE_AUDIT_LOG names.
	Audit audit.Handler
	// DevUsers are the users and machines of the development provider if there is no
	// users file, in the form of that file (docs/dev-provider.md). Default: users with
	// what the policies name.
	DevUsers []byte
}

// A Setting is a setting of an application. The setting "page-size" of the
// application "notes" is the flag --page-size, the variable NOTES_PAGE_SIZE, and
// the key page-size of the configuration file.
type Setting struct {
	// Name is that of the flag: lower case, with hyphens. It differs from the names
	// of the program's settings.
	Name string
	// Group is its heading in help and reference. Default: the application's title.
	Group string
	// Placeholder stands for the value in the help. Default: "VALUE".
	Placeholder string
	// Default is the value if no source has one. Default: Target stays as it is.
	Default string
	// Help describes the setting in a few sentences.
	Help string
	// Secret values are never shown in errors, and can be given as a file whose
	// path is in the variable with _FILE behind its name.
	Secret bool
	// Target is a pointer to the variable that gets the value before services are
	// opened: to a string, bool, int, int64, time.Duration, netip.Prefix, an
	// encoding.TextUnmarshaler, whose error is shown to the user, or a slice of
	// these, which is given with commas. Required.
	Target any
}

// name is the application's name in messages.
func (app App) name() string { return cmp.Or(app.Name, "gatehouse") }

// variablePrefix is that of the variables of its settings.
func (app App) variablePrefix() string {
	return strings.ToUpper(strings.ReplaceAll(app.name(), "-", "_"))
}

// Main runs the command that the process was started with, until it ends or
// the process is told to stop by SIGTERM or an interrupt, and exits with the
// code of Run. A second signal ends the process at once.
func Main(app App) {
	ctx, stop := lifecycle.NotifyContext(context.Background())
	code := Run(ctx, app, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run runs the command and settings in args around app, and returns the exit
// code: 0 for success, 1 for a failure, 2 for arguments and values of the wrong
// form, 3 if check could not prove everything. environ has the form of
// os.Environ; a file .env in the working directory is read as well. Run returns
// when the command has ended; serving commands end with ctx, after the work in
// flight.
func Run(ctx context.Context, app App, args, environ []string, stdout, stderr io.Writer) int {
	p, err := newProgram(app, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", app.name(), err)
		return exitUsage
	}
	p.use(testrun.FromContext(ctx))
	return p.execute(ctx, args, environ, stderr)
}
