package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// inProcess returns a connection in this process, over which a server need not send
// a header before its first message.
func inProcess(b *backend, message string) grpc.ClientConnInterface {
	channel := inprocess.New(inprocess.Config{})
	channel.RegisterService(&grpc.ServiceDesc{
		ServiceName: thingService, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "WatchThings", ServerStreams: true, Handler: b.handle}},
	}, b)
	registerStatus(channel, message)
	// Hide HasMethod: only some methods are registered.
	return struct{ grpc.ClientConnInterface }{channel}
}

// invalidAnswers is a connection whose unary answers cannot be marshaled, because a
// string in them is not UTF-8. Only a connection in this process can deliver them.
type invalidAnswers struct{ grpc.ClientConnInterface }

func (c invalidAnswers) Invoke(ctx context.Context, method string, req, answer any, opts ...grpc.CallOption) error {
	err := c.ClientConnInterface.Invoke(ctx, method, req, answer, opts...)
	say(answer.(proto.Message), "\xff")
	return err
}

// TestStream checks newline-delimited JSON and the status of refused calls, over a
// network and in one process.
func TestStream(t *testing.T) {
	t.Parallel()
	refused, err := status.New(codes.Unauthenticated, "no").WithDetails(&errdetails.ErrorInfo{Domain: "gatehouse", Reason: "TOKEN_MISSING"})
	if err != nil {
		t.Fatal(err)
	}
	// messages sends things with these ids, then fails or ends.
	messages := func(header metadata.MD, err error, ids ...string) answerFunc {
		return func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
			if header != nil {
				if err := stream.SendHeader(header); err != nil {
					return nil, err
				}
			}
			for _, id := range ids {
				if err := stream.SendMsg(thing(`id: "` + id + `"`)); err != nil {
					return nil, err
				}
			}
			return nil, err
		}
	}
	line := func(id string) string {
		return `{"result":{"id":"` + id + `","title":"","priceCents":"0","tags":[],"createTime":null,"parent":null}}` + "\n"
	}
	ready := metadata.Pairs("x-ready", "1")
	cases := []struct {
		name      string
		method    string
		header    []string
		answer    answerFunc
		status    int
		mediaType string
		challenge string
		want      string
	}{
		{"messages", "GET", nil, messages(nil, nil, "1", "2"), 200, "application/x-ndjson", "", line("1") + line("2")},
		{"messages after a header", "GET", nil, messages(ready, nil, "1", "2"), 200, "application/x-ndjson", "", line("1") + line("2")},
		{"nothing", "GET", nil, messages(nil, nil), 200, "application/x-ndjson", "", ""},
		{"nothing after a header", "GET", nil, messages(ready, nil), 200, "application/x-ndjson", "", ""},
		{"refused", "GET", nil, messages(nil, refused.Err()), 401, "application/json", `Bearer realm="gatehouse"`,
			`{"code":16,"message":"no","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOKEN_MISSING","domain":"gatehouse"}]}`},
		{"refused as a problem", "GET", []string{"Accept: application/x-ndjson, application/problem+json"}, messages(nil, status.Error(codes.NotFound, "no")), 404, "application/problem+json", "",
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"no","code":5,"details":[]}`},
		{"failed after a header", "GET", nil, messages(ready, status.Error(codes.Aborted, "over")), 200, "application/x-ndjson", "", `{"error":{"code":10,"message":"over","details":[]}}` + "\n"},
		{"failed after a message", "GET", nil, messages(nil, status.Error(codes.Aborted, "over"), "1"), 200, "application/x-ndjson", "", line("1") + `{"error":{"code":10,"message":"over","details":[]}}` + "\n"},
		{"internal error", "GET", nil, messages(nil, status.Error(codes.Internal, "pq: password"), "1"), 200, "application/x-ndjson", "", line("1") + `{"error":{"code":13,"message":"internal error","details":[]}}` + "\n"},
		{"HEAD", "HEAD", nil, messages(ready, nil, "1"), 200, "application/x-ndjson", "", ""},
		{"Accept", "GET", []string{"Accept: application/x-ndjson"}, messages(nil, nil, "1"), 200, "application/x-ndjson", "", line("1")},
		{"Accept of one value", "GET", []string{"Accept: application/json"}, messages(nil, nil, "1"), 406, "application/json", "",
			`{"code":3,"message":"this route answers with application/x-ndjson or text/event-stream, which the Accept header excludes","details":[]}`},
	}
	for _, over := range []struct {
		name    string
		connect func(*testing.T, *backend) grpc.ClientConnInterface
	}{
		{"network", func(t *testing.T, b *backend) grpc.ClientConnInterface { return connect(t, b) }},
		{"process", func(_ *testing.T, b *backend) grpc.ClientConnInterface { return inProcess(b, "") }},
	} {
		for _, c := range cases {
			t.Run(over.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				g, err := gateway.New(gateway.Config{Conn: over.connect(t, &backend{answer: c.answer}), Services: []gateway.Service{exposeDynamic(thingService)}})
				if err != nil {
					t.Fatal(err)
				}
				response := send(g, c.method, "/api/things:watch", c.header, "")
				if response.StatusCode != c.status {
					t.Errorf("status %d, want %d", response.StatusCode, c.status)
				}
				if got := response.Header.Get("Content-Type"); got != c.mediaType {
					t.Errorf("Content-Type %q, want %q", got, c.mediaType)
				}
				if got := response.Header.Get("WWW-Authenticate"); got != c.challenge {
					t.Errorf("challenge %q, want %q", got, c.challenge)
				}
				if got := read(t, response); got != c.want {
					t.Errorf("body\n got %s\nwant %s", got, c.want)
				}
			})
		}
	}
}

// TestStreamOpens checks that the client gets the header before the first message
// and each message when it is sent, and that the call has no deadline and ends when
// the client closes the connection.
func TestStreamOpens(t *testing.T) {
	t.Parallel()
	next, gone, deadline := make(chan string), make(chan struct{}), make(chan bool, 1)
	b := &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		_, ok := ctx.Deadline()
		deadline <- ok
		if err := stream.SendHeader(metadata.Pairs("x-ready", "1")); err != nil {
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
	g := start(t, gateway.Config{}, b)
	server := httptest.NewUnstartedServer(nil)
	server.Config = g.Server()
	server.Start()
	t.Cleanup(server.Close)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/things:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request) // returns with the header
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 || <-deadline {
		t.Fatalf("status %d; or the stream has a deadline", response.StatusCode)
	}
	lines := bufio.NewReader(response.Body)
	for _, id := range []string{"1", "2"} {
		next <- id
		got, err := lines.ReadString('\n')
		if want := `{"result":{"id":"` + id + `"`; err != nil || len(got) < len(want) || got[:len(want)] != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	cancel()
	<-gone
}

// TestStreamHEADEnds checks that HEAD does not keep a stream open.
func TestStreamHEADEnds(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	g := start(t, gateway.Config{}, &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		defer close(gone)
		if err := stream.SendHeader(metadata.Pairs("x-ready", "1")); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	response := send(g, "HEAD", "/api/things:watch", nil, "")
	<-gone
	if b, err := io.ReadAll(response.Body); response.StatusCode != 200 || len(b) > 0 || err != nil {
		t.Errorf("got %d, %q, %v; want 200 without a body", response.StatusCode, b, err)
	}
}

// TestInProcess checks that errors are the same without a network.
func TestInProcess(t *testing.T) {
	t.Parallel()
	g, err := gateway.New(gateway.Config{Conn: inProcess(&backend{}, "hello"), Services: []gateway.Service{exposeStatus()}})
	if err != nil {
		t.Fatal(err)
	}
	response := send(g, "GET", "/api/private-route", nil, "")
	if got := read(t, response); response.StatusCode != 200 || got != `{"message":"hello"}` {
		t.Errorf("got %d %s, want 200 and the message", response.StatusCode, got)
	}
	response = send(g, "GET", "/api", nil, "")
	if got := read(t, response); response.StatusCode != 501 {
		t.Errorf("got %d %s, want 501", response.StatusCode, got)
	}
}

// TestInvalidAnswer checks an answer that cannot be marshaled: the error does not
// have the header of the answer.
func TestInvalidAnswer(t *testing.T) {
	t.Parallel()
	g, err := gateway.New(gateway.Config{Conn: invalidAnswers{inProcess(&backend{}, "hello")}, Services: []gateway.Service{exposeStatus()}})
	if err != nil {
		t.Fatal(err)
	}
	response := send(g, "GET", "/api/private-route", nil, "")
	if got := read(t, response); response.StatusCode != 500 || got != `{"code":2,"message":"internal error","details":[]}` {
		t.Errorf("got %d %s, want 500 and an internal error", response.StatusCode, got)
	}
	if cache, etag := response.Header.Values("Cache-Control"), response.Header.Values("Etag"); len(cache) != 1 || cache[0] != "no-store" || len(etag) > 0 {
		t.Errorf("Cache-Control %q, ETag %q", cache, etag)
	}
}

// TestStreamUnavailable checks that a stream from a server that cannot be reached
// is 503, not a malformed request.
func TestStreamUnavailable(t *testing.T) {
	t.Parallel()
	g := over(t, gateway.Config{}, unreachable{})
	for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
		if got := send(g, "GET", "/api/settings:watch", []string{"Accept: " + accept}, ""); got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: got status %d, want 503", accept, got.StatusCode)
		}
	}
}

// unreachable is a connection to a server that does not run.
type unreachable struct{ grpc.ClientConnInterface }

func (unreachable) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unavailable, "connection refused")
}
