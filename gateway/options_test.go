package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// everyOption returns a gateway with options of an application that try what they can.
func everyOption(tb testing.TB, b *backend) *gateway.Gateway {
	return start(tb, gateway.Config{
		Access:         gateway.AccessConfig{BaseURL: "https://shop.example"},
		RequestHeaders: []string{"x-tenant", "X-Spoof", "X-Auth"},
		MuxOptions: []runtime.ServeMuxOption{
			// As applications write it: everything that begins with X-.
			runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) {
				if name == "X-Spoof" {
					return "authorization", true
				}
				return strings.CutPrefix(name, "X-")
			}),
			runtime.WithMetadata(func(ctx context.Context, r *http.Request) metadata.MD {
				md := metadata.Pairs("from-option", "1")
				for _, key := range []string{
					"authorization", "x-request-id", "x-forwarded-for", "x-forwarded-host", "traceparent", "tracestate", "baggage", "grpc-timeout",
					"cookie", "forwarded", "x-real-ip", "gatehouse-session", "x_tenant", ":path", "te", "host",
				} {
					md.Set(key, "spoofed")
				}
				for name := range r.Header {
					md.Append("seen", name)
				}
				if r.Host != "" || r.RemoteAddr != "" {
					md.Append("seen", "address")
				}
				return md
			}),
			runtime.WithForwardResponseOption(func(_ context.Context, w http.ResponseWriter, m proto.Message) error {
				if m != nil {
					w.Header().Set("X-Option", "1")
					w.WriteHeader(http.StatusCreated)
				}
				return nil
			}),
			runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) { return "X-" + key, key == "total" }),
			runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{}),
			runtime.WithMarshalerOption("application/x-own", &runtime.JSONPb{}),
			runtime.WithMiddlewares(func(next runtime.HandlerFunc) runtime.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
					w.Header().Add("X-Middleware", "1")
					next(w, r, params)
				}
			}),
		},
	}, b)
}

// Options of grpc-gateway cannot set or forge metadata that parts, proxies and protocols
// trust, whatever a client sends.
func TestMuxOptionsMetadata(t *testing.T) {
	t.Parallel()
	hostile := []string{
		"X-Request-Id: abc", "Authorization: Bearer good", "X-Tenant: acme", "X-Spoof: Bearer evil", "X-Auth: evil", "Cookie: a=b",
		"X-Authorization: Bearer evil", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "Forwarded: for=1.2.3.4", "X-Real-Ip: 1.2.3.4",
		"Grpc-Metadata-Authorization: Bearer evil", "Grpc-Timeout: 0S", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"Baggage: user=admin", "X_tenant: evil", "X-Tenant-Bin: AAAA", "X-Other: not listed", "Gatehouse-Session: active", "Host: evil",
	}
	for target, status := range map[string]int{"/api/private-route": http.StatusCreated, "/api/things:watch": http.StatusOK} {
		b := &backend{}
		response := send(everyOption(t, b), "GET", "https://shop.example"+target, hostile, "")
		if response.StatusCode != status {
			t.Fatalf("%s: status %d: %s", target, response.StatusCode, read(t, response))
		}
		got := b.metadata()
		delete(got, "grpc-timeout")
		want := metadata.Pairs("x-request-id", "abc", "authorization", "Bearer good", "x-tenant", "acme", "x-spoof", "Bearer evil", "x-auth", "evil",
			"from-option", "1", "Tenant", "acme", "Auth", "evil", "seen", "X-Tenant", "seen", "X-Spoof", "seen", "X-Auth")
		for _, md := range []metadata.MD{got, want} {
			md.Set("seen", fmt.Sprint(len(md["seen"])))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: metadata differs (-want +got):\n%s", target, diff)
		}
	}
}

// Without a token, an option cannot make one up.
func TestMuxOptionsWithoutToken(t *testing.T) {
	t.Parallel()
	b := &backend{}
	send(everyOption(t, b), "GET", "https://shop.example/api/private-route", []string{"X-Spoof: Bearer evil"}, "")
	if got := b.metadata()["authorization"]; got != nil {
		t.Errorf("the server got the token %q, which the client has not sent as one", got)
	}
}

