package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	connectrpc "connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
)

func b64url(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// specs are those of generated code of connect-go.
var (
	getThing    = connectrpc.Spec{Procedure: "/" + thingService + "/GetThing", IdempotencyLevel: connectrpc.IdempotencyNoSideEffects}
	watchThings = connectrpc.Spec{Procedure: "/" + thingService + "/WatchThings", StreamType: connectrpc.StreamTypeServer}
)

// listen serves a gateway on loopback.
func listen(t *testing.T, g *gateway.Gateway) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = g.Server()
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// ways are the protocols of clients.
var ways = map[string][]connecthttp.Option{
	"Connect, binary":     nil,
	"Connect, JSON":       {connecthttp.WithProtoJSON()},
	"Connect, compressed": {connecthttp.WithSendGzip()},
	"Connect, GET":        {connecthttp.WithHTTPGet()},
	"gRPC-Web":            {connecthttp.WithGRPCWeb()},
	"gRPC-Web, JSON":      {connecthttp.WithGRPCWeb(), connecthttp.WithProtoJSON()},
	"gRPC-Web compressed": {connecthttp.WithGRPCWeb(), connecthttp.WithSendGzip()},
}

// TestRPCClients checks that the client of connect-go gets messages, streams and
// errors with their details, over a network and in one process.
func TestRPCClients(t *testing.T) {
	t.Parallel()
	violation := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "id", Description: "is bad"}}}
	refused, err := status.New(codes.InvalidArgument, "bad id").WithDetails(violation)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long ", 1000) // long enough to be compressed
	b := &backend{answer: func(_ context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		id := request.ProtoReflect().Get(request.ProtoReflect().Descriptor().Fields().ByName("id")).String()
		if id == "bad" {
			return nil, refused.Err()
		}
		if err := stream.SetHeader(metadata.Pairs("etag", `"7"`, "x-internal", "secret")); err != nil {
			return nil, err
		}
		if rpc, _ := grpc.MethodFromServerStream(stream); rpc == watchThings.Procedure {
			for range 2 {
				if err := stream.SendMsg(thing(`id: "` + id + `"`)); err != nil {
					return nil, err
				}
			}
			return nil, refused.Err()
		}
		return thing(`id: "` + id + `" title: "` + long + `"`), nil
	}}
	server := listen(t, start(t, gateway.Config{}, b))
	for name, options := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := connectrpc.NewClient(connecthttp.NewTransport(server.Client(), server.URL+"/api", options...))
			request, response := newMessage(methodDescriptor(getThing.Procedure).Input()), thing("")
			set := func(id string) {
				field := request.ProtoReflect().Descriptor().Fields().ByName("id")
				request.ProtoReflect().Set(field, protoreflect.ValueOfString(id))
			}
			wantsRefusal := func(err error) {
				t.Helper()
				e, ok := errors.AsType[*connectrpc.Error](err)
				if !ok || e.Code() != connectrpc.CodeInvalidArgument || e.Message() != "bad id" || len(e.Details()) != 1 {
					t.Fatalf("got %v", err)
				}
				if got, err := connectproto.UnmarshalErrorDetail(e.Details()[0]); err != nil || !cmp.Equal(got, proto.Message(violation), protocmp.Transform()) {
					t.Errorf("detail %v, %v", got, err)
				}
			}

			set("1")
			ctx, info := connectrpc.NewClientContext(t.Context())
			if err := client.CallUnary(ctx, getThing, request, response); err != nil {
				t.Fatal(err)
			}
			if want := thing(`id: "1" title: "` + long + `"`); !cmp.Equal(response, want, protocmp.Transform()) {
				t.Errorf("got %v", response)
			}
			if etag, internal := info.ResponseHeader().Get("Etag"), info.ResponseHeader().Get("X-Internal"); etag != `"7"` || internal != "" {
				t.Errorf("ETag %q, X-Internal %q", etag, internal)
			}
			short := info.ReceiveStats.CompressedSize > 0 && info.ReceiveStats.CompressedSize < 1000
			if other := name == "Connect, GET"; short == other { // CVE-2013-3587
				t.Errorf("got %d bytes compressed to %d, want compression except for GET", info.ReceiveStats.Size, info.ReceiveStats.CompressedSize)
			}
			set("bad")
			wantsRefusal(client.CallUnary(t.Context(), getThing, request, response))

			set("2")
			stream, err := client.CallServerStream(t.Context(), watchThings, request)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			for range 2 {
				if err := stream.Receive(response); err != nil || !cmp.Equal(response, thing(`id: "2"`), protocmp.Transform()) {
					t.Fatalf("got %v, %v", response, err)
				}
			}
			wantsRefusal(stream.Receive(response))
		})
	}
}

