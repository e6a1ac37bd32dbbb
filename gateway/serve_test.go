package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// invoker is a connection for unary calls; scripted is one for streams.
type invoker func(ctx context.Context, response any) error

func (f invoker) Invoke(ctx context.Context, _ string, _, response any, _ ...grpc.CallOption) error {
	return f(ctx, response)
}

func (f invoker) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams here")
}

func over(t testing.TB, cfg gateway.Config, conn grpc.ClientConnInterface) *gateway.Gateway {
	t.Helper()
	cfg.Conn, cfg.Services = conn, []gateway.Service{exposeStatus(), exposeDynamic(thingService)}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestTimeout checks that clients cannot change the deadline of a call. With the
// defaults of grpc-gateway, "Grpc-Timeout: 0S" removes it.
func TestTimeout(t *testing.T) {
	t.Parallel()
	hung := invoker(func(ctx context.Context, _ any) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	})
	raw := invoker(func(ctx context.Context, _ any) error {
		<-ctx.Done()
		return ctx.Err() // as a connection in this process may
	})
	for _, c := range []struct {
		name   string
		conn   invoker
		cfg    gateway.Config
		header []string
		want   time.Duration
	}{
		{"default", hung, gateway.Config{}, nil, 30 * time.Second},
		{"set", hung, gateway.Config{Limits: gateway.LimitsConfig{Timeout: time.Second}}, nil, time.Second},
		{"removed by the client", hung, gateway.Config{}, []string{"Grpc-Timeout: 0S"}, 30 * time.Second},
		{"longer for the client", hung, gateway.Config{}, []string{"Grpc-Timeout: 99H"}, 30 * time.Second},
		{"shorter for the client", hung, gateway.Config{}, []string{"Grpc-Timeout: 1n"}, 30 * time.Second},
		{"no status", raw, gateway.Config{}, nil, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := over(t, c.cfg, c.conn)
				begin := time.Now()
				response := send(g, "GET", "/api", c.header, "")
				if got := time.Since(begin); got != c.want {
					t.Errorf("took %v, want %v", got, c.want)
				}
				const want = `{"code":4,"message":"the service did not answer in time","details":[]}`
				if got := read(t, response); response.StatusCode != 504 || got != want {
					t.Errorf("got %d %s, want 504 %s", response.StatusCode, got, want)
				}
			})
		})
	}
	t.Run("deadline at the server", func(t *testing.T) {
		t.Parallel()
		left := make(chan time.Duration, 1)
		g := start(t, gateway.Config{Limits: gateway.LimitsConfig{Timeout: time.Hour}}, &backend{answer: func(ctx context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			return usual(ctx, request, stream)
		}})
		send(g, "GET", "/api", nil, "")
		if got := <-left; got <= 0 || got > time.Hour {
			t.Errorf("got %v to the deadline, want at most an hour", got)
		}
	})
}

// pipes is a listener for connections in memory, which use the time of a synctest
// bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// lingering is how long net/http keeps a connection so that the client can read
// the answer before it is closed.
const lingering = 500 * time.Millisecond

// TestSlowClients checks that a client that stalls is disconnected at every stage.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	long := invoker(func(ctx context.Context, response any) error {
		if m, ok := response.(proto.Message); ok && m.ProtoReflect().Descriptor().Name() == "GetPrivateRouteResponse" {
			say(m, strings.Repeat("x", 1<<20))
			return nil
		}
		<-ctx.Done() // all other calls hang
		return status.FromContextError(ctx.Err()).Err()
	})
	for _, c := range []struct {
		name string
		sent string
		want string // first line of the answer, "" if the connection is just closed
		end  time.Duration
	}{
		{"half a header", "GET /api HTTP/1.1\r\nHost: x\r\n", "", 10 * time.Second},
		{"half a body", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", "HTTP/1.1 408 Request Timeout", 30 * time.Second},
		{"half a body without a route", "DELETE /api/things/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "HTTP/1.1 408 Request Timeout", 30 * time.Second},
		{"half a body, refused by its type", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n{", "HTTP/1.1 415 Unsupported Media Type", 40 * time.Second},
		{"half a body for a route without one", "POST /api/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", "HTTP/1.1 404 Not Found", 40 * time.Second},
		{"a body that grows too long", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("8\r\n        \r\n", 20), "HTTP/1.1 413 Request Entity Too Large", 30*time.Second + lingering},
		{"a call that hangs after its body", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "HTTP/1.1 504 Gateway Timeout", 30 * time.Second},
		{"idle after an answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", 2 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, stop := serve(t, over(t, gateway.Config{Limits: gateway.LimitsConfig{MaxBodyBytes: 100}}, long))
				defer stop()
				begin := time.Now()
				go func() { _, _ = io.WriteString(client, c.sent) }()
				answer, _ := io.ReadAll(client)
				if got := time.Since(begin); got != c.end {
					t.Errorf("the connection ended after %v, want %v", got, c.end)
				}
				if got, _, _ := strings.Cut(string(answer), "\r\n"); got != c.want {
					t.Errorf("answered %q, want %q", got, c.want)
				}
			})
		})
	}
	t.Run("an answer that the client does not read", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, stop := serve(t, over(t, gateway.Config{}, long))
			defer stop()
			if _, err := io.WriteString(client, "GET /api/private-route HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-time.After(61 * time.Second)
			if got, err := io.ReadAll(client); len(got) >= 1<<20 {
				t.Errorf("read %d bytes after the deadline, %v", len(got), err)
			}
		})
	})
	t.Run("a header too long", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, stop := serve(t, over(t, gateway.Config{}, long))
			defer stop()
			go func() {
				_, _ = io.WriteString(client, "GET /api HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
			}()
			answer, _ := io.ReadAll(client)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
				t.Errorf("answered %q", answer)
			}
		})
	})
}

