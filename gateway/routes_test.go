package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestRoutes checks the list of routes.
func TestRoutes(t *testing.T) {
	t.Parallel()
	g, err := gateway.New(gateway.Config{Conn: connect(t, &backend{}), Services: []gateway.Service{exposeStatus(), exposeDynamic(declareService(t, `get: "/api/x/{id}" additional_bindings { post: "/api/x/{id}:y" body: "*" }`, ""))}})
	if err != nil {
		t.Fatal(err)
	}
	routes := g.Routes()
	for i := range routes {
		routes[i].RPC = routes[i].RPC[strings.LastIndex(routes[i].RPC, ".")+1:]
	}
	want := []gateway.Route{
		{Method: "GET", Pattern: "/api", RPC: "StatusService/GetStatus"},
		{Method: "GET", Pattern: "/api/private-route", RPC: "StatusService/GetPrivateRoute"},
		{Method: "GET", Pattern: "/api/x/{id}", RPC: "S/M0"},
		{Method: "POST", Pattern: "/api/x/{id}:y", RPC: "S/M0"},
	}
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("routes differ (-want +got):\n%s", diff)
	}
}

// TestNewRefuses checks that New refuses wrong configurations, and that the error
// names what is wrong and where.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	of := func(rules ...string) []gateway.Service {
		return []gateway.Service{exposeDynamic(declareService(t, rules...))}
	}
	nothing := func(context.Context, *runtime.ServeMux, grpc.ClientConnInterface) error { return nil }
	same := func(c grpc.ClientConnInterface) grpc.ClientConnInterface { return c }
	thingsAs := func(name string) gateway.Service {
		return gateway.Expose(same, func(_ context.Context, mux *runtime.ServeMux, c grpc.ClientConnInterface) error {
			return registerDynamic(mux, c, thingService)
		}, name)
	}
	cases := []struct {
		name   string
		config gateway.Config
		want   []string
	}{
		{"two methods for one path", gateway.Config{Services: of(`get: "/api/x/{id}"`, `get: "/api/x/{title}"`)},
			[]string{"/M0", "GET /api/x/{id}", "/M1", "GET /api/x/{title}"}},
		{"among additional bindings", gateway.Config{Services: of(`get: "/api/x"`, `get: "/api/y" additional_bindings { get: "/api/x" }`)},
			[]string{"/M0", "/M1", "GET /api/x"}},
		{"in two services", gateway.Config{Services: append(of(`get: "/api/private-route"`), exposeStatus())},
			[]string{".S/M0", "StatusService/GetPrivateRoute", "/api/private-route"}},
		{"one service twice", gateway.Config{Services: []gateway.Service{exposeStatus(), exposeStatus()}},
			[]string{"two methods for one path", "GET /api "}},
		{"hidden by a later wildcard", gateway.Config{Services: of(`get: "/api/x/mine"`, `get: "/api/x/{id}"`)},
			[]string{"/M0", "GET /api/x/mine", "never be reached", "/api/x/{id=*}", "later"}},
		{"hidden custom verb", gateway.Config{Services: of(`get: "/api/x:y"`, `get: "/api/{id}"`)},
			[]string{"/M0", "GET /api/x:y", "never be reached"}},
		{"the bff's path", gateway.Config{Services: of(`get: "/api/auth/login"`)}, []string{".S.M0", "GET /api/auth/login", "belongs to the bff"}},
		{"the bff's root", gateway.Config{Services: of(`post: "/api/auth" body: "*"`)}, []string{"POST /api/auth", "belongs to the bff"}},
		{"the bff's path in a variable", gateway.Config{Services: of(`get: "/api/{id=auth/*}"`)}, []string{"/api/{id=auth/*}", "belongs to the bff"}},
		{"where generated clients call", gateway.Config{Services: append(of(`get: "/api/`+statusService+`/x"`), exposeStatus())},
			[]string{"GET /api/" + statusService + "/x", ".S/M0", "generated clients"}},
		{"outside the API", gateway.Config{Services: of(`get: "/v1/x"`)}, []string{".S.M0", "GET /v1/x", "outside /api"}},
		{"outside by a letter", gateway.Config{Services: of(`get: "/apis/x"`)}, []string{"/apis/x", "outside /api"}},
		{"outside by a wildcard", gateway.Config{Services: of(`get: "/{id}/x"`)}, []string{"/{id}/x", "outside /api"}},
		{"the document's path", gateway.Config{Services: of(`get: "/api/openapi.json"`)}, []string{"/M0", "GET /api/openapi.json", "describes itself", "Document.Off"}},
		{"below the reference", gateway.Config{Services: of(`get: "/api/docs/{id}"`)}, []string{"/M0", "GET /api/docs/{id}", "describes itself"}},
		{"invalid comments", gateway.Config{Services: of(`get: "/api/x"`), Document: gateway.DocumentConfig{Comments: []byte("x")}}, []string{"FileDescriptorSet", "buf build -o"}},
		{"HEAD", gateway.Config{Services: of(`custom { kind: "HEAD" path: "/api/x" }`)}, []string{"HEAD", "/api/x"}},
		{"any method", gateway.Config{Services: of(`custom { kind: "*" path: "/api/x" }`)}, []string{"/api/x", "no HTTP method"}},
		{"client stream", gateway.Config{Services: of(`post: "/api/x" body: "*" # client stream`)}, []string{".S.M0", "POST /api/x", "client stream"}},
		{"no annotation", gateway.Config{Services: of("", "")}, []string{"no google.api.http annotation"}},
		{"no such service", gateway.Config{Services: []gateway.Service{gateway.Expose(same, nothing, "gatewaytest.status.v1.Statuses")}}, []string{`"gatewaytest.status.v1.Statuses"`, "not linked"}},
		{"not a service", gateway.Config{Services: []gateway.Service{gateway.Expose(same, nothing, "gatewaytest.status.v1.GetStatusRequest")}}, []string{"not a service"}},
		{"nothing registered", gateway.Config{Services: []gateway.Service{gateway.Expose(same, nothing, statusService)}}, []string{"GET /api", "GetStatus", "not registered"}},
		{"more registered than declared", gateway.Config{Services: []gateway.Service{exposeStatus(), gateway.Expose(same,
			func(_ context.Context, mux *runtime.ServeMux, c grpc.ClientConnInterface) error {
				if err := mux.HandlePath("POST", "/things.v1.Things/Unbound", nil); err != nil {
					return err
				}
				return registerDynamic(mux, c, thingService)
			}, thingService)}}, []string{"generate_unbound_methods"}},
		{"another service's functions", gateway.Config{Services: []gateway.Service{thingsAs(statusService)}}, []string{"not registered"}},
		{"no service", gateway.Config{}, []string{"Services is empty"}},
		{"wildcard origin", gateway.Config{Services: of(`get: "/api/x"`), Access: gateway.AccessConfig{BaseURL: "*"}}, []string{"BaseURL", `"*"`}},
		{"wildcard in the origin", gateway.Config{Services: of(`get: "/api/x"`), Access: gateway.AccessConfig{BaseURL: "https://*.example.com"}}, []string{"BaseURL", "wildcard"}},
		{"a path in the origin", gateway.Config{Services: of(`get: "/api/x"`), Access: gateway.AccessConfig{BaseURL: "https://example.com/app"}}, []string{"BaseURL", "https://example.com/app"}},
		{"null origin", gateway.Config{Services: of(`get: "/api/x"`), Access: gateway.AccessConfig{BaseURL: "null"}}, []string{"BaseURL", "null"}},
		{"no generated functions", gateway.Config{Services: []gateway.Service{{}}}, []string{"Services[0]", "no generated functions"}},
		{"no registration", gateway.Config{Services: []gateway.Service{gateway.Expose(same, nil, "gatewaytest.status.v1.StatusService")}}, []string{"Services[0]", "StatusService", "no generated functions"}},
		{"negative limit", gateway.Config{Services: of(`get: "/api/x"`), Limits: gateway.LimitsConfig{MaxBodyBytes: -1}}, []string{"MaxBodyBytes", "-1"}},
		{"negative timeout", gateway.Config{Services: of(`get: "/api/x"`), Limits: gateway.LimitsConfig{Timeout: -time.Second}}, []string{"Timeout", "-1s"}},
	}
	conn := connect(t, &backend{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.config.Conn = conn
			_, err := gateway.New(c.config)
			if err == nil {
				t.Fatal("New accepted it")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error %q lacks %q", err, part)
				}
			}
		})
	}
	t.Run("no connection", func(t *testing.T) {
		t.Parallel()
		if _, err := gateway.New(gateway.Config{Services: []gateway.Service{exposeStatus()}}); err == nil || !strings.Contains(err.Error(), "Conn") {
			t.Errorf("New without Conn: %v", err)
		}
	})
}