// TestRPCDeadline checks that a client can only shorten the deadline. In
// grpc-gateway, "Grpc-Timeout: 0S" removed it.
func TestRPCDeadline(t *testing.T) {
	t.Parallel()
	hung := invoker(func(ctx context.Context, _ any) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	})
	for _, c := range []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"none", []string{connectJSON}, 30 * time.Second},
		{"shorter", []string{connectJSON, "Connect-Timeout-Ms: 2000"}, 2 * time.Second},
		{"longer", []string{connectJSON, "Connect-Timeout-Ms: 9999999999"}, 30 * time.Second},
		{"zero", []string{connectJSON, "Connect-Timeout-Ms: 0"}, 0},
		{"malformed", []string{connectJSON, "Connect-Timeout-Ms: -1"}, 0},
		{"of the other protocol", []string{connectJSON, "Grpc-Timeout: 1S"}, 30 * time.Second},
		{"gRPC-Web, shorter", []string{grpcWeb, "Grpc-Timeout: 2S"}, 2 * time.Second},
		{"gRPC-Web, longer", []string{grpcWeb, "Grpc-Timeout: 99H"}, 30 * time.Second},
		{"gRPC-Web, overflowing", []string{grpcWeb, "Grpc-Timeout: 99999999H"}, 30 * time.Second},
		{"gRPC-Web, lifted", []string{grpcWeb, "Grpc-Timeout: 0S"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := over(t, gateway.Config{}, hung)
				body := `{"id":"1"}`
				if c.header[0] == grpcWeb {
					body = envelope(0, body)
				}
				begin := time.Now()
				response := send(g, "POST", things+"/GetThing", append(c.header, version1), body)
				if got := time.Since(begin); got != c.want {
					t.Errorf("took %v, want %v: %d %s", got, c.want, response.StatusCode, read(t, response))
				}
			})
		})
	}
}

// TestRPCStreamEnds checks that a client gets the header before the first message
// and each message when it is sent, and that the call has no deadline and ends when
// the client closes the connection.
func TestRPCStreamEnds(t *testing.T) {
	t.Parallel()
	for name, mediaType := range map[string]string{"Connect": "application/connect+json", "gRPC-Web": "application/grpc-web+json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, gone, deadline := make(chan string), make(chan struct{}), make(chan bool, 1)
			b := &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				_, ok := ctx.Deadline()
				deadline <- ok
				if err := stream.SendHeader(metadata.Pairs("x-ready", "1", "etag", `"7"`)); err != nil {
					return nil, err
				}
				for {
					select {
					case id := <-next:
						if err := stream.SendMsg(thing(`id: "` + id + `"`)); err != nil {
							return nil, err
						}
					case <-ctx.Done():
						close(gone)
						return nil, ctx.Err()
					}
				}
			}}
			server := listen(t, start(t, gateway.Config{}, b))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // if the test fails
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+things+"/WatchThings", strings.NewReader(envelope(0, `{"id":"1"}`)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", mediaType)
			response, err := server.Client().Do(request) // returns with the header
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if <-deadline || response.StatusCode != 200 || response.Header.Get("Etag") != `"7"` {
				t.Fatalf("got %d %v, or a deadline; want 200, an ETag and none", response.StatusCode, response.Header)
			}
			for _, id := range []string{"1", "2"} {
				next <- id
				want := envelope(0, `{"id":"`+id+`"}`)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			cancel()
			<-gone
		})
	}
}

// TestRPCDrain checks that streams end with the time to wait before reconnecting.
func TestRPCDrain(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]connecthttp.Option{"Connect": nil, "gRPC-Web": {connecthttp.WithGRPCWeb()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, gateway.Config{}, &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				if err := stream.SendMsg(thing(`id: "1"`)); err != nil {
					return nil, err
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			server := listen(t, g)
			client := connectrpc.NewClient(connecthttp.NewTransport(server.Client(), server.URL+"/api", options...))
			stream, err := client.CallServerStream(t.Context(), watchThings, newMessage(methodDescriptor(watchThings.Procedure).Input()))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if err := stream.Receive(thing("")); err != nil {
				t.Fatal(err)
			}
			g.Drain()
			e, ok := errors.AsType[*connectrpc.Error](stream.Receive(thing("")))
			if !ok || e.Code() != connectrpc.CodeUnavailable || len(e.Details()) != 2 {
				t.Fatalf("the stream ended with %v", e)
			}
			if detail, err := connectproto.UnmarshalErrorDetail(e.Details()[1]); err != nil || detail.(*errdetails.RetryInfo).GetRetryDelay().AsDuration() <= 0 {
				t.Errorf("the stream ended with %v, %v", detail, err)
			}
		})
	}
}

