package layout_test

import (
	"maps"
	"path"
	"strings"
	"testing"
)

// sources describes a synthetic module: what each package imports, and what
// its file, and its test, say.
type sources map[string]source

type source struct {
	imports, testImports []string
	code, test           string // file bodies, after the package clause
	undocumented         bool
}

// sound breaks no rule, though it comes close to breaking each.
var sound = sources{
	"server":                {imports: []string{"google.golang.org/grpc", "./internal/token"}},
	"server/authn":          {imports: []string{"./gen/auth/v1", "./internal/token"}, test: "func (s service) AuthFuncOverride() {}"},
	"gateway":               {imports: []string{"google.golang.org/grpc"}, testImports: []string{"./gen/auth/v1", "./gateway"}},
	"bff":                   {imports: []string{"./internal/token", "./bff/session"}, testImports: []string{"./bff", "google.golang.org/grpcish"}},
	"bff/session":           {},
	"bff/web":               {imports: []string{"./client/browser"}},
	"client/browser":        {},
	"bff/session/memory":    {imports: []string{"./bff/session"}},
	"bff/internal/frontend": {imports: []string{"./bff/internal/account", "./bff/internal/forward"}},
	"bff/internal/logout":   {imports: []string{"./bff/internal/forward"}},
	"sessionadmin":          {imports: []string{"./bff/session", "./server/validate", "google.golang.org/grpc/status"}, testImports: []string{"./server"}},
	"server/validate":       {},
	"lifecycle":             {},
	"gen/auth/v1":           {code: "func F() { RegisterStatusServiceHandlerServer() }", undocumented: true},
	"oidc":                  {imports: []string{"./internal/token/jwk"}},
	"internal/token":        {imports: []string{"github.com/lestrrat-go/jwx/v2/jws", "./oidc"}},
	"internal/token/jwk":    {imports: []string{"github.com/lestrrat-go/jwx/v2/jwk"}},
	"internal/devidp":       {},
	"internal/environment":  {code: "var os struct{ Getenv func() }\nfunc f() { os.Getenv() }"},
	"":                      {imports: []string{"./server", "./gateway", "./bff", "./internal/devidp"}, code: `import "os"` + "\nfunc Main() { os.Getenv(``); os.Exit(1) }"},
	"cmd/gatehouse":         {imports: []string{"./", "./internal/audioarchive"}, code: `import "os"` + "\nfunc main() { os.Exit(1) }"},
	"internal/audioarchive": {imports: []string{"./", "./gen/audioarchive/v1"}},
	"gen/audioarchive/v1":   {undocumented: true},
	"e2e":                   {testImports: []string{"./internal/devidp", "./server", "./gateway", "./bff"}, test: `import "os"` + "\nfunc f() { os.Getenv(``); os.Exit(1) }"},
}