// What options add to answers is there; the form of answers and errors stays.
func TestMuxOptionsAnswers(t *testing.T) {
	t.Parallel()
	b := &backend{answer: func(ctx context.Context, m proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		_ = stream.SetHeader(metadata.Pairs("total", "3", "set-cookie", "a=b", "cache-control", "public"))
		return usual(ctx, m, stream)
	}}
	g := everyOption(t, b)
	response := send(g, "GET", "https://shop.example/api/private-route", []string{"Accept: application/json"}, "")
	body := read(t, response)
	for name, want := range map[string]string{"X-Option": "1", "X-Middleware": "1", "X-Total": "3", "Content-Type": "application/json", "Set-Cookie": "", "Cache-Control": "no-store"} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(body, `{"message":"This is a private route"}`) {
		t.Errorf("got %s, want the gateway's JSON", body)
	}
	for target, status := range map[string]int{"/api/nowhere": 404, "/api/private-route?x=1": 400} {
		response := send(g, "GET", "https://shop.example"+target, []string{"Accept: application/json"}, "")
		if response.StatusCode != status || response.Header.Get("X-Option") != "" {
			t.Errorf("%s: status %d, %v, want %d without what options add to answers", target, response.StatusCode, response.Header, status)
		}
	}
	if preflight := send(g, "OPTIONS", "https://shop.example/api/private-route", []string{
		"Origin: https://shop.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-tenant",
	}, ""); !strings.Contains(strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers")), "x-tenant") {
		t.Errorf("a preflight request got %v, want X-Tenant allowed", preflight.Header)
	}
}

// An option that panics ends its request with 500.
func TestMuxOptionsPanic(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{MuxOptions: []runtime.ServeMuxOption{
		runtime.WithMetadata(func(context.Context, *http.Request) metadata.MD { panic("boom") }),
	}}, &backend{})
	response := send(g, "GET", "/api/private-route", nil, "")
	if body := read(t, response); response.StatusCode != http.StatusInternalServerError || strings.Contains(body, "boom") {
		t.Errorf("got %d %s, want 500 without the cause", response.StatusCode, body)
	}
}

// Values that metadata cannot have do not reach options, which would pass them on.
func TestMuxOptionsSeeMetadataValues(t *testing.T) {
	t.Parallel()
	b := &backend{}
	g := start(t, gateway.Config{
		RequestHeaders: []string{"X-Tenant"},
		MuxOptions: []runtime.ServeMuxOption{runtime.WithMetadata(func(_ context.Context, r *http.Request) metadata.MD {
			return metadata.Pairs("tenant", r.Header.Get("X-Tenant"))
		})},
	}, b)
	for value, want := range map[string]string{"acme": "acme", "\xc3\xa9": "", "a\tb": ""} {
		if response := send(g, "GET", "/api/private-route", []string{"X-Tenant: " + value}, ""); response.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d: %s", value, response.StatusCode, read(t, response))
		}
		if got := b.metadata()["tenant"]; len(got) != 1 || got[0] != want {
			t.Errorf("%q: tenant %q, want %q", value, got, want)
		}
	}
}

// Metadata of options counts for the limit of the header.
func TestMuxOptionsSize(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{MuxOptions: []runtime.ServeMuxOption{
		runtime.WithMetadata(func(context.Context, *http.Request) metadata.MD {
			return metadata.Pairs("x", strings.Repeat("x", 30<<10))
		}),
	}}, &backend{})
	if response := send(g, "GET", "/api/private-route", nil, ""); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d %s, want 431", response.StatusCode, read(t, response))
	}
}

// Listed header fields reach services in every form of a call, and as they came.
func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	header := []string{"X-Request-Id: abc", "Idempotency-Key: 1", "Idempotency-Key: 2", "X-Tenant: \xc3\xa9", "X-Other: 1"}
	for target, more := range map[string][]string{
		"/api/private-route": nil,
		"/api/gatewaytest.status.v1.StatusService/GetPrivateRoute": {"Content-Type: application/json", "Connect-Protocol-Version: 1"},
	} {
		b := &backend{}
		method, body := "GET", ""
		if more != nil {
			method, body = "POST", "{}"
		}
		g := start(t, gateway.Config{RequestHeaders: []string{"idempotency-key", "X-Tenant"}}, b)
		if response := send(g, method, target, append(more, header...), body); response.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d: %s", target, response.StatusCode, read(t, response))
		}
		got := b.metadata()
		delete(got, "grpc-timeout")
		if diff := cmp.Diff(metadata.Pairs("x-request-id", "abc", "idempotency-key", "1", "idempotency-key", "2"), got); diff != "" {
			t.Errorf("%s: metadata differs (-want +got):\n%s", target, diff)
		}
	}
}

