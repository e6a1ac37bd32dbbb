package layout_test

import "regexp"

// An importRule forbids packages to import others, directly or through other
// packages of this module.
//
// Patterns are import paths, "./" standing for this module; with "/..." at the
// end they match everything below, too.
type importRule struct {
	name   string
	of     string   // the packages that are bound
	except []string // and those of them that are not
	never  []string // what they must not import
	direct bool     // only the package's own imports count
	tests  bool     // binds tests as well
	why    string
}

var importRules = []importRule{
	{
		name: "gateway knows no session and no token",
		of:   "./gateway/...", never: []string{"./server/...", "./bff/...", "./oidc", "./internal/token/..."}, tests: true,
		why: "the gateway maps REST to gRPC and verifies nothing; a check there would be a second opinion on who may call",
	},
	{
		name: "REST and generated clients are served apart",
		of:   "./gateway/internal/transcode/...", never: []string{"./gateway/internal/rpc/..."}, tests: true,
		why: "either can be changed or removed alone; what both need is in exchange, flow and upstream",
	},
	{
		name: "generated clients and REST are served apart",
		of:   "./gateway/internal/rpc/...", never: []string{"./gateway/internal/transcode/..."}, tests: true,
		why: "either can be changed or removed alone; what both need is in exchange, flow and upstream",
	},
	{
		name: "error answers are values",
		of:   "./gateway/internal/refusal/...", never: []string{"./gateway/internal/exchange/...", "./gateway/internal/upstream/..."}, tests: true,
		why: "what an error looks like must not depend on how it is sent",
	},
	{
		name: "connect-go stays behind gateway/internal/rpc",
		of:   "./...", except: []string{"./gateway/internal/rpc/...", "./bench/internal/peers"}, never: []string{"connectrpc.com/..."}, direct: true,
		why: "the gateway owns both protocols, and bench measures vanguard-go; a new major version of connect-go is a change of one package",
	},
	{
		name: "bff knows no gRPC",
		of:   "./bff/...", never: []string{"./gen/...", "google.golang.org/grpc/...", "./server/...", "./gateway/..."}, tests: true,
		why: "the bff works in front of any HTTP API: it gets the gateway as an http.Handler or a URL",
	},
	{
		name: "areas of the bff meet in package bff",
		of:   "./bff/...", except: []string{"./bff", "./bff/internal/frontend"},
		never: []string{"./bff/internal/login", "./bff/internal/logout", "./bff/internal/account", "./bff/internal/frontend", "./bff/internal/probe"},
		why:   "each area is read, tested and changed alone; bff joins them by interfaces of one or two methods. The front end shows the user's claims, which are the account's",
	},
	{
		name: "what the areas of the bff share lies below them",
		of:   "./bff/internal/...",
		except: []string{"./bff/internal/login", "./bff/internal/logout", "./bff/internal/account", "./bff/internal/frontend",
			"./bff/internal/probe", "./bff/internal/forward", "./bff/internal/refresh", "./bff/internal/routetoken"},
		never: []string{"./bff/internal/forward", "./bff/internal/refresh"},
		why:   "answers, routes, origins and calls of the provider are used by every area, and must not bring forwarding or refresh along",
	},
	{
		name: "calls of the provider know no browser",
		of:   "./bff/internal/rp", never: []string{"./bff/web", "./bff/internal/respond", "./bff/internal/origins", "./bff/internal/refresh"},
		why: "login, refresh, logout and check make the same requests for different reasons; cookies, pages and redirects are theirs",
	},
	{
		name: "refreshes know no request of a browser",
		of:   "./bff/internal/refresh", never: []string{"./bff/web", "./bff/internal/respond", "./bff/internal/origins"},
		why: "a refresh is shared by all requests of a session and outlives each of them",
	},
	{
		name: "server knows no part in front of it",
		of:   "./server/...", never: []string{"./gateway/...", "./bff/...", "./sessionadmin"}, tests: true,
		why: "the server alone decides about authorization, the same for calls from anywhere",
	},
	{
		name: "sessionadmin joins session stores and gRPC alone",
		of:   "./sessionadmin", never: []string{"./server", "./gateway/...", "./bff"},
		why: "any gRPC server can register the service, in a process without a bff too",
	},
	{
		name: "lifecycle knows no part",
		of:   "./lifecycle", never: []string{"./server/...", "./gateway/...", "./bff/...", "google.golang.org/grpc/..."}, tests: true,
		why: "it serves anything that has Serve and Shutdown",
	},
	{
		name: "the sample's services import no part in front of them",
		of:   "./internal/audioarchive/catalog/...", never: []string{"./gateway/...", "./bff/..."}, tests: true,
		why: "a service is reached through the server alone, whichever way the call came",
	},
	{
		name: "the sample's pages know no gRPC",
		of:   "./internal/audioarchive/pages/...", never: []string{"./gen/...", "google.golang.org/grpc/...", "./server/...", "./gateway/..."}, tests: true,
		why: "the pages call the API as any browser does",
	},
	{
		name: "oidc knows no part",
		of:   "./oidc", never: []string{"./server/...", "./gateway/...", "./bff/...", "google.golang.org/grpc/..."},
		why: "server and bff share it, so it can depend on neither",
	},
	{
		name: "authentication of clients knows no part",
		of:   "./internal/clientauth", never: []string{"./server/...", "./gateway/...", "./bff/...", "google.golang.org/grpc/..."}, tests: true,
		why: "server and bff authenticate at the provider in the same way, so it can depend on neither",
	},
	{
		name: "client knows no part",
		of:   "./client/...", never: []string{"./server/...", "./gateway/...", "./bff/...", "./gen/..."}, tests: true,
		why: "programs that call a service import it, and want neither the service nor what it depends on",
	},
	{
		name: "the browser package is a leaf",
		of:   "./client/browser", never: []string{"./..."}, tests: true,
		why: "the bff serves its files and the program writes them, so it can depend on neither",
	},
	{
		name: "stores do not know who uses them",
		of:   "./bff/session/...", never: []string{"./bff"}, tests: true,
		why: "an implementation that imports its consumer cannot be replaced, or tested without it",
	},
	{
		name: "development provider stays in development",
		of:   "./...", except: []string{"./", "./internal/devidp/...", "./internal/testrun", "./gatehousetest", "./bench/..."}, never: []string{"./internal/devidp/..."}, direct: true,
		why: "it signs anyone in without a password; package gatehouse starts it for the command dev alone, gatehousetest and bench to have a user to sign in",
	},
	{
		name: "the test kit stays in tests",
		of:   "./...", except: []string{"./gatehousetest/..."}, never: []string{"./gatehousetest/..."}, direct: true,
		why: "it imports package testing, which registers flags and belongs in no program",
	},
	{
		name: "test infrastructure stays in tests",
		of:   "./...", except: []string{"./internal/test/...", "./internal/audioarchive/filestest"}, never: []string{"./internal/test/..."}, direct: true,
		why: "it starts servers, imports package testing and registers its flags",
	},
	{
		name: "jwx stays behind internal/token",
		of:   "./...", except: []string{"./internal/token/...", "./bench/internal/peers"}, never: []string{"github.com/lestrrat-go/jwx/..."}, direct: true, tests: true,
		why: "its defaults accept bad tokens, and it is deprecated: moving on must be a change of one package; bench measures what others do with it",
	},
	{
		name: "the OpenTelemetry SDK stays in the program",
		of:   "./...", except: []string{"./", "./internal/telemetry"},
		never:  []string{"go.opentelemetry.io/otel/sdk/...", "go.opentelemetry.io/otel/exporters/...", "github.com/prometheus/..."},
		direct: true,
		why:    "libraries take a MeterProvider and a TracerProvider; who embeds them chooses what to collect and where to send it",
	},
	{
		name: "authentication is ours",
		of:   "./...", never: []string{"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"}, direct: true,
		why: "a service can replace that interceptor silently, by implementing ServiceAuthFuncOverride",
	},
	{
		name: "the sample application can be dropped",
		of:   "./...", except: []string{"./internal/audioarchive/...", "./cmd/gatehouse", "./e2e/...", "./bench/...", "./examples/..."},
		never:  []string{"./gen/audioarchive/...", "./internal/audioarchive/..."},
		direct: true, tests: true,
		why: "a template of the repository deletes internal/audioarchive and its folders in proto and gen (docs/add-a-service.md); everything else goes on building and passing",
	},
}

