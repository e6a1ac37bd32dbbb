package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// tells sends a header and settings with these resume tokens, and ends.
func tells(err error, tokens ...string) answerFunc {
	return func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		if err := stream.SendHeader(metadata.Pairs("x-stream", "open")); err != nil {
			return nil, err
		}
		for _, token := range tokens {
			if err := stream.SendMsg(answerOf("WatchSettings", `resume_token: "`+token+`"`)); err != nil {
				return nil, err
			}
		}
		return nil, err
	}
}

func later(t *testing.T, delay time.Duration) error {
	t.Helper()
	st, err := status.New(codes.Unavailable, "stopping").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

// TestEvents checks server-sent events (WHATWG HTML §9.2).
func TestEvents(t *testing.T) {
	t.Parallel()
	const accept = "Accept: text/event-stream"
	event := func(token string) string {
		return "id: " + token + "\ndata: {\"id\":\"\",\"resumeToken\":\"" + token + "\"}\n\n"
	}
	const end = "event: end\ndata: {}\n\n"
	for _, c := range []struct {
		name    string
		request string
		header  []string
		body    string
		answer  answerFunc
		status  int
		call    string
		want    string
		reply   []string
	}{
		{name: "each message has its id", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(nil, "1", "2"),
			status: 200, call: "WatchSettings", want: event("1") + event("2") + end,
			reply: []string{"Content-Type: text/event-stream", "Cache-Control: no-store, no-transform", "X-Accel-Buffering: no", "Content-Encoding: "}},
		{name: "no message", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(nil), status: 200, call: "WatchSettings", want: end},
		{name: "no token, no id", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(nil, ""), status: 200, call: "WatchSettings",
			want: "data: {\"id\":\"\",\"resumeToken\":\"\"}\n\n" + end},
		{name: "a token with a line break, no id", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(nil, `1\ndata: x`), status: 200, call: "WatchSettings",
			want: "data: {\"id\":\"\",\"resumeToken\":\"1\\ndata: x\"}\n\n" + end},
		{name: "a type without a token", request: "GET /api/things:watch", header: []string{accept}, status: 200, call: "WatchThings",
			answer: answers(thing(`title: "a\nb"`)),
			want:   "data: {\"id\":\"\",\"title\":\"a\\nb\",\"priceCents\":\"0\",\"tags\":[],\"createTime\":null,\"parent\":null}\n\n" + end},
		{name: "failed", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(status.Error(codes.Unauthenticated, "expired"), "1"), status: 200, call: "WatchSettings",
			want: event("1") + "event: error\ndata: {\"code\":16,\"message\":\"expired\",\"details\":[]}\n\n"},
		{name: "internal error", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(status.Error(codes.Internal, "pq: password")), status: 200, call: "WatchSettings",
			want: "event: error\ndata: {\"code\":13,\"message\":\"internal error\",\"details\":[]}\n\n"},
		{name: "unavailable with a delay", request: "GET /api/settings:watch", header: []string{accept}, answer: tells(later(t, 1500*time.Millisecond), "1"), status: 200, call: "WatchSettings",
			want: event("1") + "event: end\nretry: 1500\ndata: {\"code\":14,\"message\":\"stopping\",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"1.500s\"}]}\n\n"},
		{name: "unavailable before the first message", request: "GET /api/settings:watch", header: []string{accept}, answer: fails(later(t, 1500*time.Millisecond)), status: 503, call: "WatchSettings",
			want:  `{"code":14,"message":"stopping","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]}`,
			reply: []string{"Content-Type: application/json", "Retry-After: 2", "Cache-Control: no-store"}},
		{name: "refused", request: "GET /api/settings:watch", header: []string{accept}, answer: fails(status.Error(codes.Unauthenticated, "no")), status: 401, call: "WatchSettings",
			want: `{"code":16,"message":"no","details":[]}`, reply: []string{"Content-Type: application/json", `WWW-Authenticate: Bearer realm="gatehouse"`}},
		{name: "HEAD", request: "HEAD /api/settings:watch", header: []string{accept}, answer: tells(nil, "1"), status: 200, call: "WatchSettings", reply: []string{"Content-Type: text/event-stream"}},

		{name: "Last-Event-ID resumes", request: "GET /api/settings:watch", header: []string{accept, "Last-Event-ID: 7"}, answer: tells(nil), status: 200, call: `WatchSettings resume_token:"7"`, want: end},
		{name: "Last-Event-ID replaces the query", request: "GET /api/settings:watch?resume_token=3", header: []string{accept, "Last-Event-ID: 7"}, answer: tells(nil), status: 200, call: `WatchSettings resume_token:"7"`, want: end},
		{name: "Last-Event-ID replaces the body", request: "POST /api/settings:watch", body: `{"resumeToken":"3"}`, header: []string{accept, jsonBody, "Last-Event-ID: 7"}, answer: tells(nil), status: 200, call: `WatchSettings resume_token:"7"`, want: end},
		{name: "Last-Event-ID with JSON lines", request: "GET /api/settings:watch", header: []string{"Last-Event-ID: 7"}, answer: tells(nil, "8"), status: 200, call: `WatchSettings resume_token:"7"`, want: `{"result":{"id":"","resumeToken":"8"}}` + "\n"},
		{name: "Last-Event-ID ignored without resume_token", request: "GET /api/things:watch", header: []string{accept, "Last-Event-ID: 7"}, answer: answers(nil), status: 200, call: "WatchThings", want: end},
		{name: "two Last-Event-IDs", request: "GET /api/settings:watch", header: []string{accept, "Last-Event-ID: 7", "Last-Event-ID: 8"}, status: 400, want: `{"code":3,"message":"Last-Event-ID must be one value, in UTF-8","details":[]}`},
		{name: "Last-Event-ID not UTF-8", request: "GET /api/settings:watch", header: []string{accept, "Last-Event-ID: \xff"}, status: 400, want: `{"code":3,"message":"Last-Event-ID must be one value, in UTF-8","details":[]}`},

		{name: "JSON lines for */*", request: "GET /api/settings:watch", header: []string{"Accept: */*"}, answer: tells(nil), status: 200, call: "WatchSettings", reply: []string{"Content-Type: application/x-ndjson", "X-Accel-Buffering: no"}},
		{name: "JSON lines preferred", request: "GET /api/settings:watch", header: []string{"Accept: text/event-stream;q=0.5, application/x-ndjson"}, answer: tells(nil), status: 200, call: "WatchSettings", reply: []string{"Content-Type: application/x-ndjson"}},
		{name: "*/* preferred", request: "GET /api/settings:watch", header: []string{"Accept: text/event-stream;q=0.5, */*"}, answer: tells(nil), status: 200, call: "WatchSettings", reply: []string{"Content-Type: application/x-ndjson"}},
		{name: "events for both", request: "GET /api/settings:watch", header: []string{"Accept: application/x-ndjson, text/event-stream"}, answer: tells(nil), status: 200, call: "WatchSettings", want: end},
		{name: "events for events and */*", request: "GET /api/settings:watch", header: []string{"Accept: text/event-stream, */*"}, answer: tells(nil), status: 200, call: "WatchSettings", want: end},
		{name: "events for text/*", request: "GET /api/settings:watch", header: []string{"Accept: text/*"}, answer: tells(nil), status: 200, call: "WatchSettings", want: end},
		{name: "neither", request: "GET /api/settings:watch", header: []string{"Accept: text/html"}, status: 406, want: `{"code":3,"message":"this route answers with application/x-ndjson or text/event-stream, which the Accept header excludes","details":[]}`},
		{name: "no events of a unary call", request: "GET /api/things/1", header: []string{accept}, status: 406, want: `{"code":3,"message":"this route answers with application/json, which the Accept header excludes","details":[]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{answer: c.answer}
			method, target, _ := strings.Cut(c.request, " ")
			response := send(start(t, gateway.Config{}, b), method, target, c.header, c.body)
			if got := read(t, response); response.StatusCode != c.status || got != c.want {
				t.Errorf("%d\n got %q\nwant %q", response.StatusCode, got, c.want)
			}
			if got := b.call(); got != c.call {
				t.Errorf("called %q, want %q", got, c.call)
			}
			for _, line := range c.reply {
				name, value, _ := strings.Cut(line, ": ")
				if got := response.Header.Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
}

// TestHeartbeat checks that a silent stream gets comments, and a busy one does not.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		cfg      gateway.Config
		accept   string
		messages int
		every    time.Duration
		want     int // comments
	}{
		{"quiet for a minute", gateway.Config{}, "text/event-stream", 1, 61 * time.Second, 4},
		{"as set", gateway.Config{Limits: gateway.LimitsConfig{Heartbeat: time.Second}}, "text/event-stream", 1, 60500 * time.Millisecond, 60},
		{"busy", gateway.Config{}, "text/event-stream", 10, 14 * time.Second, 0},
		{"JSON lines have no comments", gateway.Config{}, "application/x-ndjson", 1, 61 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, stop := serve(t, over(t, c.cfg, &scripted{receive: func(n int, m proto.Message) error {
					if n > c.messages {
						return io.EOF
					}
					<-time.After(c.every)
					return nil
				}}))
				defer stop()
				go func() {
					_, _ = io.WriteString(client, "GET /api/settings:watch HTTP/1.1\r\nHost: x\r\nAccept: "+c.accept+"\r\nConnection: close\r\n\r\n")
				}()
				answer, _ := io.ReadAll(client)
				if got := strings.Count(string(answer), ":\n\n"); got != c.want {
					t.Errorf("%d comments, want %d: %q", got, c.want, answer)
				}
			})
		})
	}
}

// TestStreamReaderStalls checks that a client that keeps its connection and reads
// nothing ends call and goroutine after the time limit.
func TestStreamReaderStalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		quiet bool
		want  time.Duration
	}{
		{"while messages are sent", false, 30 * time.Second},
		{"while only heartbeats are sent", true, 45 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin, ended := time.Now(), make(chan time.Duration, 1)
				conn := &scripted{}
				conn.receive = func(n int, m proto.Message) error {
					if c.quiet || n > 1000 {
						<-conn.ctx.Done()
					}
					if err := conn.ctx.Err(); err != nil {
						select {
						case ended <- time.Since(begin):
						default:
						}
						return status.FromContextError(err).Err()
					}
					return nil
				}
				client, stop := serve(t, over(t, gateway.Config{}, conn))
				defer stop()
				if _, err := io.WriteString(client, "GET /api/settings:watch HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				for reader := bufio.NewReaderSize(client, 16); ; { // the header and little more
					if line, err := reader.ReadString('\n'); err != nil || line == "\r\n" {
						break
					}
				}
				if got := <-ended; got != c.want {
					t.Errorf("the call ended after %v, want %v", got, c.want)
				}
			})
		})
	}
}

// TestStreamOverHTTP2 checks that a write deadline ends with the write: HTTP/2
// resets a stream whose deadline passes.
func TestStreamOverHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, stop := serve(t, over(t, gateway.Config{Limits: gateway.LimitsConfig{Timeout: time.Second}}, &scripted{receive: func(n int, m proto.Message) error {
			if n > 3 {
				return io.EOF
			}
			<-time.After(time.Hour)
			return nil
		}}))
		defer stop()
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/api/settings:watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if got := strings.Count(string(body), "data: "); err != nil || got != 4 {
			t.Errorf("got %d events, %v, want 4: %s", got, err, body)
		}
	})
}

// TestShutdownEndsStreams checks that a stream ends with a message that tells the
// client when to reconnect, and that a new one gets the same.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"text/event-stream":    "event: end\nretry: 2000\ndata: {\"code\":14,",
		"application/x-ndjson": `{"error":{"code":14,`,
	} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{})
			g := start(t, gateway.Config{}, &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				if err := stream.SendHeader(metadata.Pairs("x-stream", "open")); err != nil {
					return nil, err
				}
				<-ctx.Done()
				close(gone)
				return nil, ctx.Err()
			}})
			server := httptest.NewUnstartedServer(nil)
			server.Config = g.Server()
			server.Start()
			t.Cleanup(server.Close)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/settings:watch", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Accept", accept)
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if err := server.Config.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-gone
			body, err := io.ReadAll(response.Body) // complete, not cut off
			if err != nil || !strings.HasPrefix(string(body), want) || !strings.Contains(string(body), "SERVER_STOPPING") {
				t.Errorf("got %s, %v; want %s with SERVER_STOPPING", body, err, want)
			}
			late := send(g, "GET", "/api/settings:watch", []string{"Accept: " + accept}, "")
			if got := read(t, late); late.StatusCode != 503 || late.Header.Get("Retry-After") != "2" {
				t.Errorf("then %d %s", late.StatusCode, got)
			}
		})
	}
}

// TestEventsEndWithClient checks that the call ends when the client closes the
// connection.
func TestEventsEndWithClient(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	g := start(t, gateway.Config{}, &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		if err := stream.SendMsg(answerOf("WatchSettings", `resume_token: "1"`)); err != nil {
			return nil, err
		}
		<-ctx.Done()
		close(gone)
		return nil, ctx.Err()
	}})
	server := httptest.NewUnstartedServer(nil)
	server.Config = g.Server()
	server.Start()
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/settings:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "id: 1\n" || err != nil {
		t.Fatalf("got %q, %v; want \"id: 1\"", line, err)
	}
	cancel()
	<-gone
}