// TestWildcardTakesNoRPC checks that a wildcard route does not match the paths of a
// service, whatever the header is.
func TestWildcardTakesNoRPC(t *testing.T) {
	t.Parallel()
	b := &backend{}
	wide := exposeDynamic(declareService(t, `post: "/api/{id}/{title}" body: "*"`))
	g, err := gateway.New(gateway.Config{Conn: connect(t, b), Services: []gateway.Service{wide, exposeDynamic(thingService)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target string
		header []string
		status int
		call   string
	}{
		{"/api/a/b", []string{jsonBody}, 200, `M0 id:"a" title:"b"`},
		{things + "/GetThing", []string{jsonBody}, 400, `M0 id:"a" title:"b"`},
		{things + "/Nothing", []string{jsonBody}, 404, `M0 id:"a" title:"b"`},
		{things + "/GetThing", []string{jsonBody, version1}, 200, "GetThing"},
	} {
		response := send(g, "POST", c.target, c.header, "{}")
		if response.StatusCode != c.status || b.call() != c.call {
			t.Errorf("%s %q: %d, the last call was %q; want %d and %q", c.target, c.header, response.StatusCode, b.call(), c.status, c.call)
		}
	}
}

// TestSpecificRouteDeclaredLater checks the order that the error in TestNewRefuses
// recommends.
func TestSpecificRouteDeclaredLater(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g, err := gateway.New(gateway.Config{Conn: connect(t, b), Services: []gateway.Service{exposeDynamic(declareService(t, `get: "/api/x/{id}"`, `get: "/api/x/mine"`))}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/api/x/mine": "M1", "/api/x/1": `M0 id:"1"`} {
		send(g, "GET", path, nil, "")
		if got := b.call(); got != want {
			t.Errorf("GET %s called %q, want %q", path, got, want)
		}
	}
}

// TestWildcardDoesNotReachBFF checks that a wildcard that matches the bff's paths is
// served everywhere else.
func TestWildcardDoesNotReachBFF(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g, err := gateway.New(gateway.Config{Conn: connect(t, b), Services: []gateway.Service{exposeDynamic(declareService(t, `get: "/api/{id}/{title}"`))}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/api/auth/login": 404, "/api/%61uth/login": 404, "/api/authors/1": 200} {
		if got := send(g, "GET", path, nil, "").StatusCode; got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
}