// TestBroken breaks one rule after the other and watches the checker notice.
// A rule without a case here fails the test.
func TestBroken(t *testing.T) {
	t.Parallel()
	if found := check(sound.graph(t, "", source{})); len(found) > 0 {
		t.Fatalf("the sound module is found to break rules: %v", found)
	}
	cases := []struct {
		rule    string
		changed string // the package that breaks it
		source
		names string // what the message must name
	}{
		{"gateway knows no session and no token", "gateway", source{imports: []string{"./server/authn"}}, "gateway imports server/authn"},
		{"gateway knows no session and no token", "gateway", source{imports: []string{"./bff/session"}}, "gateway imports bff/session"},
		{"gateway knows no session and no token", "gateway/rest", source{imports: []string{"./internal/token"}}, "gateway/rest imports internal/token"},
		{"gateway knows no session and no token", "gateway", source{testImports: []string{"./server"}}, "gateway imports server"},
		{"gateway knows no session and no token", "gateway", source{imports: []string{"./server/authn/through"}}, "server/authn/through"},
		{"REST and generated clients are served apart", "gateway/internal/transcode", source{imports: []string{"./gateway/internal/rpc"}}, "gateway/internal/transcode imports gateway/internal/rpc"},
		{"generated clients and REST are served apart", "gateway/internal/rpc", source{imports: []string{"./gateway/internal/transcode"}}, "gateway/internal/rpc imports gateway/internal/transcode"},
		{"error answers are values", "gateway/internal/refusal", source{imports: []string{"./gateway/internal/exchange"}}, "gateway/internal/refusal imports gateway/internal/exchange"},
		{"connect-go stays behind gateway/internal/rpc", "gateway", source{imports: []string{"connectrpc.com/connect/v2"}}, "gateway imports connectrpc.com/connect/v2"},
		{"bff knows no gRPC", "bff", source{imports: []string{"./gen/auth/v1"}}, "bff imports gen/auth/v1"},
		{"bff knows no gRPC", "bff/session/memory", source{imports: []string{"google.golang.org/grpc/codes"}}, "google.golang.org/grpc/codes"},
		{"bff knows no gRPC", "bff/web", source{imports: []string{"./server"}}, "bff/web imports server"},
		{"bff knows no gRPC", "bff", source{imports: []string{"./gateway"}}, "bff imports gateway"},
		{"bff knows no gRPC", "internal/token", source{imports: []string{"google.golang.org/grpc"}}, "bff imports internal/token imports google.golang.org/grpc"},
		{"areas of the bff meet in package bff", "bff/internal/login", source{imports: []string{"./bff/internal/logout"}}, "bff/internal/login imports bff/internal/logout"},
		{"areas of the bff meet in package bff", "bff/internal/respond", source{imports: []string{"./bff/internal/account"}}, "bff/internal/respond imports bff/internal/account"},
		{"areas of the bff meet in package bff", "bff/web", source{imports: []string{"./bff/internal/frontend"}}, "bff/web imports bff/internal/frontend"},
		{"what the areas of the bff share lies below them", "bff/internal/respond", source{imports: []string{"./bff/internal/forward"}}, "bff/internal/respond imports bff/internal/forward"},
		{"calls of the provider know no browser", "bff/internal/rp", source{imports: []string{"./bff/internal/respond"}}, "bff/internal/rp imports bff/internal/respond"},
		{"refreshes know no request of a browser", "bff/internal/refresh", source{imports: []string{"./bff/internal/respond"}}, "bff/internal/refresh imports bff/internal/respond"},
		{"server knows no part in front of it", "server", source{imports: []string{"./gateway"}}, "server imports gateway"},
		{"server knows no part in front of it", "server/authn", source{imports: []string{"./bff/session"}}, "server/authn imports bff/session"},
		{"server knows no part in front of it", "server", source{testImports: []string{"./sessionadmin"}}, "server imports sessionadmin"},
		{"sessionadmin joins session stores and gRPC alone", "sessionadmin", source{imports: []string{"./server"}}, "sessionadmin imports server"},
		{"sessionadmin joins session stores and gRPC alone", "sessionadmin", source{imports: []string{"./bff"}}, "sessionadmin imports bff"},
		{"lifecycle knows no part", "lifecycle", source{imports: []string{"./server"}}, "lifecycle imports server"},
		{"lifecycle knows no part", "lifecycle", source{testImports: []string{"google.golang.org/grpc"}}, "lifecycle imports google.golang.org/grpc"},
		{"the sample's services import no part in front of them", "internal/audioarchive/catalog", source{imports: []string{"./bff/session"}}, "internal/audioarchive/catalog imports bff/session"},
		{"the sample's pages know no gRPC", "internal/audioarchive/pages", source{imports: []string{"./gen/audioarchive/v1"}}, "internal/audioarchive/pages imports gen/audioarchive/v1"},
		{"oidc knows no part", "oidc", source{imports: []string{"./server"}}, "oidc imports server"},
		{"oidc knows no part", "oidc", source{imports: []string{"google.golang.org/grpc/status"}}, "oidc imports google.golang.org/grpc/status"},
		{"authentication of clients knows no part", "internal/clientauth", source{imports: []string{"./bff/session"}}, "internal/clientauth imports bff/session"},
		{"gateway knows no session and no token", "gateway", source{imports: []string{"./oidc"}}, "gateway imports oidc"},
		{"client knows no part", "client", source{imports: []string{"./server/authn"}}, "client imports server/authn"},
		{"client knows no part", "client", source{testImports: []string{"./gen/audioarchive/v1"}}, "client imports gen/audioarchive/v1"},
		{"the browser package is a leaf", "client/browser", source{imports: []string{"./client"}}, "client/browser imports client"},
		{"stores do not know who uses them", "bff/session/memory", source{imports: []string{"./bff"}}, "bff/session/memory imports bff"},
		{"stores do not know who uses them", "bff/session", source{testImports: []string{"./bff"}}, "bff/session imports bff"},
		{"development provider stays in development", "bff", source{imports: []string{"./internal/devidp"}}, "bff imports internal/devidp"},
		{"development provider stays in development", "cmd/gatehouse", source{imports: []string{"./internal/devidp"}}, "cmd/gatehouse imports internal/devidp"},
		{"the test kit stays in tests", "cmd/gatehouse", source{imports: []string{"./gatehousetest"}}, "cmd/gatehouse imports gatehousetest"},
		{"test infrastructure stays in tests", "bff", source{imports: []string{"./internal/test/pgtest"}}, "bff imports internal/test/pgtest"},
		{"jwx stays behind internal/token", "bff", source{imports: []string{"github.com/lestrrat-go/jwx/v2/jwt"}}, "bff imports github.com/lestrrat-go/jwx/v2/jwt"},
		{"jwx stays behind internal/token", "server", source{testImports: []string{"github.com/lestrrat-go/jwx/v3/jwk"}}, "jwx/v3/jwk"},
		{"the OpenTelemetry SDK stays in the program", "bff", source{imports: []string{"go.opentelemetry.io/otel/sdk/metric"}}, "bff imports go.opentelemetry.io/otel/sdk/metric"},
		{"the OpenTelemetry SDK stays in the program", "internal/token", source{imports: []string{"github.com/prometheus/client_golang/prometheus"}}, "internal/token imports github.com/prometheus"},
		{"telemetry is passed in", "bff", source{code: `import "go.opentelemetry.io/otel"` + "\nvar m = otel.Meter(`bff`)"}, "otel.Meter"},
		{"telemetry is passed in", "bff", source{code: `import "go.opentelemetry.io/otel"` + "\nvar m = otel.GetTracerProvider()"}, "otel.GetTracerProvider"},
		{"authentication is ours", "server", source{imports: []string{"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"}}, "interceptors/auth"},
		{"the sample application can be dropped", "gateway", source{testImports: []string{"./gen/audioarchive/v1"}}, "gateway imports gen/audioarchive/v1"},
		{"the sample application can be dropped", "bff/web", source{testImports: []string{"./internal/audioarchive"}}, "bff/web imports internal/audioarchive"},
		{"the sample application can be dropped", "bff", source{imports: []string{"./internal/audioarchive/pages"}}, "bff imports internal/audioarchive/pages"},
		{layersRule, "internal/wiring", source{imports: []string{"./server/authn", "./gateway", "./bff/session"}}, "internal/wiring"},
		{"settings come from the program", "server", source{code: `import "os"` + "\nvar home = os.Getenv(`HOME`)"}, "server/code.go:4: server uses os.Getenv"},
		{"settings come from the program", "cmd/other", source{code: `import "os"` + "\nvar read = os.LookupEnv"}, "os.LookupEnv"},
		{"settings come from the program", "bff", source{code: `import env "os"` + "\nvar all = env.Environ()"}, "os.Environ"},
		{"settings come from the program", "bff", source{code: `import . "os"` + "\nvar all = ExpandEnv(``)"}, "os.ExpandEnv"},
		{"settings come from the program", "bff", source{code: `import "syscall"` + "\nvar all = syscall.Environ()"}, "syscall.Environ"},
		{"only commands end the process", "internal/wiring", source{code: `import "os"` + "\nfunc f() { os.Exit(1) }"}, "os.Exit"},
		{"only commands end the process", "bff", source{code: `import "log"` + "\nfunc f() { log.Fatalf(``) }"}, "log.Fatalf"},
		{"no way round the interceptors", "internal/wiring", source{code: `import v1 "x/gen/v1"` + "\nvar f = v1.RegisterStatusServiceHandlerServer"}, "x/gen/v1.RegisterStatusServiceHandlerServer"},
		{"no way round the interceptors", "gateway", source{test: `import v1 "x/gen/v1"` + "\nvar f = v1.RegisterStatusServiceHandlerServer"}, "RegisterStatusServiceHandlerServer"},
		{"no service replaces its policy", "internal/audioarchive/catalog", source{code: "type Status struct{}\nfunc (Status) AuthFuncOverride() {}"}, ".AuthFuncOverride"},
		{"no service replaces its policy", "server", source{code: `import "x/auth"` + "\nvar _ auth.ServiceAuthFuncOverride"}, "x/auth.ServiceAuthFuncOverride"},
		{drawerRule, "internal/util", source{}, "internal/util"},
		{drawerRule, "pkg/server", source{}, "pkg/server"},
		{drawerRule, "bff/models", source{}, "bff/models"},
		{commentRule, "bff/session", source{undocumented: true}, "bff/session has no package comment"},
	}
	tried := map[string]bool{}
	for _, c := range cases {
		tried[c.rule] = true
		t.Run(c.rule+"/"+c.names, func(t *testing.T) {
			t.Parallel()
			modified := sources{"server/authn/through": {imports: []string{"./server/authn"}}}
			maps.Copy(modified, sound)
			found := check(modified.graph(t, c.changed, c.source))
			for _, v := range found {
				if v.rule == c.rule && strings.Contains(v.what, c.names) && v.why != "" {
					return
				}
			}
			t.Errorf("the checker found %v, and not %q naming %q", found, c.rule, c.names)
		})
	}
	for _, rule := range ruleNames() {
		if !tried[rule] {
			t.Errorf("no case here breaks the rule %q", rule)
		}
	}
}