// TestRPCMetadata checks that the same header fields become metadata as with REST.
func TestRPCMetadata(t *testing.T) {
	t.Parallel()
	for name, header := range map[string][]string{"Connect": {connectJSON, version1}, "gRPC-Web": {grpcWeb}} {
		b := &backend{}
		body := `{"id":"1"}`
		if name == "gRPC-Web" {
			body = envelope(0, body)
		}
		header = append(header,
			"X-Request-Id: abc", "Authorization: Bearer t", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: a=1", "Accept-Language: de",
			// CVE-2026-18972, CVE-2025-64484, and what servers of connect-go would pass on.
			"Cookie: session=secret", "Grpc-Metadata-X-Role: admin", "X-Role: admin", "X-Token-Bin: AAAA", "Trailer-X: 1", "X_Auth: 1",
			"X-Forwarded-For: 1.2.3.4", "User-Agent: x", "X-User-Agent: y", "Referer: z", "Origin: https://evil.example")
		response := send(start(t, gateway.Config{TraceTrusted: testPeers}, b), "POST", things+"/GetThing", header, body)
		want := metadata.Pairs("x-request-id", "abc", "authorization", "Bearer t", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=1", "accept-language", "de")
		got := b.metadata()
		delete(got, "grpc-timeout")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: metadata differs (-want +got):\n%s", name, diff)
		}
		if id := response.Header.Get("X-Request-Id"); id != "abc" {
			t.Errorf("%s: got the id %q, want abc", name, id)
		}
	}
}

// TestRPCLog checks that each request has one line with its method.
func TestRPCLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(logs.Handler(slog.NewJSONHandler(&out, nil)))
	g := start(t, gateway.Config{Logger: logger}, &backend{answer: fails(status.Error(codes.Internal, "the cause"))})
	send(g, "POST", things+"/GetThing", []string{connectJSON, version1, "X-Request-Id: abc", "Authorization: Bearer secret"}, `{"id":"secret"}`)
	if strings.Contains(out.String(), "secret") {
		t.Errorf("logged what is secret: %s", &out)
	}
	var lines []map[string]any
	for decoder := json.NewDecoder(&out); decoder.More(); {
		line := map[string]any{}
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		for _, varies := range []string{"time", "duration", "bytes"} {
			delete(line, varies)
		}
		lines = append(lines, line)
	}
	want := []map[string]any{
		{"level": "WARN", "msg": "request", "method": "POST", "route": things + "/GetThing", "rpc": getThing.Procedure, "status": 500.0, "code": "Internal", "err": "the cause", "client": "192.0.2.1", "request_id": "abc"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines differ (-want +got):\n%s", diff)
	}
}

// TestRPCInvalidAnswer checks an answer that cannot be marshaled, which only a
// connection in this process delivers.
func TestRPCInvalidAnswer(t *testing.T) {
	t.Parallel()
	g, err := gateway.New(gateway.Config{Conn: invalidAnswers{inProcess(&backend{}, "hello")}, Services: []gateway.Service{exposeStatus()}})
	if err != nil {
		t.Fatal(err)
	}
	response := send(g, "POST", "/api/"+statusService+"/GetPrivateRoute", []string{connectJSON, version1}, "{}")
	if got := read(t, response); response.StatusCode != 500 || got != `{"code":"internal","message":"internal error"}` {
		t.Errorf("got %d %s, want 500 and an internal error", response.StatusCode, got)
	}
}

// TestRPCInProcess checks a stream that is refused without a header, as in one
// process.
func TestRPCInProcess(t *testing.T) {
	t.Parallel()
	b := &backend{answer: failure(t, codes.Unauthenticated, "no", &errdetails.ErrorInfo{Domain: "gatehouse", Reason: "TOKEN_EXPIRED"})}
	g, err := gateway.New(gateway.Config{Conn: inProcess(b, "hello"), Services: []gateway.Service{exposeDynamic(thingService), exposeStatus()}})
	if err != nil {
		t.Fatal(err)
	}
	response := send(g, "POST", things+"/WatchThings", []string{connectStream}, envelope(0, `{"id":"1"}`))
	if got, challenge := read(t, response), response.Header.Get("WWW-Authenticate"); response.StatusCode != 200 || !strings.Contains(got, `"unauthenticated"`) || !strings.Contains(challenge, "expired") {
		t.Errorf("got %d %q, challenge %s; want 200, unauthenticated, expired", response.StatusCode, got, challenge)
	}
	response = send(g, "POST", "/api/"+statusService+"/GetPrivateRoute", []string{connectJSON, version1}, "{}")
	if got := read(t, response); response.StatusCode != 200 || strings.ReplaceAll(got, " ", "") != `{"message":"hello"}` {
		t.Errorf("got %d %s, want 200 and the message", response.StatusCode, got)
	}
}