// scripted is a connection whose streams receive from a function, which gets the
// number of the message.
type scripted struct {
	invoker
	grpc.ClientStream
	receive func(n int, m proto.Message) error
	n       int
	ctx     context.Context
}

func (s *scripted) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	s.ctx = ctx
	return s, nil
}
func (s *scripted) Header() (metadata.MD, error) { return metadata.Pairs("x-ready", "1"), nil }
func (s *scripted) SendMsg(any) error            { return nil }
func (s *scripted) CloseSend() error             { return nil }
func (s *scripted) RecvMsg(m any) error {
	s.n++
	return s.receive(s.n, m.(proto.Message))
}

// TestStreamOutlivesTimeouts checks that the limits for a request and its answer do
// not end a stream.
func TestStreamOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := serve(t, over(t, gateway.Config{Limits: gateway.LimitsConfig{Timeout: time.Second}}, &scripted{receive: func(n int, m proto.Message) error {
			if n > 2 {
				return io.EOF
			}
			<-time.After(time.Hour)
			proto.Merge(m, thing(`id: "late"`))
			return nil
		}}))
		defer stop()
		go func() {
			_, _ = io.WriteString(client, "GET /api/things:watch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		}()
		answer, _ := io.ReadAll(client)
		if got := strings.Count(string(answer), `"late"`); got != 2 || !strings.HasSuffix(string(answer), "\r\n0\r\n\r\n") {
			t.Errorf("got %d messages, want 2 and the end: %s", got, answer)
		}
	})
}

// serve serves a gateway on one connection in a synctest bubble.
func serve(t *testing.T, g *gateway.Gateway) (client net.Conn, stop func()) {
	t.Helper()
	client, there := net.Pipe()
	listener := make(pipes, 1)
	listener <- there
	server := g.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	return client, func() {
		client.Close()
		_ = server.Close()
		<-done
	}
}

// TestHTTP2 checks HTTP/2 with and without TLS.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{}, &backend{})
	server := httptest.NewUnstartedServer(nil)
	server.Config = g.Server()
	server.Start()
	t.Cleanup(server.Close)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/things", strings.NewReader(`{"title":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != 200 {
		t.Errorf("got %s %d, want HTTP/2.0 200", response.Proto, response.StatusCode)
	}
}

// TestHealth checks /healthz and /readyz.
func TestHealth(t *testing.T) {
	t.Parallel()
	notReady := func() error { return errors.New("no key set yet") }
	for _, c := range []struct {
		request string
		ready   func() error
		status  int
		want    string
	}{
		{"GET /healthz", nil, 200, "ok\n"},
		{"GET /healthz", notReady, 200, "ok\n"},
		{"GET /readyz", nil, 200, "ok\n"},
		{"GET /readyz", func() error { return nil }, 200, "ok\n"},
		{"GET /readyz", notReady, 503, "not ready\n"},
		{"HEAD /readyz", notReady, 503, ""},
		{"OPTIONS /healthz", nil, 204, ""},
		{"POST /healthz", nil, 405, `{"code":12,"message":"this path is served for GET, HEAD, OPTIONS only","details":[]}`},
	} {
		g := start(t, gateway.Config{Ready: c.ready}, &backend{})
		method, target, _ := strings.Cut(c.request, " ")
		response := send(g, method, target, nil, "")
		if got := read(t, response); response.StatusCode != c.status || got != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.request, response.StatusCode, got, c.status, c.want)
		}
		if got := response.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: got Cache-Control %q, want no-store", c.request, got)
		}
	}
}