func ruleNames() []string {
	names := []string{layersRule, drawerRule, commentRule}
	for _, r := range importRules {
		names = append(names, r.name)
	}
	for _, r := range useRules {
		names = append(names, r.name)
	}
	return names
}

// graph makes the graph of the module with one package changed, or added.
func (m sources) graph(t *testing.T, changed string, change source) graph {
	t.Helper()
	g := graph{}
	add := func(name string, s source) {
		p := g[path.Join(module, name)]
		if p == nil {
			p = &pkg{path: path.Join(module, name), doc: "Package documented."}
			g[p.path] = p
		}
		if s.undocumented {
			p.doc = ""
		}
		p.imports = append(p.imports, full(s.imports)...)
		p.testImports = append(p.testImports, full(s.testImports)...)
		for file, body := range map[string]string{"code.go": s.code, "code_test.go": s.test} {
			uses, err := usesIn(name+"/"+file, []byte("package p\n\n"+body))
			if err != nil {
				t.Fatal(err)
			}
			p.uses = append(p.uses, uses...)
		}
	}
	for name, s := range m {
		add(name, s)
	}
	if changed != "" {
		add(changed, change)
	}
	return g
}

func full(imports []string) []string {
	var paths []string
	for _, i := range imports {
		if rest, ok := strings.CutPrefix(i, "./"); ok {
			i = path.Join(module, rest)
		}
		paths = append(paths, i)
	}
	return paths
}
