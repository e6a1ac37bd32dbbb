package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// answerFunc handles a call at the server behind the gateway. It sends the messages
// of a stream before it returns nil.
type answerFunc func(ctx context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error)

// backend is a gRPC server for every method that has a descriptor.
type backend struct {
	answer answerFunc

	mu      sync.Mutex
	rpc     string
	request proto.Message
	md      metadata.MD
}

func (b *backend) handle(_ any, stream grpc.ServerStream) error {
	rpc, _ := grpc.MethodFromServerStream(stream)
	method := methodDescriptor(rpc)
	request := newMessage(method.Input())
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	b.mu.Lock()
	b.rpc, b.request, b.md = rpc, request, md
	b.mu.Unlock()
	answer := b.answer
	if answer == nil {
		answer = usual
	}
	response, err := answer(stream.Context(), request, stream)
	if err != nil || response == nil {
		return err
	}
	return stream.SendMsg(response)
}

// call returns the last call that the server got: the name of the method and the
// request as text, without the spaces that vary.
func (b *backend) call() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.request == nil {
		return ""
	}
	text := strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(b.request)), " ")
	return strings.TrimSpace(b.rpc[strings.LastIndex(b.rpc, "/")+1:] + " " + text)
}

// metadata returns the metadata that the gateway sent, without that of gRPC.
func (b *backend) metadata() metadata.MD {
	b.mu.Lock()
	defer b.mu.Unlock()
	md := b.md.Copy()
	for _, name := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, name)
	}
	return md
}

// usual answers like the services of the tutorial.
func usual(_ context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
	rpc, _ := grpc.MethodFromServerStream(stream)
	switch output := methodDescriptor(rpc).Output(); output.FullName() {
	case "google.api.HttpBody":
		return &httpbody.HttpBody{ContentType: "text/plain; charset=utf-8", Data: []byte("Server Running...")}, nil
	case "gatewaytest.status.v1.GetPrivateRouteResponse":
		return privateRoute("This is a private route"), nil
	default:
		return newMessage(output), nil
	}
}

func fails(err error) answerFunc {
	return func(context.Context, proto.Message, grpc.ServerStream) (proto.Message, error) { return nil, err }
}

func answers(m proto.Message) answerFunc {
	return func(context.Context, proto.Message, grpc.ServerStream) (proto.Message, error) { return m, nil }
}

// connect serves a backend over a connection in memory and returns the client.
func connect(tb testing.TB, b *backend) *grpc.ClientConn {
	tb.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnknownServiceHandler(b.handle))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
	})
	return conn
}

// start returns a gateway for statusService and thingService in front of the
// backend.
func start(tb testing.TB, cfg gateway.Config, b *backend) *gateway.Gateway {
	tb.Helper()
	cfg.Conn = connect(tb, b)
	cfg.Services = []gateway.Service{exposeStatus(), exposeDynamic(thingService)}
	g, err := gateway.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// send calls a handler with a request. Header lines are "Name: value".
func send(h http.Handler, method, target string, header []string, body string) *http.Response {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, content)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(tb testing.TB, response *http.Response) string {
	tb.Helper()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
