package gateway_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// testPeers has the address of the clients of httptest.
var testPeers = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}

// TestMetadata checks which header fields become metadata.
func TestMetadata(t *testing.T) {
	t.Parallel()
	const id = "X-Request-Id: abc"
	base := metadata.Pairs("x-request-id", "abc")
	cases := []struct {
		name   string
		header []string
		want   metadata.MD
	}{
		{"nothing", nil, nil},
		{"forwarded header fields", []string{"Authorization: Bearer t", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=1", "tracestate: b=2", "Accept-Language: de", "Accept-Language: en;q=0.5"},
			metadata.Pairs("authorization", "Bearer t", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=1,b=2", "accept-language", "de, en;q=0.5")},
		{"CVE-2026-18972", []string{"Grpc-Metadata-X-Role: admin", "Grpc-Metadata-Authorization: Bearer evil", "Grpc-Metadata-X-Forwarded-For: 1.2.3.4", "Grpcgateway-Host: evil"}, nil},
		{"cookies", []string{"Cookie: session=secret"}, nil},
		{"addresses", []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "Forwarded: for=1.2.3.4", "X-Real-Ip: 1.2.3.4"}, nil},
		{"permanent headers", []string{"Accept: application/json", "Origin: https://evil.example", "Referer: https://evil.example", "User-Agent: x", "If-Match: *", "Via: x", "From: a@b"}, nil},
		{"binary metadata", []string{"X-Token-Bin: AAAA", "Grpc-Metadata-X-Bin: AAAA"}, nil},
		{"underscores", []string{"X_request_id: evil", "X_Auth: evil"}, nil},
		{"several traceparents are none", []string{"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=1"}, nil},
		{"a malformed traceparent", []string{"traceparent: 00-1-2-01", "tracestate: a=1"}, nil},
		{"baggage", []string{"Baggage: user=ann"}, nil},
		{"not ASCII", []string{"Accept-Language: \xc3\xa9", "traceparent: \xc3\xa9"}, nil},
		{"a deadline of the client", []string{"Grpc-Timeout: 0S"}, nil},
		{"a malformed deadline", []string{"Grpc-Timeout: soon"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{}
			response := send(start(t, gateway.Config{TraceTrusted: testPeers}, b), "GET", "/api/private-route", append(c.header, id), "")
			if response.StatusCode != 200 {
				t.Fatalf("status %d: %s", response.StatusCode, read(t, response))
			}
			got := b.metadata()
			delete(got, "grpc-timeout") // set by the gateway; see TestTimeout
			if diff := cmp.Diff(metadata.Join(base, c.want), got); diff != "" {
				t.Errorf("metadata differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRequestID checks which ids of clients are kept.
func TestRequestID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64)
	for _, c := range []struct {
		name string
		sent []string
		kept bool
	}{
		{"safe", []string{"aZ09-_."}, true},
		{"maximum length", []string{long}, true},
		{"too long", []string{long + "x"}, false},
		{"empty", []string{""}, false},
		{"none", nil, false},
		{"two", []string{"a", "b"}, false},
		{"forged line", []string{"a level=ERROR"}, false},
		{"not ASCII", []string{"é"}, false},
		{"markup", []string{"<script>"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{}
			var header []string
			for _, id := range c.sent {
				header = append(header, "X-Request-Id: "+id)
			}
			response := send(start(t, gateway.Config{}, b), "GET", "/api", header, "")
			ids := response.Header.Values("X-Request-Id")
			if len(ids) != 1 || !requestid.Valid(ids[0]) {
				t.Fatalf("answered with %q", ids)
			}
			if kept := len(c.sent) == 1 && ids[0] == c.sent[0]; kept != c.kept {
				t.Errorf("kept %v, want %v: %q", kept, c.kept, ids)
			}
			if got := b.metadata()["x-request-id"]; !cmp.Equal(got, ids) {
				t.Errorf("the server saw %q, the client %q", got, ids)
			}
		})
	}
}

// TestLog checks that each request has one line, without secrets.
func TestLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, target, body string
		answer                     answerFunc
		want                       map[string]any
	}{
		{"a call", "GET", "/api/things/secret-id?", "", nil,
			map[string]any{"level": "INFO", "msg": "request", "method": "GET", "route": "/api/things/{id}", "rpc": "/gatewaytest.things.v1.ThingService/GetThing", "status": 200.0, "request_id": "abc"}},
		{"refused by query", "GET", "/api/private-route?token=secret-query", "", nil,
			map[string]any{"level": "INFO", "msg": "request", "method": "GET", "route": "/api/private-route", "rpc": "/gatewaytest.status.v1.StatusService/GetPrivateRoute", "status": 400.0, "request_id": "abc"}},
		{"no route", "GET", "/api/secret-path", "", nil,
			map[string]any{"level": "INFO", "msg": "request", "method": "GET", "route": "-", "rpc": "", "status": 404.0, "request_id": "abc"}},
		{"an unknown method", "SECRET-METHOD", "/api", "", nil,
			map[string]any{"level": "INFO", "msg": "request", "method": "_OTHER", "route": "-", "rpc": "", "status": 405.0, "request_id": "abc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			logger := slog.New(logs.Handler(slog.NewJSONHandler(&out, nil)))
			g := start(t, gateway.Config{Logger: logger}, &backend{answer: c.answer})
			send(g, c.method, c.target, []string{"X-Request-Id: abc", "Authorization: Bearer secret-token", "Cookie: secret-cookie", "Accept-Language: secret-language"}, c.body)
			if strings.Contains(strings.ToLower(out.String()), "secret") {
				t.Errorf("logged what is secret: %s", &out)
			}
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil { // fails if there are two lines
				t.Fatalf("got %v, want one line: %s", err, &out)
			}
			for _, name := range []string{"time", "duration", "bytes", "client"} {
				if _, ok := got[name]; !ok {
					t.Errorf("%s is not logged", name)
				}
				delete(got, name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("line differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLogBehindAnotherPart checks that a part in front, in this process, gets what
// only the gateway knows for its line, and that the gateway logs at debug level.
func TestLogBehindAnotherPart(t *testing.T) {
	t.Parallel()
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		var outer, own bytes.Buffer
		front := slog.New(slog.NewJSONHandler(&outer, nil))
		g := start(t, gateway.Config{Logger: slog.New(slog.NewJSONHandler(&own, &slog.HandlerOptions{Level: level}))}, &backend{})
		ctx, line := accesslog.Begin(t.Context(), front, false)
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/things/1", nil)
		g.ServeHTTP(httptest.NewRecorder(), r)
		line.Write(ctx, front, slog.LevelInfo)
		var got map[string]any
		if err := json.Unmarshal(outer.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got["route"] != "/api/things/{id}" || got["rpc"] != "/gatewaytest.things.v1.ThingService/GetThing" {
			t.Errorf("the line is %v", got)
		}
		if lines := strings.Count(own.String(), "\n"); lines != 1 && level == slog.LevelDebug || lines != 0 && level == slog.LevelInfo {
			t.Errorf("at level %v our own log is %q", level, own.String())
		}
	}
}

// TestLogHasCause checks that the log has the part of an error that the client does
// not get.
func TestLogHasCause(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(logs.Handler(slog.NewJSONHandler(&out, nil)))
	g := start(t, gateway.Config{Logger: logger}, &backend{answer: fails(status.Error(codes.Internal, "the cause"))})
	response := send(g, "GET", "/api", []string{"X-Request-Id: abc"}, "")
	if got := read(t, response); strings.Contains(got, "the cause") {
		t.Errorf("the client got %s", got)
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	for _, part := range []string{`"level":"WARN"`, `"status":500`, `"code":"Internal"`, `"err":"the cause"`, `"rpc":"/gatewaytest.status.v1.StatusService/GetStatus"`, `"request_id":"abc"`} {
		if !strings.Contains(first, part) {
			t.Errorf("%s lacks %s", first, part)
		}
	}
}