// TestCORS checks which origins may read answers.
func TestCORS(t *testing.T) {
	t.Parallel()
	const base = "https://app.example.com"
	preflight := func(origin, method, headers string) []string {
		return []string{"Origin: " + origin, "Access-Control-Request-Method: " + method, "Access-Control-Request-Headers: " + headers}
	}
	for _, c := range []struct {
		name    string
		base    string
		request string
		header  []string
		origin  string // Access-Control-Allow-Origin
	}{
		{"the base URL", base, "GET /api/private-route", []string{"Origin: " + base}, base},
		{"with a slash", base + "/", "GET /api/private-route", []string{"Origin: " + base}, base},
		{"with the default port", base + ":443", "GET /api/private-route", []string{"Origin: " + base}, base},
		{"a name that browsers write in ASCII", "https://bücher.example", "GET /api/private-route", []string{"Origin: https://xn--bcher-kva.example"}, "https://xn--bcher-kva.example"},
		{"an address that browsers shorten", "https://[2001:DB8:0::1]", "GET /api/private-route", []string{"Origin: https://[2001:db8::1]"}, "https://[2001:db8::1]"},
		{"another port", base, "GET /api/private-route", []string{"Origin: " + base + ":8443"}, ""},
		{"another scheme", base, "GET /api/private-route", []string{"Origin: http://app.example.com"}, ""},
		{"a sibling", base, "GET /api/private-route", []string{"Origin: https://evil.example.com"}, ""},
		{"a longer name", base, "GET /api/private-route", []string{"Origin: " + base + ".evil.example"}, ""},
		{"null", base, "GET /api/private-route", []string{"Origin: null"}, ""},
		{"no base URL", "", "GET /api/private-route", []string{"Origin: " + base}, ""},
		{"no base URL, preflight", "", "OPTIONS /api/private-route", preflight(base, "GET", "authorization"), ""},
		{"errors too", base, "GET /api/nothing", []string{"Origin: " + base}, base},
		{"preflight", base, "OPTIONS /api/things/1", preflight(base, "DELETE", "authorization"), base},
		{"preflight with a body", base, "OPTIONS /api/things", preflight(base, "POST", "authorization,content-type,x-request-id"), base},
		{"preflight of a generated client (Connect)", base, "OPTIONS /api/" + thingService + "/GetThing", preflight(base, "POST", "authorization,connect-protocol-version,connect-timeout-ms,content-type"), base},
		{"preflight of a generated client (gRPC-Web)", base, "OPTIONS /api/" + thingService + "/GetThing", preflight(base, "POST", "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent"), base},
		{"preflight of a conditional change", base, "OPTIONS /api/things/1", preflight(base, "PATCH", "authorization,content-type,if-match"), base},
		{"preflight of a stream that resumes", base, "OPTIONS /api/things:watch", preflight(base, "GET", "authorization,last-event-id"), base},
		{"preflight of another origin", base, "OPTIONS /api/things/1", preflight("https://evil.example", "DELETE", "authorization"), ""},
		{"preflight for an unknown header", base, "OPTIONS /api/things/1", preflight(base, "DELETE", "grpc-metadata-x"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{}
			g := start(t, gateway.Config{Access: gateway.AccessConfig{BaseURL: c.base}}, b)
			method, target, _ := strings.Cut(c.request, " ")
			response := send(g, method, target, c.header, "")
			if got := response.Header.Get("Access-Control-Allow-Origin"); got != c.origin {
				t.Errorf("allowed %q, want %q", got, c.origin)
			}
			if got := response.Header.Get("Access-Control-Allow-Credentials"); got != "" {
				t.Errorf("credentials: %s", got)
			}
			if method == "OPTIONS" {
				if response.StatusCode != 204 || b.call() != "" {
					t.Errorf("preflight: %d, called %q", response.StatusCode, b.call())
				}
				return
			}
			if exposed := response.Header.Get("Access-Control-Expose-Headers"); c.origin != "" &&
				!cmp.Equal(strings.Split(strings.ToLower(exposed), ", "), []string{"etag", "retry-after", "www-authenticate", "x-request-id", "grpc-status", "grpc-message", "grpc-status-details-bin"}) {
				t.Errorf("exposed %s", exposed)
			}
			if c.base != "" && response.Header.Get("Vary") != "Origin" {
				t.Errorf("Vary: %s", response.Header.Get("Vary"))
			}
		})
	}
}

// TestPanic checks that a panic of a service in this process, which runs in the
// goroutine of the request, is an error answer or cuts it off.
func TestPanic(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := over(t, gateway.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}, invoker(func(context.Context, any) error { panic("the cause") }))
	response := send(g, "GET", "/api", nil, "")
	if got := read(t, response); response.StatusCode != 500 || got != `{"code":13,"message":"internal error","details":[]}` {
		t.Errorf("got %d %s, want 500 and an internal error", response.StatusCode, got)
	}
	if !strings.Contains(out.String(), "the cause") || !strings.Contains(out.String(), "status=500") {
		t.Errorf("log: %s", &out)
	}
	if got := recovered(over(t, gateway.Config{}, &scripted{receive: func(int, proto.Message) error { panic("after the header") }}), "/api/things:watch"); got != http.ErrAbortHandler {
		t.Errorf("got %v after half an answer, want http.ErrAbortHandler", got)
	}
	if got := recovered(over(t, gateway.Config{}, invoker(func(context.Context, any) error { panic(http.ErrAbortHandler) })), "/api"); got != http.ErrAbortHandler {
		t.Errorf("recovered %v", got)
	}
}

func recovered(g *gateway.Gateway, path string) (cause any) {
	defer func() { cause = recover() }()
	send(g, "GET", path, nil, "")
	return nil
}
