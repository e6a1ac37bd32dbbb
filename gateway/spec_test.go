package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

const jsonBody = "Content-Type: application/json"

// TestREST is the specification of the facade: a request, the call that the server
// gets, the answer, and the source of the requirement. ProtoJSON is
// https://protobuf.dev/programming-guides/json. Other tests specify challenges
// (TestChallenge), metadata (TestMetadata, TestRequestID), streams (TestStream,
// TestEvents), compression (TestCompression), CORS (TestCORS), limits and deadlines
// (TestTimeout, TestSlowClients, TestSlowloris) and generated clients (TestRPC).
func TestREST(t *testing.T) {
	t.Parallel()
	failure := func(code codes.Code, message string, details ...protoadapt.MessageV1) answerFunc {
		st, err := status.New(code, message).WithDetails(details...)
		if err != nil {
			t.Fatal(err)
		}
		return fails(st.Err())
	}
	const none = ""
	tagged := func(tag string) answerFunc { return answers(answerOf("GetSetting", fmt.Sprintf("etag: %q", tag))) }
	cases := map[string][]struct {
		name    string
		source  string   // of the requirement
		request string   // method and target
		header  []string // lines
		body    string
		answer  answerFunc

		status int
		call   string // that the server got, "" if it must not be called
		want   string // body
		empty  bool   // there must be no body
		has    string // part of a long body
		reply  []string
	}{
		"the tutorial": {
			{name: "status is text", source: "docs/rest.md, Addresses", request: "GET /api", status: 200, call: "GetStatus", want: "Server Running...",
				reply: []string{"Content-Type: text/plain; charset=utf-8", "Content-Length: 17"}},
			{name: "status is text even if JSON is preferred", source: "docs/rest.md, Addresses", request: "GET /api", header: []string{"Accept: application/json"}, status: 200, call: "GetStatus", want: "Server Running..."},
			{name: "private route", source: "docs/rest.md, Addresses", request: "GET /api/private-route", status: 200, call: "GetPrivateRoute", want: `{"message":"This is a private route"}`,
				reply: []string{"Content-Type: application/json", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"}},
			{name: "everything else", source: "docs/rest.md, Errors", request: "GET /api/nothing", status: 404, want: `{"code":5,"message":"there is nothing at this path","details":[]}`,
				reply: []string{"Content-Type: application/json", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"}},
			{name: "outside the API", source: "docs/rest.md, Errors", request: "GET /", status: 404, want: `{"code":5,"message":"there is nothing at this path","details":[]}`},
			{name: "prefix without a slash", source: "docs/rest.md, Addresses", request: "GET /apiary", status: 404, has: "nothing at this path"},
			{name: "the bff's paths", source: "docs/rest.md, Addresses", request: "GET /api/auth/login", status: 404, has: "nothing at this path"},
		},
		"methods": {
			{name: "HEAD is GET without a body", source: "RFC 9110 §9.3.2", request: "HEAD /api/private-route", status: 200, call: "GetPrivateRoute", want: none,
				reply: []string{"Content-Length: 37", "Content-Type: application/json"}},
			{name: "a header too long for servers", source: "RFC 6585 §5", request: "GET /api/private-route", header: []string{"Authorization: Bearer " + strings.Repeat("x", 32<<10)}, status: 431, has: "longer than 28672 bytes"},
			{name: "a long token", source: "RFC 6750 §3.1", request: "GET /api/private-route", header: []string{"Authorization: Bearer " + strings.Repeat("x", 20<<10)}, status: 200, call: "GetPrivateRoute"},
			{name: "HEAD without a route", source: "RFC 9110 §9.3.2", request: "HEAD /api/nothing", status: 404, want: none},
			{name: "OPTIONS", source: "RFC 9110 §9.3.7", request: "OPTIONS /api/things/1", status: 204, want: none, reply: []string{"Allow: DELETE, GET, HEAD, PATCH, PUT, OPTIONS"}},
			{name: "OPTIONS without a route", source: "RFC 9110 §9.3.7", request: "OPTIONS /api/nothing", status: 404, has: "nothing at this path"},
			{name: "405 names the methods", source: "RFC 9110 §15.5.6", request: "POST /api/private-route", status: 405,
				want:  `{"code":12,"message":"this path is served for GET, HEAD, OPTIONS only","details":[]}`,
				reply: []string{"Allow: GET, HEAD, OPTIONS"}},
			{name: "HEAD where there is no GET", source: "RFC 9110 §15.5.6", request: "HEAD /api/things:import", status: 405, reply: []string{"Allow: POST, OPTIONS"}},
			{name: "an unknown method", source: "RFC 9110 §15.5.6", request: "BREW /api", status: 405, has: "served for GET", reply: []string{"Allow: GET, HEAD, OPTIONS"}},
			{name: "method override", source: "CVE-2026-37236", request: "POST /api/things", header: []string{jsonBody, "X-HTTP-Method-Override: GET"}, body: `{}`,
				status: 200, call: "CreateThing thing:{}"},
			{name: "override to DELETE of a form", source: "CVE-2026-37236", request: "POST /api/things/1", header: []string{"Content-Type: application/x-www-form-urlencoded", "X-HTTP-Method-Override: DELETE"}, body: "a=b", status: 405},
			{name: "form POST is not GET", source: "CVE-2026-37236", request: "POST /api/private-route", header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: "a=b", status: 405},
			{name: "additional binding", source: "google/api/http.proto", request: "GET /api/old-things/1", status: 200, call: `GetThing id:"1"`},
			{name: "custom verb", source: "AIP-136", request: "POST /api/things/1:archive", status: 200, call: `ArchiveThing id:"1"`},
		},
		"paths": {
			{name: "trailing slash is another path", source: "RFC 3986 §6", request: "GET /api/", status: 404, has: "leave out the slash"},
			{name: "trailing slash is not an empty name", source: "RFC 3986 §6", request: "GET /api/things/", status: 404, has: "leave out the slash"},
			{name: "empty segment", source: "RFC 3986 §3.3", request: "GET /api//private-route", status: 404, has: "nothing at this path"},
			{name: "two leading slashes", source: "RFC 3986 §3.3", request: "GET //api/private-route", status: 404},
			{name: "case-sensitive", source: "RFC 3986 §6.2.2.1", request: "GET /API/private-route", status: 404},
			{name: "dot segments", source: "RFC 3986 §6.2.2.3", request: "GET /api/things/../private-route", status: 400, has: "dot segment"},
			{name: "encoded dot segments", source: "RFC 3986 §6.2.2.3", request: "GET /api/things/%2e%2E/private-route", status: 400, has: "dot segment"},
			{name: "encoded slash", source: "CWE-22", request: "GET /api/things/a%2Fb", status: 400, has: "encoded slash"},
			{name: "encoded slash, small letters", source: "CWE-22", request: "GET /api/files/a%2fb", status: 400, has: "encoded slash"},
			{name: "encoded backslash", source: "CWE-22", request: "GET /api/things/a%5Cb", status: 400, has: "backslash"},
			{name: "double-encoded slash is decoded once", source: "CWE-174", request: "GET /api/things/a%252Fb", status: 200, call: `GetThing id:"a%2Fb"`},
			{name: "double-encoded slash with other escapes", source: "CWE-174", request: "GET /api/things/a%252Fb%3Ac", status: 200, call: `GetThing id:"a%2Fb:c"`},
			{name: "control character", source: "RFC 3986 §3.3", request: "GET /api/things/a%00b", status: 400, has: "control character"},
			{name: "not UTF-8", source: "RFC 3629", request: "GET /api/things/%ff", status: 400, has: "not UTF-8"},
			{name: "escapes are decoded", source: "RFC 3986 §2.1", request: "GET /api/things/caf%C3%A9%20%26%20bar", status: 200, call: `GetThing id:"café & bar"`},
			{name: "an encoded colon does not begin a verb", source: "RFC 3986 §2.2", request: "POST /api/things/1%3Aarchive", status: 405, reply: []string{"Allow: DELETE, GET, HEAD, PATCH, PUT, OPTIONS"}},
			{name: "an encoded colon is part of a name", source: "RFC 3986 §2.2", request: "GET /api/things/auth0%3A1", status: 200, call: `GetThing id:"auth0:1"`},
			{name: "unreserved characters may be encoded", source: "RFC 3986 §6.2.2.2", request: "GET /api/private%2Droute", status: 200, call: "GetPrivateRoute"},
			{name: "several segments", source: "google/api/http.proto", request: "GET /api/files/a/b%20c/d", status: 200, call: `ReadFile path:"a/b c/d"`, want: "Server Running..."},
		},
		"bodies": {
			{name: "JSON", source: "google/api/http.proto", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":"x","priceCents":"12"}`, status: 200, call: `CreateThing thing:{title:"x" price_cents:12}`},
			{name: "proto names too", source: "ProtoJSON", request: "POST /api/things", header: []string{jsonBody}, body: `{"price_cents":12}`, status: 200, call: `CreateThing thing:{price_cents:12}`},
			{name: "charset", source: "RFC 9110 §8.3.1", request: "POST /api/things", header: []string{"Content-Type: Application/JSON; charset=UTF-8"}, body: `{}`, status: 200, call: `CreateThing thing:{}`},
			{name: "another charset", source: "RFC 8259 §8.1", request: "POST /api/things", header: []string{"Content-Type: application/json; charset=utf-16"}, body: `{}`, status: 415, has: "application/json"},
			{name: "text/plain (CSRF)", source: "WHATWG Fetch, CORS-safelisted", request: "POST /api/things", header: []string{"Content-Type: text/plain"}, body: `{}`, status: 415, has: "application/json"},
			{name: "a form", source: "WHATWG Fetch, CORS-safelisted", request: "POST /api/things", header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: `a=b`, status: 415},
			{name: "no type", source: "RFC 9110 §15.5.16", request: "POST /api/things", body: `{}`, status: 415, want: `{"code":3,"message":"the Content-Type must be application/json, in UTF-8","details":[]}`},
			{name: "two types", source: "RFC 9110 §5.3", request: "POST /api/things", header: []string{jsonBody, "Content-Type: text/plain"}, body: `{}`, status: 415},
			{name: "compressed", source: "RFC 9110 §15.5.16", request: "POST /api/things", header: []string{jsonBody, "Content-Encoding: gzip"}, body: `{}`, status: 415, has: "Content-Encoding"},
			{name: "trailing data", source: "RFC 8259 §2", request: "POST /api/things", header: []string{jsonBody}, body: `{} {}`, status: 400, has: "exactly one JSON value"},
			{name: "trailing space", source: "RFC 8259 §2", request: "POST /api/things", header: []string{jsonBody}, body: "{}\n", status: 200, call: `CreateThing thing:{}`},
			{name: "empty", source: "RFC 8259 §2", request: "POST /api/things", header: []string{jsonBody}, status: 400, has: "is empty"},
			{name: "not JSON", source: "RFC 8259 §2", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":`, status: 400, has: "exactly one JSON value"},
			{name: "null", source: "ProtoJSON", request: "PUT /api/things/1", header: []string{jsonBody}, body: `null`, status: 400, has: "request body"},
			{name: "a list", source: "ProtoJSON", request: "PUT /api/things/1", header: []string{jsonBody}, body: `[]`, status: 400, has: "request body"},
			{name: "unknown field", source: "ProtoJSON, unknown fields", request: "POST /api/things", header: []string{jsonBody}, body: `{"titel":"x"}`, status: 400, want: `{"code":3,"message":"request body: thing.titel is unknown: thing has no field \"titel\"","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"thing.titel","description":"is unknown: thing has no field \"titel\""}]}]}`},
			{name: "unknown nested field", source: "ProtoJSON, unknown fields", request: "POST /api/things", header: []string{jsonBody}, body: `{"parent":{"titel":"x"}}`, status: 400, has: `\"titel\"`},
			{name: "duplicate field", source: "RFC 8259 §4", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":"x","title":"y"}`, status: 400, has: "duplicate"},
			{name: "wrong type", source: "ProtoJSON", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":1}`, status: 400, has: "title"},
			{name: "not UTF-8", source: "RFC 3629", request: "POST /api/things", header: []string{jsonBody}, body: "{\"title\":\"\xff\"}", status: 400, has: "UTF-8"},
			{name: "maximum length", source: "RFC 9110 §15.5.14", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":"` + strings.Repeat("x", 88) + `"}`, status: 200, call: `CreateThing thing:{title:"` + strings.Repeat("x", 88) + `"}`},
			{name: "too long", source: "RFC 9110 §15.5.14", request: "POST /api/things", header: []string{jsonBody}, body: `{"title":"` + strings.Repeat("x", 89) + `"}`, status: 413, want: `{"code":3,"message":"the request body is longer than 100 bytes","details":[]}`},
			{name: "body without a field", source: "RFC 9110 §9.3.5", request: "DELETE /api/things/1", header: []string{jsonBody}, body: `{"id":"2"}`, status: 400, has: "takes no request body"},
			{name: "form without a field", source: "WHATWG Fetch, CORS-safelisted", request: "POST /api/things/1:archive", header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: "id=2", status: 400, has: "takes no request body"},
		},
		"queries": {
			{name: "fields", source: "google/api/http.proto", request: "GET /api/things?page_size=3&tags=a&tags=b", status: 200, call: `ListThings page_size:3 tags:"a" tags:"b"`, want: `{"things":[]}`},
			{name: "JSON names", source: "ProtoJSON", request: "GET /api/things?pageSize=3", status: 200, call: `ListThings page_size:3`},
			{name: "nested", source: "google/api/http.proto", request: "GET /api/things?like.priceCents=3&like.parent.create_time=2026-01-02T03:04:05Z", status: 200,
				call: `ListThings like:{price_cents:3 parent:{create_time:{seconds:1767323045}}}`},
			{name: "map", source: "docs/rest.md, Requests", request: "GET /api/things?labels[a]=b", status: 200, call: `ListThings labels:{key:"a" value:"b"}`},
			{name: "unknown", source: "docs/rest.md, Requests", request: "GET /api/things?page_sise=3", status: 400,
				want: `{"code":3,"message":"query parameter \"page_sise\" is unknown: no field of the request has that name","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"page_sise","description":"is unknown: no field of the request has that name"}]}]}`},
			{name: "unknown on a route without fields", source: "docs/rest.md, Requests", request: "GET /api/private-route?x=1", status: 400, has: `\"x\"`},
			{name: "unknown nested", source: "docs/rest.md, Requests", request: "GET /api/things?like.prise=3", status: 400, has: `\"like.prise\"`},
			{name: "below a scalar", source: "docs/rest.md, Requests", request: "GET /api/things?pageSize.x=3", status: 400, has: `\"pageSize.x\"`},
			{name: "both names of one field", source: "docs/rest.md, Requests", request: "GET /api/things?page_size=3&pageSize=4", status: 400, has: "page_size"},
			{name: "twice", source: "docs/rest.md, Requests", request: "GET /api/things?page_size=3&page_size=4", status: 400, has: "page_size"},
			{name: "wrong type", source: "google/api/http.proto", request: "GET /api/things?page_size=x", status: 400, has: "page_size"},
			{name: "map without key", source: "docs/rest.md, Requests", request: "GET /api/things?labels=b", status: 400, has: "labels[key]"},
			{name: "key without map", source: "docs/rest.md, Requests", request: "GET /api/things?tags[a]=b", status: 400, has: "no map"},
			{name: "not UTF-8", source: "docs/rest.md, Requests", request: "GET /api/things?tags=%ff", status: 400, has: "UTF-8"},
			{name: "not UTF-8 in a key", source: "docs/rest.md, Requests", request: "GET /api/things?labels[%ff]=x", status: 400, has: "UTF-8"},
			{name: "semicolons", source: "WHATWG URL §5.1", request: "GET /api/things?tags=a;tags=b", status: 400, has: "malformed"},
			{name: "bad escape", source: "RFC 3986 §2.1", request: "GET /api/things?tags=%zz", status: 400, has: "malformed"},
			{name: "deep nesting", source: "CWE-674", request: "GET /api/things?like" + strings.Repeat(".parent", 40) + ".id=x", status: 400, has: "too deeply"},
			{name: "with a body", source: "docs/rest.md, Requests", request: "POST /api/things?dry_run=true", header: []string{jsonBody}, body: `{}`, status: 200, call: `CreateThing thing:{} dry_run:true`},
			{name: "of a POST without a body", source: "docs/rest.md, Requests", request: "POST /api/things/1:archive?title=x", status: 400, has: `\"title\"`},
		},
		"path, body and query": {
			{name: "path replaces body", source: "google/api/http.proto", request: "PUT /api/things/1", header: []string{jsonBody}, body: `{"id":"2","title":"x"}`, status: 200, call: `ReplaceThing id:"1" title:"x"`},
			{name: "path replaces nested body", source: "google/api/http.proto", request: "PATCH /api/things/1", header: []string{jsonBody}, body: `{"id":"2"}`, status: 200, call: `UpdateThing thing:{id:"1"}`},
			{name: "query of a path field", source: "google/api/http.proto", request: "GET /api/things/1?id=2", status: 400, has: "the path fills"},
			{name: "query of a body field", source: "google/api/http.proto", request: "POST /api/things?thing.title=x", header: []string{jsonBody}, body: `{}`, status: 400, has: "the body fills"},
			{name: "query of the body", source: "google/api/http.proto", request: "PATCH /api/things/1?thing=x", header: []string{jsonBody}, body: `{}`, status: 400, has: "fills"},
			{name: "query with a body of the whole message", source: "google/api/http.proto", request: "PUT /api/things/1?title=y", header: []string{jsonBody}, body: `{"title":"x"}`, status: 400, has: "the body fills"},
			{name: "field mask by query", source: "AIP-134", request: "PATCH /api/things/1?update_mask=title,tags", header: []string{jsonBody}, body: `{"title":"x"}`, status: 200,
				call: `UpdateThing thing:{id:"1" title:"x"} update_mask:{paths:"title" paths:"tags"}`},
		},
		"answers": {
			{name: "every field", source: "docs/rest.md, Responses", request: "GET /api/things/1", answer: answers(thing(`id: "1" price_cents: 9007199254740993 create_time { seconds: 1767323045 } tags: "a: b, \"c\" \\"`)), status: 200, call: `GetThing id:"1"`,
				want: `{"id":"1","title":"","priceCents":"9007199254740993","tags":["a: b, \"c\" \\"],"createTime":"2026-01-02T03:04:05Z","parent":null}`},
			{name: "empty", source: "ProtoJSON", request: "DELETE /api/things/1", status: 200, call: `DeleteThing id:"1"`, want: `{}`},
			{name: "a type of its own", source: "google/api/httpbody.proto", request: "GET /api/files/a", answer: answers(&httpbody.HttpBody{ContentType: "audio/flac", Data: []byte("fLaC")}), status: 200, call: `ReadFile path:"a"`,
				want: "fLaC", reply: []string{"Content-Type: audio/flac", "X-Content-Type-Options: nosniff"}},
			{name: "no type at all", source: "WHATWG MIME Sniffing", request: "GET /api/files/a", answer: answers(&httpbody.HttpBody{Data: []byte("<script>")}), status: 200, call: `ReadFile path:"a"`,
				want: "<script>", reply: []string{"Content-Type: application/octet-stream", "Content-Disposition: attachment"}},
			// Uploaded content must not run as the application.
			{name: "HTML", source: "CSP3 §6.3.2", request: "GET /api/files/a", answer: answers(&httpbody.HttpBody{ContentType: "Text/HTML", Data: []byte("<script>")}), status: 200, call: `ReadFile path:"a"`,
				want: "<script>", reply: []string{"Content-Type: Text/HTML", "Content-Disposition: attachment", "Content-Security-Policy: sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"}},
			{name: "SVG", source: "CSP3 §6.3.2", request: "GET /api/files/a", answer: answers(&httpbody.HttpBody{ContentType: "image/svg+xml", Data: []byte("<svg/>")}), status: 200, call: `ReadFile path:"a"`,
				want: "<svg/>", reply: []string{"Content-Type: image/svg+xml", "Content-Disposition: attachment", "Content-Security-Policy: sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"}},
			{name: "Cache-Control passes, other metadata does not", source: "RFC 9111 §5.2", request: "GET /api/private-route", status: 200, call: "GetPrivateRoute",
				answer: func(ctx context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
					stream.SetTrailer(metadata.Pairs("x-secret-trailer", "1"))
					if err := stream.SetHeader(metadata.Pairs("cache-control", "private, max-age=60", "etag", `"1"`, "x-secret", "1", "set-cookie", "a=b")); err != nil {
						return nil, err
					}
					return usual(ctx, request, stream)
				},
				header: []string{"TE: trailers"},
				reply:  []string{"Cache-Control: private, max-age=60", `Etag: "1"`, "X-Secret: ", "Set-Cookie: ", "Grpc-Metadata-X-Secret: ", "Trailer: ", "Transfer-Encoding: "}},
		},
		"Accept": {
			{name: "anything", source: "RFC 9110 §12.5.1", request: "GET /api/private-route", header: []string{"Accept: */*"}, status: 200, call: "GetPrivateRoute"},
			{name: "as a browser", source: "RFC 9110 §12.5.1", request: "GET /api/private-route", header: []string{"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, status: 200, call: "GetPrivateRoute"},
			{name: "by major type", source: "RFC 9110 §12.5.1", request: "GET /api/private-route", header: []string{"Accept: application/*"}, status: 200, call: "GetPrivateRoute"},
			{name: "something else", source: "RFC 9110 §15.5.7", request: "GET /api/private-route", header: []string{"Accept: text/html"}, status: 406, has: "application/json"},
			{name: "all but JSON", source: "RFC 9110 §15.5.7", request: "GET /api/private-route", header: []string{"Accept: application/json;q=0, */*"}, status: 406},
			{name: "any Accept for an HttpBody", source: "RFC 9110 §12.5.1", request: "GET /api", header: []string{"Accept: text/plain"}, status: 200, call: "GetStatus"},
			{name: "nonsense", source: "RFC 9110 §12.5.1", request: "GET /api/private-route", header: []string{"Accept: ,;;x"}, status: 200, call: "GetPrivateRoute"},
			{name: "a problem accepted, no error", source: "RFC 9457", request: "GET /api/private-route", header: []string{"Accept: application/problem+json"}, status: 200, call: "GetPrivateRoute", reply: []string{"Content-Type: application/json"}},
			{name: "RFC 9457", source: "RFC 9457", request: "GET /api/nothing", header: []string{"Accept: application/json, application/problem+json"}, status: 404,
				want:  `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this path","code":5,"details":[]}`,
				reply: []string{"Content-Type: application/problem+json"}},
			{name: "RFC 9457, lower quality", source: "RFC 9457", request: "GET /api/nothing", header: []string{"Accept: application/json, application/problem+json;q=0.5"}, status: 404, reply: []string{"Content-Type: application/json"}},
			{name: "RFC 9457 of a call", source: "RFC 9457", request: "GET /api/things/1", header: []string{"Accept: application/problem+json"}, answer: failure(codes.NotFound, "no such thing"), status: 404, call: `GetThing id:"1"`,
				want: `{"type":"about:blank","title":"Not Found","status":404,"detail":"no such thing","code":5,"details":[]}`},
		},
		"conditional requests": {
			{name: "the entity tag of the answer", source: "RFC 9110 §8.8.3", request: "GET /api/settings/1", answer: tagged(`"a"`), status: 200, call: `GetSetting id:"1"`, want: `{"id":"","etag":"\"a\""}`, reply: []string{`ETag: "a"`}},
			{name: "a weak one", source: "RFC 9110 §8.8.3", request: "GET /api/settings/1", answer: tagged(`W/"a"`), status: 200, call: `GetSetting id:"1"`, reply: []string{`ETag: W/"a"`}},
			{name: "the entity tag of a change", source: "RFC 9110 §8.8.3", request: "PATCH /api/settings/1", header: []string{jsonBody}, body: `{}`, answer: tagged(`"b"`), status: 200, call: `UpdateSetting setting:{id:"1"}`, reply: []string{`ETag: "b"`}},
			{name: "without quotation marks", source: "RFC 9110 §8.8.3", request: "GET /api/settings/1", answer: tagged("a"), status: 200, call: `GetSetting id:"1"`, reply: []string{"ETag: "}},
			{name: "none", source: "RFC 9110 §8.8.3", request: "GET /api/settings/1", answer: tagged(""), status: 200, call: `GetSetting id:"1"`, reply: []string{"ETag: "}},
			{name: "the service's header", source: "RFC 9110 §8.8.3", request: "GET /api/settings/1", status: 200, call: `GetSetting id:"1"`, reply: []string{`ETag: "h"`},
				answer: func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
					return answerOf("GetSetting", `etag: "\"a\""`), stream.SetHeader(metadata.Pairs("etag", `"h"`))
				}},
			{name: "If-None-Match", source: "RFC 9110 §13.1.2", request: "GET /api/settings/1", header: []string{`If-None-Match: "x", W/"a"`}, answer: tagged(`"a"`), status: 304, call: `GetSetting id:"1"`, want: none, empty: true,
				reply: []string{`ETag: "a"`, "Content-Type: ", "Content-Length: "}},
			{name: "If-None-Match of HEAD", source: "RFC 9110 §13.1.2", request: "HEAD /api/settings/1", header: []string{`If-None-Match: *`}, answer: tagged(`"a"`), status: 304, call: `GetSetting id:"1"`, want: none, reply: []string{`ETag: "a"`}},
			{name: "If-None-Match of another state", source: "RFC 9110 §13.1.2", request: "GET /api/settings/1", header: []string{`If-None-Match: "b"`}, answer: tagged(`"a"`), status: 200, call: `GetSetting id:"1"`, reply: []string{`ETag: "a"`}},
			{name: "If-None-Match without an entity tag", source: "RFC 9110 §13.1.2", request: "GET /api/things/1", header: []string{`If-None-Match: "b"`}, status: 200, call: `GetThing id:"1"`},
			{name: "If-None-Match of a write", source: "RFC 9110 §13.1.2", request: "PUT /api/settings/1", header: []string{jsonBody, "If-None-Match: *"}, body: `{}`, status: 400, has: "does not support If-None-Match"},
			{name: "If-Match fills the request", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{`If-Match: "a"`}, status: 200, call: `DeleteSetting id:"1" etag:"\"a\""`},
			{name: "If-Match with a body", source: "RFC 9110 §13.1", request: "PUT /api/settings/1", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 200, call: `ReplaceSetting id:"1" etag:"\"a\""`},
			{name: "If-Match fills the resource", source: "AIP-154", request: "PATCH /api/settings/1", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 200, call: `UpdateSetting setting:{id:"1" etag:"\"a\""}`},
			{name: "If-Match equal to the body", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1?etag=%22a%22", header: []string{`If-Match: "a"`}, status: 200, call: `DeleteSetting id:"1" etag:"\"a\""`},
			{name: "If-Match different from the body", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1?etag=%22b%22", header: []string{`If-Match: "a"`}, status: 400,
				want: `{"code":3,"message":"If-Match and the request's etag are not the same","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"etag","description":"differs from If-Match"}]}]}`},
			{name: "any state", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{"If-Match: *"}, status: 200, call: `DeleteSetting id:"1"`},
			{name: "a weak tag", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{`If-Match: W/"a"`}, status: 412, has: "ETAG_MISMATCH"},
			{name: "no tag", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{"If-Match: a"}, status: 400, has: "quotation marks"},
			{name: "several", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{`If-Match: "a", "b"`}, status: 400, has: "one entity tag"},
			{name: "If-Match not supported", source: "RFC 9110 §13.1", request: "DELETE /api/things/1", header: []string{`If-Match: "a"`}, status: 400, has: "does not support If-Match"},
			{name: "If-Match: * not supported", source: "docs/rest.md, Conditions", request: "DELETE /api/things/1", header: []string{`If-Match: *`}, status: 400, has: "does not support If-Match"},
			{name: "If-Match of a create", source: "AIP-133", request: "POST /api/settings", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 400, has: "does not support If-Match"},
			{name: "If-Match: * of a create", source: "AIP-133", request: "POST /api/settings", header: []string{jsonBody, `If-Match: *`}, body: `{}`, status: 400, has: "does not support If-Match"},
			{name: "If-Match of a create below a resource", source: "AIP-133", request: "POST /api/owners/1/settings", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 400, has: "does not support If-Match"},
			{name: "If-Match of a create with the whole body", source: "AIP-133", request: "POST /api/settings:import", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 400, has: "does not support If-Match"},
			{name: "create without If-Match", source: "AIP-133", request: "POST /api/settings", header: []string{jsonBody}, body: `{"etag":"x"}`, status: 200, call: `CreateSetting setting:{etag:"x"}`},
			{name: "a custom method of a resource", source: "AIP-136", request: "POST /api/settings/1:reset", header: []string{jsonBody, `If-Match: "a"`}, body: `{}`, status: 200, call: `ResetSetting id:"1" etag:"\"a\""`},
			{name: "If-Match of a GET without an entity tag", source: "docs/rest.md, Conditions", request: "GET /api/things/1", header: []string{`If-Match: "a"`}, status: 400, has: "does not support If-Match"},
			{name: "If-Match of a GET", source: "RFC 9110 §13.1", request: "GET /api/settings/1", header: []string{`If-Match: "a"`}, answer: tagged(`"a"`), status: 200, call: `GetSetting id:"1"`},
			{name: "If-Match of a GET, another state", source: "RFC 9110 §13.1", request: "GET /api/settings/1", header: []string{`If-Match: "b"`}, answer: tagged(`"a"`), status: 412, call: `GetSetting id:"1"`, has: "ETAG_MISMATCH", reply: []string{"Content-Type: application/json", "ETag: "}},
			{name: "mismatch, AIP-154", source: "AIP-154", request: "DELETE /api/settings/1", header: []string{`If-Match: "a"`}, answer: failure(codes.Aborted, "changed", &errdetails.ErrorInfo{Domain: "things", Reason: "ETAG_MISMATCH"}), status: 412, call: `DeleteSetting id:"1" etag:"\"a\""`, has: `"code":10,"message":"changed"`},
			{name: "mismatch, FAILED_PRECONDITION", source: "AIP-154", request: "DELETE /api/settings/1", header: []string{`If-Match: "a"`}, answer: failure(codes.FailedPrecondition, "changed", &errdetails.ErrorInfo{Domain: "things", Reason: "ETAG_MISMATCH"}), status: 412, call: `DeleteSetting id:"1" etag:"\"a\""`},
			{name: "another conflict", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1", header: []string{`If-Match: "a"`}, answer: failure(codes.Aborted, "busy", &errdetails.ErrorInfo{Domain: "things", Reason: "CONCURRENT_CHANGE"}), status: 409, call: `DeleteSetting id:"1" etag:"\"a\""`},
			{name: "a mismatch without a condition is a conflict", source: "RFC 9110 §13.1", request: "DELETE /api/settings/1?etag=%22a%22", answer: failure(codes.Aborted, "changed", &errdetails.ErrorInfo{Domain: "things", Reason: "ETAG_MISMATCH"}), status: 409, call: `DeleteSetting id:"1" etag:"\"a\""`},
		},
		"JSON": {
			{name: "every kind", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, status: 200, call: "EchoKinds",
				body: `{}`, answer: answers(answerOf("EchoKinds", `int64: -9007199254740993 uint64: 18446744073709551615 int32: -1 double: inf bool: true bytes: "\xfb\xff" color: COLOR_RED time { seconds: 1 nanos: 500000000 } duration { seconds: 1 nanos: 500000000 } mask { paths: "price_cents" paths: "title" } text { value: "" } count { value: 7 }`)),
				want: `{"int64":"-9007199254740993","uint64":"18446744073709551615","int32":-1,"double":"Infinity","bool":true,"bytes":"+/8=","color":"COLOR_RED","time":"1970-01-01T00:00:01.500Z","duration":"1.500s","mask":"priceCents,title","text":"","count":"7"}`},
			{name: "nothing", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, status: 200, call: "EchoKinds", body: `{}`,
				want: `{"int64":"0","uint64":"0","int32":0,"double":0,"bool":false,"bytes":"","color":"COLOR_UNSPECIFIED","time":null,"duration":null,"mask":null,"text":null,"count":null}`},
			{name: "64 bits as text", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"int64":"-9007199254740993","count":"7"}`, status: 200, call: "EchoKinds int64:-9007199254740993 count:{value:7}"},
			{name: "or as a number", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"int64":7}`, status: 200, call: "EchoKinds int64:7"},
			{name: "64 bits overflow", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"uint64":"18446744073709551616"}`, status: 400, has: "uint64"},
			{name: "a fraction for an integer", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"int32":1.5}`, status: 400, has: "int32"},
			{name: "enum by name", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"color":"COLOR_RED"}`, status: 200, call: "EchoKinds color:COLOR_RED"},
			{name: "enum by number", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"color":1}`, status: 200, call: "EchoKinds color:COLOR_RED"},
			{name: "an enum's unknown name", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"color":"COLOR_MAUVE"}`, status: 400, has: "COLOR_MAUVE"},
			{name: "timestamp with an offset", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"time":"1970-01-01T01:00:01+01:00"}`, status: 200, call: "EchoKinds time:{seconds:1}"},
			{name: "not a timestamp", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"time":"yesterday"}`, status: 400, has: "yesterday"},
			{name: "field mask", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"mask":"priceCents,parent.createTime"}`, status: 200, call: `EchoKinds mask:{paths:"price_cents" paths:"parent.create_time"}`},
			{name: "duration", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"duration":"1.5s"}`, status: 200, call: "EchoKinds duration:{seconds:1 nanos:500000000}"},
			{name: "wrapper", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"text":""}`, status: 200, call: "EchoKinds text:{}"},
			{name: "bytes, either alphabet", source: "ProtoJSON", request: "POST /api/kinds", header: []string{jsonBody}, body: `{"bytes":"-_8"}`, status: 200, call: `EchoKinds bytes:"\xfb\xff"`},
			{name: "in a query", source: "ProtoJSON", request: "GET /api/kinds?int64=-7&color=COLOR_RED&time=1970-01-01T00:00:01Z&duration=1.5s&text=x&count=7&bool=true&bytes=-_8=", status: 200,
				call: `EchoKinds int64:-7 bool:true bytes:"\xfb\xff" color:COLOR_RED time:{seconds:1} duration:{seconds:1 nanos:500000000} text:{value:"x"} count:{value:7}`},
			{name: "an enum's unknown name in a query", source: "ProtoJSON", request: "GET /api/kinds?color=COLOR_MAUVE", status: 400, has: "color"},
			{name: "not a number in a query", source: "ProtoJSON", request: "GET /api/kinds?int64=7x", status: 400, has: "int64"},
		},
		"errors of calls": {
			{name: "message and details", source: "AIP-193", request: "GET /api/things/1", answer: failure(codes.FailedPrecondition, "sold <out>", &errdetails.ErrorInfo{Reason: "SOLD", Domain: "things"}), status: 400, call: `GetThing id:"1"`,
				want: `{"code":9,"message":"sold \u003cout\u003e","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SOLD","domain":"things"}]}`},
			{name: "already exists", source: "google/rpc/code.proto", request: "GET /api/things/1", answer: failure(codes.AlreadyExists, "x"), status: 409, call: `GetThing id:"1"`},
			{name: "unimplemented", source: "google/rpc/code.proto", request: "GET /api/things/1", answer: failure(codes.Unimplemented, "x"), status: 501, call: `GetThing id:"1"`},
			{name: "retry", source: "RFC 6585 §4", request: "GET /api/things/1", answer: failure(codes.ResourceExhausted, "slow down", &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}), status: 429, call: `GetThing id:"1"`,
				has: "slow down", reply: []string{"Retry-After: 2"}},
			{name: "unavailable, from the server", source: "RFC 9110 §10.2.3", request: "GET /api/things/1", answer: failure(codes.Unavailable, "no keys yet", &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}), status: 503, call: `GetThing id:"1"`,
				has: "no keys yet", reply: []string{"Retry-After: 2"}},
			{name: "unavailable, from the transport", source: "CWE-209", request: "GET /api/things/1", answer: failure(codes.Unavailable, "dial tcp 10.0.0.3:9090: refused"), status: 503, call: `GetThing id:"1"`,
				want: `{"code":14,"message":"the service is not available at the moment","details":[]}`, reply: []string{"Retry-After: 1"}},
			{name: "internal", source: "CWE-209", request: "GET /api/things/1", answer: failure(codes.Internal, "pq: password", &errdetails.ErrorInfo{Reason: "X"}), status: 500, call: `GetThing id:"1"`,
				want: `{"code":13,"message":"internal error","details":[]}`},
			{name: "unknown", source: "CWE-209", request: "GET /api/things/1", answer: fails(errors.New("pq: password")), status: 500, call: `GetThing id:"1"`,
				want: `{"code":2,"message":"internal error","details":[]}`},
			{name: "data loss", source: "CWE-209", request: "GET /api/things/1", answer: failure(codes.DataLoss, "pq: password"), status: 500, call: `GetThing id:"1"`,
				want: `{"code":15,"message":"internal error","details":[]}`},
			{name: "undefined code", source: "CWE-209", request: "GET /api/things/1", answer: failure(codes.Code(99), "pq: password"), status: 500, call: `GetThing id:"1"`,
				want: `{"code":2,"message":"internal error","details":[]}`},
			{name: "a stack trace", source: "CWE-209", request: "GET /api/things/1", answer: failure(codes.Aborted, "x", &errdetails.DebugInfo{Detail: "pq: password"}), status: 409, call: `GetThing id:"1"`,
				want: `{"code":10,"message":"x","details":[]}`},
			{name: "metadata of an error is dropped", source: "RFC 9111 §5.2", request: "GET /api/private-route", status: 404, call: "GetPrivateRoute",
				answer: func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
					if err := stream.SendHeader(metadata.Pairs("cache-control", "public", "etag", `"1"`)); err != nil {
						return nil, err
					}
					return nil, status.Error(codes.NotFound, "x")
				}, reply: []string{"Cache-Control: no-store", "Etag: "}},
		},
	}
	for group, cases := range cases {
		for _, c := range cases {
			t.Run(group+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				if c.source == "" {
					t.Fatal("nothing demands this")
				}
				b := &backend{answer: c.answer}
				g := start(t, gateway.Config{Limits: gateway.LimitsConfig{MaxBodyBytes: 100}}, b)
				method, target, _ := strings.Cut(c.request, " ")
				response := send(g, method, target, c.header, c.body)
				got := read(t, response)
				if response.StatusCode != c.status {
					t.Errorf("%s: status %d, want %d; body %s", c.request, response.StatusCode, c.status, got)
				}
				if diff := cmp.Diff(c.call, b.call()); diff != "" {
					t.Errorf("call differs (-want +got):\n%s", diff)
				}
				if (c.want != "" || c.empty || method == http.MethodHead) && got != c.want {
					t.Errorf("body differs (-want +got):\n%s", cmp.Diff(c.want, got))
				}
				if !strings.Contains(got, c.has) {
					t.Errorf("body %q lacks %q", got, c.has)
				}
				for _, line := range append(c.reply, "X-Content-Type-Options: nosniff") {
					name, value, _ := strings.Cut(line, ": ")
					if got := strings.Join(response.Header.Values(name), " | "); got != value {
						t.Errorf("%s is %q, want %q", name, got, value)
					}
				}
			})
		}
	}
}