// layers are what only one package may join.
var (
	layers      = []string{"./server/...", "./gateway/...", "./bff/..."}
	layersRule  = "one package wires the layers"
	layersExact = []string{"./", "./cmd/...", "./internal/audioarchive"}
	layersWhy   = "what joins every layer can break every boundary, so there is one such place"
)

// A useRule forbids packages to name things.
type useRule struct {
	name   string
	of     string
	except []string
	never  *regexp.Regexp // matched against "import/path.Name", ".Name" for methods and fields
	tests  bool
	why    string
}

var useRules = []useRule{
	{
		name: "settings come from the program",
		// internal/telemetry gives the SDK, which reads the environment, the variables of the program.
		of: "./...", except: []string{"./", "./internal/telemetry", "./internal/test/proof"},
		never: regexp.MustCompile(`^(os|syscall|golang\.org/x/sys/unix)\.(Getenv|LookupEnv|Environ|ExpandEnv)$`),
		why:   "a setting that is read elsewhere has no flag, no documentation and no check",
	},
	{
		name: "telemetry is passed in",
		of:   "./...", except: []string{"./internal/telemetry"},
		never: regexp.MustCompile(`^go\.opentelemetry\.io/otel\.(Get|Set)?(MeterProvider|TracerProvider|TextMapPropagator|Meter|Tracer)$`),
		why:   "a global provider cannot be tested, and differs from what a part was given",
	},
	{
		name: "only commands end the process",
		of:   "./...", except: []string{"./", "./cmd/...", "./tools/...", "./bench"},
		never: regexp.MustCompile(`^(os\.Exit|log\.(Fatal|Fatalf|Fatalln))$`),
		why:   "nothing that is deferred runs, and nothing in flight ends; return an error",
	},
	{
		name: "no way round the interceptors",
		of:   "./...", except: []string{"./gen/..."}, tests: true,
		never: regexp.MustCompile(`\.Register\w+HandlerServer$`),
		why:   "RegisterXHandlerServer calls the service without a single interceptor; use RegisterXHandlerClient on server.Conn",
	},
	{
		name: "no service replaces its policy",
		of:   "./...",
		// Tests may: one proves that it has no effect.
		never: regexp.MustCompile(`\.(Service)?AuthFuncOverride$`),
		why:   "who may call is written in the .proto, where it can be reviewed, and nowhere else",
	},
}

// drawers are names that say nothing, and so attract everything.
var (
	drawers    = []string{"pkg", "util", "utils", "common", "models", "helper", "helpers", "misc"}
	drawerRule = "no drawers"
	drawerWhy  = "a package is named for what it owns"
)

var (
	commentRule   = "packages say what they own"
	commentExempt = []string{"./gen/..."} // generated
	commentWhy    = "one sentence of what it owns, one of what it leaves to others, in doc.go or above a package clause"
)