// A cache in front keeps the answers for different values of a listed field apart: a client
// could otherwise leave there what others get.
func TestRequestHeadersVary(t *testing.T) {
	t.Parallel()
	for _, cached := range []string{"", "public, max-age=60"} {
		b := &backend{answer: func(ctx context.Context, m proto.Message, stream grpc.ServerStream) (proto.Message, error) {
			if cached != "" {
				_ = stream.SetHeader(metadata.Pairs("cache-control", cached))
			}
			return usual(ctx, m, stream)
		}}
		g := start(t, gateway.Config{RequestHeaders: []string{"X-Tenant"}}, b)
		for _, target := range []string{"/api/private-route", "/api/things:watch"} {
			response := send(g, "GET", target, []string{"X-Tenant: acme"}, "")
			if got := slices.Contains(response.Header["Vary"], "X-Tenant"); got != (cached != "") || response.StatusCode != http.StatusOK {
				t.Errorf("%s, %q: status %d, Vary %q, Cache-Control %q", target, cached, response.StatusCode, response.Header["Vary"], response.Header["Cache-Control"])
			}
		}
	}
}

// Names and options that would forge, break or do nothing stop the start.
func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  gateway.Config
		want string
	}{
		"authorization": {gateway.Config{RequestHeaders: []string{"X-Tenant", "Authorization"}}, "RequestHeaders[1]"},
		"forwarded":     {gateway.Config{RequestHeaders: []string{"x-forwarded-for"}}, "RequestHeaders[0]"},
		"address":       {gateway.Config{RequestHeaders: []string{"True-Client-IP"}}, "RequestHeaders[0]"},
		"identity":      {gateway.Config{RequestHeaders: []string{"X-Amzn-Oidc-Identity"}}, "RequestHeaders[0]"},
		"certificate":   {gateway.Config{RequestHeaders: []string{"Client-Cert"}}, "RequestHeaders[0]"},
		"cookie":        {gateway.Config{RequestHeaders: []string{"Cookie"}}, "RequestHeaders[0]"},
		"gRPC":          {gateway.Config{RequestHeaders: []string{"Grpc-Metadata-X"}}, "RequestHeaders[0]"},
		"underscore":    {gateway.Config{RequestHeaders: []string{"X_Tenant"}}, "RequestHeaders[0]"},
		"not a name":    {gateway.Config{RequestHeaders: []string{"X Tenant"}}, "RequestHeaders[0]"},
		"binary":        {gateway.Config{RequestHeaders: []string{"X-Key-Bin"}}, "binary"},
		"nil":           {gateway.Config{MuxOptions: []runtime.ServeMuxOption{nil}}, "MuxOptions"},
		"errors":        {gateway.Config{MuxOptions: []runtime.ServeMuxOption{runtime.WithErrorHandler(runtime.DefaultHTTPErrorHandler)}}, "handler of errors"},
		"routing errors": {gateway.Config{MuxOptions: []runtime.ServeMuxOption{runtime.WithRoutingErrorHandler(func(context.Context, *runtime.ServeMux, runtime.Marshaler, http.ResponseWriter, *http.Request, int) {
			panic("boom")
		})}}, "handler of errors"},
		"path": {gateway.Config{MuxOptions: []runtime.ServeMuxOption{func(mux *runtime.ServeMux) {
			_ = mux.HandlePath("POST", "/api/webhook", func(http.ResponseWriter, *http.Request, map[string]string) {})
		}}}, "registers a route"},
	} {
		cfg := c.cfg
		cfg.Conn, cfg.Services = connect(t, &backend{}), []gateway.Service{exposeStatus()}
		if _, err := gateway.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}
