package gateway_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

const (
	things        = "/api/" + thingService
	connectJSON   = "Content-Type: application/json"
	connectStream = "Content-Type: application/connect+json"
	grpcWeb       = "Content-Type: application/grpc-web+json"
	version1      = "Connect-Protocol-Version: 1"
)

// envelope returns a message with its prefix in streams and gRPC-Web.
func envelope(flags byte, message string) string {
	prefix := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))
	return string(prefix) + message
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func failure(t *testing.T, code codes.Code, message string, details ...protoadapt.MessageV1) answerFunc {
	t.Helper()
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return fails(st.Err())
}

// TestRPC checks the protocols of generated clients byte by byte: Connect
// (connectrpc.com/docs/protocol) and gRPC-Web.
func TestRPC(t *testing.T) {
	t.Parallel()
	const (
		get        = things + "/GetThing"
		watch      = things + "/WatchThings"
		one        = `{"id":"1"}`
		noMethod   = `{"code":5,"message":"there is no such method","details":[]}`
		nothing    = `{"code":5,"message":"there is nothing at this path","details":[]}`
		unaryTypes = "application/json, application/proto, application/grpc-web, application/grpc-web+json, application/grpc-web+proto"
	)
	missing := &errdetails.ErrorInfo{Domain: "gatehouse", Reason: "TOKEN_MISSING"}
	query := func(more string) string { return get + "?encoding=json&message=" + url.QueryEscape(one) + more }
	cases := map[string][]struct {
		name    string
		request string
		header  []string
		body    string
		answer  answerFunc

		status int
		call   string
		want   string
		has    string
		reply  []string
	}{
		"Connect": {
			{name: "unary", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: answers(thing(`id: "1"`)), status: 200, call: `GetThing id:"1"`, want: one,
				reply: []string{"Content-Type: application/json", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"}},
			{name: "charset UTF-8", request: "POST " + get, header: []string{"Content-Type: application/json; charset=utf-8", version1}, body: one, status: 200, call: `GetThing id:"1"`, want: "{}"},
			{name: "binary", request: "POST " + get, header: []string{"Content-Type: application/proto", version1}, body: "\n\x011", answer: answers(thing(`id: "1"`)), status: 200, call: `GetThing id:"1"`, want: "\n\x011",
				reply: []string{"Content-Type: application/proto"}},
			{name: "a method without an annotation", request: "POST /api/" + statusService + "/GetPrivateRoute", header: []string{connectJSON, version1}, body: "{}", status: 200, call: "GetPrivateRoute",
				want: `{"message":"This is a private route"}`},
			{name: "unknown fields", request: "POST " + get, header: []string{connectJSON, version1}, body: `{"id":"1","new":1}`, status: 200, call: `GetThing id:"1"`, want: "{}"},
			{name: "not JSON", request: "POST " + get, header: []string{connectJSON, version1}, body: `{`, status: 400, has: `{"code":"invalid_argument"`},
			{name: "compressed", request: "POST " + get, header: []string{connectJSON, version1, "Content-Encoding: gzip"}, body: zipped(one), status: 200, call: `GetThing id:"1"`, want: "{}"},
			{name: "unknown compression", request: "POST " + get, header: []string{connectJSON, version1, "Content-Encoding: br"}, body: one, status: 501, has: `{"code":"unimplemented"`},
			{name: "stream", request: "POST " + watch, header: []string{connectStream, version1}, body: envelope(0, one), answer: answers(thing(`id: "1"`)), status: 200, call: `WatchThings id:"1"`,
				want: envelope(0, one) + envelope(2, "{}"), reply: []string{"Content-Type: application/connect+json"}},
			{name: "an empty stream", request: "POST " + watch, header: []string{connectStream, version1}, body: envelope(0, one), answer: answers(nil), status: 200, call: `WatchThings id:"1"`, want: envelope(2, "{}")},
			{name: "a stream without a request", request: "POST " + watch, header: []string{connectStream, version1}, status: 200, has: `"code":"unimplemented"`},
			{name: "a stream with two", request: "POST " + watch, header: []string{connectStream, version1}, body: envelope(0, one) + envelope(0, one), status: 200, has: `"code":"unimplemented"`},
		},
		"Connect by GET": {
			{name: "without side effects", request: "GET " + query("&connect=v1"), status: 200, call: `GetThing id:"1"`, answer: answers(thing(`id: "1"`)), want: one,
				reply: []string{"Content-Type: application/json", "Cache-Control: no-store", "Vary: Accept-Encoding"}},
			{name: "HEAD", request: "HEAD " + query("&connect=v1"), status: 200, call: `GetThing id:"1"`, want: ""},
			{name: "missing version", request: "GET " + query(""), status: 400, has: "connect=v1"},
			{name: "of another version", request: "GET " + query("&connect=v2"), status: 400, has: "connect=v1"},
			{name: "of two", request: "GET " + query("&connect=v1&connect=v1"), status: 400, has: "connect=v1"},
			{name: "with a body", request: "GET " + query("&connect=v1"), body: "x", status: 400, has: `{"code":"invalid_argument"`},
			{name: "a decompression bomb", request: "GET " + get + "?encoding=json&connect=v1&compression=gzip&base64=1&message=" + b64url(zipped(`{"id":"`+strings.Repeat("x", 2000)+`"}`)), status: 413, has: `{"code":"resource_exhausted"`},
			{name: "with side effects", request: "GET " + things + "/CreateThing?encoding=json&connect=v1&message=" + url.QueryEscape(`{}`), status: 405, reply: []string{"Allow: POST, OPTIONS"}},
			{name: "a stream", request: "GET " + watch + "?encoding=json&connect=v1&message=" + url.QueryEscape(one), status: 405, reply: []string{"Allow: POST, OPTIONS"}},
		},
		"gRPC-Web": {
			{name: "unary", request: "POST " + get, header: []string{grpcWeb, "X-Grpc-Web: 1"}, body: envelope(0, one), answer: answers(thing(`id: "1"`)), status: 200, call: `GetThing id:"1"`,
				has: envelope(0, one) + "\x80", reply: []string{"Content-Type: application/grpc-web+json"}},
			{name: "stream", request: "POST " + watch, header: []string{grpcWeb}, body: envelope(0, one), answer: answers(thing(`id: "1"`)), status: 200, call: `WatchThings id:"1"`, has: envelope(0, one) + "\x80"},
			{name: "refused", request: "POST " + get, header: []string{grpcWeb}, body: envelope(0, one), answer: failure(t, codes.Unauthenticated, "no", missing), status: 200, call: `GetThing id:"1"`, has: "grpc-status: 16",
				reply: []string{`WWW-Authenticate: Bearer realm="gatehouse"`}},
		},
		"errors": {
			{name: "unauthenticated", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: failure(t, codes.Unauthenticated, "no", missing), status: 401, call: `GetThing id:"1"`,
				has: `{"code":"unauthenticated","message":"no","details":[{"type":"google.rpc.ErrorInfo","value":"`, reply: []string{`WWW-Authenticate: Bearer realm="gatehouse"`, "Content-Type: application/json", "Cache-Control: no-store"}},
			{name: "permission denied", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: failure(t, codes.PermissionDenied, "no", &errdetails.ErrorInfo{Domain: "gatehouse", Reason: "SCOPE_MISSING", Metadata: map[string]string{"scope": "a"}}), status: 403, call: `GetThing id:"1"`,
				has: `"permission_denied"`, reply: []string{`WWW-Authenticate: Bearer realm="gatehouse", error="insufficient_scope", error_description="The access token lacks a scope that is needed.", scope="a"`}},
			{name: "a stream", request: "POST " + watch, header: []string{connectStream}, body: envelope(0, one), answer: failure(t, codes.Unauthenticated, "no", missing), status: 200, call: `WatchThings id:"1"`,
				has: `"unauthenticated"`, reply: []string{`WWW-Authenticate: Bearer realm="gatehouse"`}},
			{name: "unavailable", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: failure(t, codes.Unavailable, "later", &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}), status: 503, call: `GetThing id:"1"`,
				has: `"unavailable"`, reply: []string{"Retry-After: 2"}},
			{name: "internal error", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: failure(t, codes.Internal, "pq: password", &errdetails.DebugInfo{Detail: "stack"}), status: 500, call: `GetThing id:"1"`,
				want: `{"code":"internal","message":"internal error"}`},
			{name: "a stack trace", request: "POST " + get, header: []string{connectJSON, version1}, body: one, answer: failure(t, codes.NotFound, "no", &errdetails.DebugInfo{Detail: "stack"}), status: 404, call: `GetThing id:"1"`,
				want: `{"code":"not_found","message":"no"}`},
			{name: "two tokens (RFC 6750 section 3.1)", request: "POST " + get, header: []string{connectJSON, version1, "Authorization: Bearer a", "Authorization: Bearer b"}, body: one, status: 400, has: `{"code":"invalid_argument"`,
				reply: []string{`WWW-Authenticate: Bearer realm="gatehouse", error="invalid_request", error_description="Send one Authorization header."`}},
			{name: "If-Match", request: "POST " + get, header: []string{connectJSON, version1, `If-Match: "a"`}, body: one, status: 400, has: "does not support If-Match"},
			{name: "two tokens, gRPC-Web", request: "POST " + get, header: []string{grpcWeb, "Authorization: Bearer a", "Authorization: Bearer b"}, body: envelope(0, one), status: 200, reply: []string{"Grpc-Status: 3"}},
		},
		"limits": {
			{name: "a long body", request: "POST " + get, header: []string{connectJSON, version1}, body: `{"id":"` + strings.Repeat("x", 2000) + `"}`, status: 413, has: `{"code":"resource_exhausted"`},
			{name: "a long body, gRPC-Web", request: "POST " + get, header: []string{grpcWeb}, body: envelope(0, `{"id":"`+strings.Repeat("x", 2000)+`"}`), status: 200, reply: []string{"Grpc-Status: 8"}},
			{name: "a long body, stream", request: "POST " + watch, header: []string{connectStream}, body: envelope(0, `{"id":"`+strings.Repeat("x", 2000)+`"}`), status: 200, has: `"code":"resource_exhausted"`},
			{name: "a decompression bomb", request: "POST " + get, header: []string{connectJSON, version1, "Content-Encoding: gzip"}, body: zipped(`{"id":"` + strings.Repeat("x", 100000) + `"}`), status: 413, has: `{"code":"resource_exhausted"`},
			{name: "a decompression bomb, gRPC-Web", request: "POST " + get, header: []string{grpcWeb, "Grpc-Encoding: gzip"}, body: envelope(1, zipped(`{"id":"`+strings.Repeat("x", 100000)+`"}`)), status: 200, reply: []string{"Grpc-Status: 8"}},
			{name: "a decompression bomb, stream", request: "POST " + watch, header: []string{connectStream, "Connect-Content-Encoding: gzip"}, body: envelope(1, zipped(`{"id":"`+strings.Repeat("x", 100000)+`"}`)), status: 200, has: `"code":"resource_exhausted"`},
			{name: "a message that claims 4 GiB", request: "POST " + watch, header: []string{connectStream}, body: "\x00\xff\xff\xff\xff{}", status: 200, has: `"code":"resource_exhausted"`},
			{name: "a stream of requests", request: "POST " + things + "/UploadThings", header: []string{connectStream}, body: envelope(0, one), status: 200, has: `"code":"unimplemented","message":"a stream of requests is served over gRPC only`},
			{name: "streams both ways", request: "POST " + things + "/TradeThings", header: []string{grpcWeb}, body: envelope(0, one), status: 200, reply: []string{"Grpc-Status: 12"}},
		},
		"what is no call": {
			// A page of another site must not be able to call a method with a
			// simple request (CORS).
			{name: "JSON for REST", request: "POST " + get, header: []string{connectJSON}, body: one, status: 400, has: version1},
			{name: "binary without a version", request: "POST " + get, header: []string{"Content-Type: application/proto"}, status: 400, has: version1},
			{name: "another version", request: "POST " + get, header: []string{connectJSON, "Connect-Protocol-Version: 2"}, body: one, status: 400, has: version1},
			{name: "two versions", request: "POST " + get, header: []string{connectJSON, version1, version1}, body: one, status: 400, has: "one value"},
			{name: "no type", request: "POST " + get, header: []string{version1}, body: one, status: 415, reply: []string{"Accept-Post: " + unaryTypes}},
			{name: "two types", request: "POST " + get, header: []string{connectJSON, connectJSON, version1}, body: one, status: 415},
			{name: "text", request: "POST " + get, header: []string{"Content-Type: text/plain", version1}, body: one, status: 415, reply: []string{"Accept-Post: " + unaryTypes}},
			{name: "a form", request: "POST " + get, header: []string{"Content-Type: application/x-www-form-urlencoded", version1}, body: one, status: 415},
			{name: "another charset", request: "POST " + get, header: []string{"Content-Type: application/json; charset=utf-7", version1}, body: one, status: 415},
			{name: "gRPC", request: "POST " + get, header: []string{"Content-Type: application/grpc"}, body: envelope(0, ""), status: 415, has: "gRPC is served at the server's own address"},
			{name: "gRPC with a codec", request: "POST " + get, header: []string{"Content-Type: application/grpc+proto"}, body: envelope(0, ""), status: 415, has: "gRPC is served at the server's own address"},
			{name: "gRPC-Web in base64", request: "POST " + get, header: []string{"Content-Type: application/grpc-web-text"}, status: 415},
			{name: "a stream's type", request: "POST " + get, header: []string{connectStream}, body: envelope(0, one), status: 415},
			{name: "a stream by a unary type", request: "POST " + watch, header: []string{connectJSON, version1}, body: one, status: 415},
			{name: "PUT", request: "PUT " + get, header: []string{connectJSON, version1}, body: one, status: 405, reply: []string{"Allow: GET, HEAD, POST, OPTIONS"}},
			{name: "override (CVE-2026-37236)", request: "POST " + things + "/CreateThing", header: []string{connectJSON, version1, "X-HTTP-Method-Override: GET"}, body: "{}", status: 200, call: "CreateThing", want: "{}"},
			{name: "OPTIONS", request: "OPTIONS " + get, status: 204, reply: []string{"Allow: GET, HEAD, POST, OPTIONS"}},
		},
		"what is not there": {
			{name: "method", request: "POST " + things + "/Nothing", header: []string{connectJSON, version1}, body: "{}", status: 404, want: noMethod},
			{name: "method, gRPC-Web", request: "POST " + things + "/Nothing", header: []string{grpcWeb}, body: envelope(0, "{}"), status: 404, want: noMethod},
			{name: "in lower case", request: "POST " + things + "/getthing", header: []string{connectJSON, version1}, body: "{}", status: 404, want: noMethod},
			{name: "deeper", request: "POST " + get + "/1", header: []string{connectJSON, version1}, body: "{}", status: 404, want: noMethod},
			{name: "the service", request: "POST " + things, header: []string{connectJSON, version1}, body: "{}", status: 404, want: noMethod},
			{name: "service", request: "POST /api/gatewaytest.things.v1.Nothing/GetThing", header: []string{connectJSON, version1}, body: "{}", status: 404, want: nothing},
			{name: "a service that is not exposed: health", request: "POST /api/grpc.health.v1.Health/Check", header: []string{connectJSON, version1}, body: "{}", status: 404, want: nothing},
			{name: "a service that is not exposed: reflection", request: "POST /api/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", header: []string{connectStream}, body: envelope(0, "{}"), status: 404, want: nothing},
			{name: "outside /api", request: "POST /" + thingService + "/GetThing", header: []string{connectJSON, version1}, body: one, status: 404, want: nothing},
			{name: "an encoded slash", request: "POST /api/" + thingService + "%2FGetThing", header: []string{connectJSON, version1}, body: one, status: 400},
			{name: "encoded letters (RFC 3986 section 6.2.2.2)", request: "POST /api/gatewaytest%2Ethings.v1.ThingService/Get%54hing", header: []string{connectJSON, version1}, body: one, status: 200, call: `GetThing id:"1"`, want: "{}"},
		},
	}
	for group, list := range cases {
		for _, c := range list {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				b := &backend{answer: c.answer}
				method, target, _ := strings.Cut(c.request, " ")
				response := send(start(t, gateway.Config{Limits: gateway.LimitsConfig{MaxBodyBytes: 1000}}, b), method, target, c.header, c.body)
				got := read(t, response)
				if response.StatusCode != c.status || b.call() != c.call {
					t.Errorf("%d and the call %q, want %d and %q\n%s", response.StatusCode, b.call(), c.status, c.call, got)
				}
				got = strings.ReplaceAll(got, `": "`, `":"`) // the spaces of protojson vary
				if c.has == "" && c.want != got && (c.want != "" || c.status == 200 && c.reply == nil) || !strings.Contains(got, c.has) {
					t.Errorf("body\n got %q\nwant %q%q", got, c.want, c.has)
				}
				for _, line := range c.reply {
					name, value, _ := strings.Cut(line, ": ")
					if got := response.Header.Values(name); !cmp.Equal(got, []string{value}) {
						t.Errorf("%s: %q, want %q", name, got, value)
					}
				}
			})
		}
	}
}
