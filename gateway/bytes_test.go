package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// protocols are the versions of HTTP, each with a client.
var protocols = map[string]func() *http.Client{
	"HTTP/1.1": func() *http.Client { return &http.Client{Transport: &http.Transport{}} },
	"HTTP/2": func() *http.Client {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		return &http.Client{Transport: &http.Transport{Protocols: protocols}}
	},
}

// listen serves a gateway in front of the backend on loopback.
func overNetwork(t *testing.T, cfg gateway.Config, b *backend) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = start(t, cfg, b).Server()
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// chunks sends an HttpBody for each chunk, then ends or fails.
func chunks(contentType string, header metadata.MD, failure error, chunks ...[]byte) answerFunc {
	return func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		if header != nil {
			if err := stream.SetHeader(header); err != nil {
				return nil, err
			}
		}
		for i, chunk := range chunks {
			m := &httpbody.HttpBody{Data: chunk}
			if i == 0 {
				m.ContentType = contentType
			}
			if err := stream.SendMsg(m); err != nil {
				return nil, err
			}
		}
		return nil, failure
	}
}

// TestDownload checks that a server stream of google.api.HttpBody is answered with
// its bytes alone, and that a failed one never looks complete.
func TestDownload(t *testing.T) {
	t.Parallel()
	mib := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	whole := bytes.Repeat(mib, 3)
	sized := func(contentRange string) metadata.MD {
		return metadata.Pairs("content-range", contentRange, "etag", `"v1"`, "content-disposition", `attachment; filename="a.wav"`, "x-secret", "1")
	}
	failure := status.Error(codes.NotFound, "no such file")
	const day, dayBefore = "Sun, 01 Mar 2026 12:00:00 GMT", "Sat, 28 Feb 2026 12:00:00 GMT"
	dated := metadata.Pairs("last-modified", day)
	const mismatch = `{"code":9,"message":"the entity tag in If-Match is not the resource's","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ETAG_MISMATCH","domain":"gatehouse"}]}`
	for _, c := range []struct {
		name   string
		method string
		header []string
		answer answerFunc

		status int
		want   string
		cut    bool // the answer is cut off after want
		reply  []string
		range_ string // metadata that the server got
	}{
		{name: "three chunks", answer: chunks("audio/wav", nil, nil, mib, mib, mib), status: 200, want: string(whole), reply: []string{"Content-Type: audio/wav", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"}},
		{name: "line breaks are content", answer: chunks("text/plain", nil, nil, []byte("a\n"), []byte("b"), nil, []byte("\nc")), status: 200, want: "a\nb\nc", reply: []string{"Content-Type: text/plain"}},
		{name: "nothing", answer: chunks("", nil, nil), status: 200, reply: []string{"Content-Length: 0"}},
		{name: "no bytes", answer: chunks("audio/wav", nil, nil, nil), status: 200, reply: []string{"Content-Length: 0", "Content-Type: audio/wav"}},
		{name: "no type", answer: chunks("", nil, nil, []byte("<script>")), status: 200, want: "<script>", reply: []string{"Content-Type: application/octet-stream"}},
		{name: "an invalid type", answer: chunks("text/html\r\nSet-Cookie: a=b", nil, nil, []byte("x")), status: 200, want: "x", reply: []string{"Content-Type: application/octet-stream", "Set-Cookie: "}},
		{name: "HTML", answer: chunks("text/html", nil, nil, []byte("<script>")), status: 200, want: "<script>", reply: []string{"Content-Disposition: attachment", "Content-Security-Policy: sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"}},
		{name: "HEAD of what begins with a type", method: "HEAD", answer: chunks("audio/wav", metadata.Pairs("body-length", "4"), status.Error(codes.Internal, "opened"), nil), status: 200, reply: []string{"Content-Type: audio/wav", "Content-Length: 4"}},
		{name: "HEAD of an empty file", method: "HEAD", answer: chunks("audio/wav", metadata.Pairs("body-length", "0"), nil, nil), status: 200, reply: []string{"Content-Length: 0"}},
		{name: "HEAD", method: "HEAD", answer: chunks("audio/wav", sized("bytes 0-3145727/3145728"), nil, mib, mib, mib), status: 200, reply: []string{"Content-Type: audio/wav", "Content-Length: 3145728"}},
		{name: "error before the first byte", answer: chunks("", nil, failure), status: 404, want: `{"code":5,"message":"no such file","details":[]}`, reply: []string{"Content-Type: application/json"}},
		{name: "error after a message without bytes", answer: chunks("audio/wav", sized("bytes 0-0/1"), failure, nil), status: 404, want: `{"code":5,"message":"no such file","details":[]}`, reply: []string{"Content-Type: application/json", "Etag: ", "Content-Disposition: "}},
		{name: "error after the first byte", answer: chunks("audio/wav", nil, failure, []byte("x")), status: 200, want: "x", cut: true},
		{name: "error in the middle", answer: chunks("audio/wav", nil, status.Error(codes.Internal, "bad \xff bytes"), mib, mib), status: 200, want: string(mib) + string(mib), cut: true},
		{name: "refused", answer: chunks("", nil, status.Error(codes.Unauthenticated, "no")), status: 401, want: `{"code":16,"message":"no","details":[]}`, reply: []string{`WWW-Authenticate: Bearer realm="gatehouse"`}},

		{name: "of known length", answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, []byte("ab"), []byte("cd")), status: 200, want: "abcd",
			reply: []string{"Content-Length: 4", "Accept-Ranges: bytes", "Content-Range: ", `Etag: "v1"`, `Content-Disposition: attachment; filename="a.wav"`, "X-Secret: "}},
		{name: "shorter than announced", answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, []byte("ab")), status: 200, want: "ab", cut: true},
		{name: "longer than announced", answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, []byte("abc"), []byte("de")), status: 200, want: "abc", cut: true},
		{name: "a range", header: []string{"Range: bytes=1-2", `If-Range: "v1"`}, answer: chunks("audio/wav", sized("bytes 1-2/4"), nil, []byte("bc")), status: 206, want: "bc",
			reply: []string{"Content-Range: bytes 1-2/4", "Content-Length: 2", "Accept-Ranges: bytes"}, range_: `bytes=1-2 "v1"`},
		{name: "a range of unknown total length", header: []string{"Range: bytes=1-2"}, answer: chunks("audio/wav", sized("bytes 1-2/*"), nil, []byte("bc")), status: 206, want: "bc", reply: []string{"Content-Range: bytes 1-2/*"}, range_: "bytes=1-2"},
		{name: "a range that the service ignores", header: []string{"Range: bytes=1-2"}, answer: chunks("audio/wav", nil, nil, []byte("abcd")), status: 200, want: "abcd", reply: []string{"Content-Range: "}, range_: "bytes=1-2"},
		{name: "an unsatisfiable range", header: []string{"Range: bytes=9-"}, answer: chunks("", sized("bytes */4"), status.Error(codes.OutOfRange, "4 bytes")), status: 416, want: `{"code":11,"message":"4 bytes","details":[]}`,
			reply: []string{"Content-Range: bytes */4", "Etag: "}, range_: "bytes=9-"},
		{name: "OUT_OF_RANGE without a range", answer: chunks("", sized("bytes */4"), status.Error(codes.OutOfRange, "4 bytes")), status: 400, want: `{"code":11,"message":"4 bytes","details":[]}`, reply: []string{"Content-Range: "}},
		{name: "an unrequested part", answer: chunks("audio/wav", sized("bytes 1-2/4"), nil, []byte("bc")), status: 500, want: `{"code":13,"message":"internal error","details":[]}`},
		{name: "an invalid content-range", header: []string{"Range: bytes=1-2"}, answer: chunks("audio/wav", sized("1-2/4"), nil, []byte("bc")), status: 500, want: `{"code":13,"message":"internal error","details":[]}`, range_: "bytes=1-2"},
		{name: "HEAD has no range", method: "HEAD", header: []string{"Range: bytes=1-2"}, answer: chunks("audio/wav", nil, nil, []byte("abcd")), status: 200, reply: []string{"Content-Type: audio/wav"}},
		{name: "the length of all", answer: chunks("audio/wav", metadata.Pairs("body-length", "4"), nil, []byte("abcd")), status: 200, want: "abcd", reply: []string{"Content-Length: 4"}},
		{name: "the length of all for a range", header: []string{"Range: bytes=1-2", `If-Range: "v0"`}, answer: chunks("audio/wav", metadata.Pairs("body-length", "4"), nil, []byte("abcd")), status: 200, want: "abcd", reply: []string{"Content-Length: 4", "Content-Range: "}, range_: `bytes=1-2 "v0"`},
		{name: "shorter than its length", answer: chunks("audio/wav", metadata.Pairs("body-length", "4"), nil, []byte("ab")), status: 200, want: "ab", cut: true},
		{name: "a length that is none", answer: chunks("audio/wav", metadata.Pairs("body-length", "-4"), nil, []byte("abcd")), status: 500, want: `{"code":13,"message":"internal error","details":[]}`, reply: []string{"Content-Disposition: "}},
		{name: "If-Match", header: []string{`If-Match: "v1"`}, answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, []byte("abcd")), status: 200, want: "abcd"},
		{name: "If-Match of another state", header: []string{`If-Match: "v0"`}, answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, nil, []byte("abcd")), status: 412, want: mismatch, reply: []string{"Content-Disposition: ", "Content-Type: application/json"}},
		{name: "If-Match without a tag", header: []string{`If-Match: "v0"`}, answer: chunks("audio/wav", nil, nil, []byte("abcd")), status: 412, want: mismatch},
		{name: "If-Modified-Since", header: []string{"If-Modified-Since: " + day}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 304, reply: []string{"Content-Type: ", "Last-Modified: " + day}},
		{name: "If-Modified-Since, and a tag that has changed", header: []string{"If-Modified-Since: " + day, `If-None-Match: "v0"`}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 200, want: "abcd"},
		{name: "If-Modified-Since an earlier day", header: []string{"If-Modified-Since: " + dayBefore}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 200, want: "abcd"},
		{name: "If-Modified-Since nonsense", header: []string{"If-Modified-Since: yesterday"}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 200, want: "abcd"},
		{name: "If-Unmodified-Since", header: []string{"If-Unmodified-Since: " + day}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 200, want: "abcd"},
		{name: "If-Unmodified-Since an earlier day", header: []string{"If-Unmodified-Since: " + dayBefore}, answer: chunks("audio/wav", dated, nil, nil, []byte("abcd")), status: 412, want: mismatch},
		{name: "error after a condition", header: []string{`If-None-Match: "v0"`}, answer: chunks("audio/wav", sized("bytes 0-3/4"), failure, nil), status: 404, want: `{"code":5,"message":"no such file","details":[]}`},
		{name: "If-None-Match", header: []string{`If-None-Match: "v1"`}, answer: chunks("audio/wav", sized("bytes 0-3/4"), nil, []byte("abcd")), status: 304, reply: []string{`Etag: "v1"`, "Content-Type: "}},
	} {
		for protocol, client := range protocols {
			t.Run(c.name+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				b := &backend{answer: c.answer}
				request, err := http.NewRequestWithContext(t.Context(), c.method, overNetwork(t, gateway.Config{}, b)+"/api/downloads/a", nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range c.header {
					name, value, _ := strings.Cut(line, ": ")
					request.Header.Set(name, value)
				}
				response, err := client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				got, err := io.ReadAll(response.Body)
				if response.StatusCode != c.status || string(got) != c.want || (err != nil) != c.cut {
					t.Errorf("%d, %d bytes (%.100q), error %v; want %d, %d bytes (%.100q), an error: %v", response.StatusCode, len(got), got, err, c.status, len(c.want), c.want, c.cut)
				}
				for _, line := range c.reply {
					name, value, _ := strings.Cut(line, ": ")
					if got := response.Header.Get(name); got != value {
						t.Errorf("%s: %q, want %q", name, got, value)
					}
				}
				if asked := strings.Join(append(b.metadata()["range"], b.metadata()["if-range"]...), " "); asked != c.range_ {
					t.Errorf("the server was asked for the range %q, want %q", asked, c.range_)
				}
			})
		}
	}
}

// TestContent checks how browsers are told to treat an HttpBody: what they would run
// as a document is saved, and everything has a sandbox.
func TestContent(t *testing.T) {
	t.Parallel()
	const sandbox = "sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"
	for _, c := range []struct{ contentType, disposition, want, policy string }{
		{"text/plain; charset=utf-8", "", "", sandbox},
		{"audio/wav", "", "", sandbox},
		{"video/mp4", "", "", sandbox},
		{"image/png", "", "", sandbox},
		{"application/json", "", "", sandbox},
		{"application/octet-stream", "", "attachment", sandbox},
		{"application/zip", "", "attachment", sandbox},
		{"application/pdf", "", "attachment", sandbox},
		{"text/csv", "", "attachment", sandbox},
		{"text/javascript", "", "attachment", sandbox},
		{"", "", "attachment", sandbox},
		{"text/html", "", "attachment", sandbox},
		{"TEXT/HTML", "inline", "attachment", sandbox},
		{"text/html; charset=utf-8", ` INLINE ; filename="a.html"`, `attachment; filename="a.html"`, sandbox},
		{"text/html", `attachment; filename="a.html"`, `attachment; filename="a.html"`, sandbox},
		{"application/xhtml+xml", "inline", "attachment", sandbox},
		{"image/svg+xml", "inline", "attachment", sandbox},
		{"text/xsl", "inline", "attachment", sandbox},
		{"multipart/x-mixed-replace; boundary=a", "inline", "attachment", sandbox},
		{"message/rfc822", "inline", "attachment", sandbox},
		{"audio/wav", `inline; filename="a.wav"`, `inline; filename="a.wav"`, sandbox},
		{"audio/wav", "attachment", "attachment", sandbox},
		{"application/zip", "inline", "inline", sandbox},
		{"application/pdf", "inline", "inline", "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"},
	} {
		var md metadata.MD
		if c.disposition != "" {
			md = metadata.Pairs("content-disposition", c.disposition)
		}
		b := &backend{answer: chunks(c.contentType, md, nil, []byte("x"))}
		response := send(start(t, gateway.Config{}, b), "GET", "/api/downloads/a", nil, "")
		h := response.Header
		if got := h.Get("Content-Disposition"); got != c.want {
			t.Errorf("%s, %q: got %q, want %q", c.contentType, c.disposition, got, c.want)
		}
		if got := h["Content-Security-Policy"]; len(got) != 1 || got[0] != c.policy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s, %q: got policy %q, want %q", c.contentType, c.disposition, got, c.policy)
		}
	}
}

// TestDownloadFlushes checks that each chunk arrives when it is sent, and that the
// call ends when the client closes the connection.
func TestDownloadFlushes(t *testing.T) {
	t.Parallel()
	for protocol, client := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			next, gone := make(chan string), make(chan struct{})
			address := overNetwork(t, gateway.Config{}, &backend{answer: func(ctx context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				defer close(gone)
				for {
					select {
					case text := <-next:
						if err := stream.SendMsg(&httpbody.HttpBody{ContentType: "text/plain", Data: []byte(text)}); err != nil {
							return nil, err
						}
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/api/downloads/a", nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() { next <- "one" }()
			response, err := client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			for i, want := range []string{"one", "two", "three"} {
				if i > 0 {
					next <- want
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			cancel()
			<-gone
		})
	}
}

// TestUpload checks that the server gets the bytes of a body of any type, in one
// message or in a stream.
func TestUpload(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 1<<16) // more than the limit of a body in one message
	// received is what the server got from a client stream, as text.
	type received struct {
		id, etag, contentType string
		number                int32
		data                  []byte
		messages              int
	}
	collect := func(got *received, outcome func(*received) (proto.Message, error)) answerFunc {
		return func(_ context.Context, m proto.Message, stream grpc.ServerStream) (proto.Message, error) {
			for {
				got.messages++
				r := m.ProtoReflect()
				file := r
				if field := r.Descriptor().Fields().ByName("file"); field != nil {
					got.id += r.Get(r.Descriptor().Fields().ByName("id")).String()
					got.etag += r.Get(r.Descriptor().Fields().ByName("etag")).String()
					got.number += int32(r.Get(r.Descriptor().Fields().ByName("number")).Int())
					file = r.Get(field).Message()
				}
				got.contentType += file.Get(file.Descriptor().Fields().ByName("content_type")).String()
				got.data = append(got.data, file.Get(file.Descriptor().Fields().ByName("data")).Bytes()...)
				m = newMessage(r.Descriptor())
				if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
					return outcome(got)
				} else if err != nil {
					return nil, err
				}
			}
		}
	}
	done := func(*received) (proto.Message, error) {
		return answerOf("UploadFile", `id: "1" etag: "\"v1\""`), nil
	}
	back := func(got *received) (proto.Message, error) {
		return &httpbody.HttpBody{ContentType: got.contentType, Data: got.data}, nil
	}
	thingDone := func(*received) (proto.Message, error) { return thing(`id: "1"`), nil }
	const form = `multipart/form-data; boundary="x"`
	for _, c := range []struct {
		name, request string
		header        []string
		body          string
		outcome       func(*received) (proto.Message, error)

		status int
		want   string // body of the answer, "" for any
		has    string
		sent   received // without messages and data
		parts  bool     // several messages
		reply  []string
	}{
		{name: "stream", request: "POST /api/things/7/files/3", header: []string{"Content-Type: application/octet-stream"}, body: long, outcome: done, status: 200, want: `{"id":"1","etag":"\"v1\""}`,
			sent: received{id: "7", number: 3, contentType: "application/octet-stream"}, parts: true, reply: []string{"Content-Type: application/json", `Etag: "v1"`}},
		{name: "a form", request: "POST /api/things/7/files/3", header: []string{"Content-Type: " + form}, body: "--x\r\n\r\n--x--", outcome: done, status: 200, sent: received{id: "7", number: 3, contentType: form}},
		{name: "without a type", request: "POST /api/things/7/files/3", body: "x", outcome: done, status: 200, sent: received{id: "7", number: 3}},
		{name: "empty", request: "POST /api/things/7/files/3", header: []string{"Content-Type: text/plain"}, outcome: done, status: 200, sent: received{id: "7", number: 3, contentType: "text/plain"}},
		{name: "with a condition", request: "POST /api/things/7/files/3", header: []string{`If-Match: "a"`}, body: "x", outcome: done, status: 200, sent: received{id: "7", number: 3, etag: `"a"`}},
		{name: "with a query", request: "POST /api/things/7/files/3?etag=a", body: "x", outcome: done, status: 200, sent: received{id: "7", number: 3, etag: "a"}},
		{name: "to a path of another type", request: "POST /api/things/7/files/three", body: "x", status: 400, has: `{"field":"number","description":"must be a whole number from -2147483648 to 2147483647, not \"three\""}`},
		{name: "with an unknown parameter", request: "POST /api/things/7/files/3?x=1", body: "x", status: 400, has: `"field":"x"`},
		{name: "with a parameter that the body fills", request: "POST /api/things/7/files/3?file.content_type=text/plain", body: "x", status: 400, has: "the body fills"},
		{name: "compressed", request: "POST /api/things/7/files/3", header: []string{"Content-Encoding: gzip"}, body: "x", status: 415, has: "Content-Encoding"},
		{name: "two types", request: "POST /api/things/7/files/3", header: []string{"Content-Type: a/b, c/d"}, body: "x", status: 415, has: "one media type"},
		{name: "refused at its end", request: "POST /api/things/7/files/3", body: long, outcome: func(*received) (proto.Message, error) { return nil, status.Error(codes.AlreadyExists, "there is one") },
			status: 409, want: `{"code":6,"message":"there is one","details":[]}`, sent: received{id: "7", number: 3}, parts: true},
		{name: "too long for the service", request: "POST /api/things/7/files/3", body: "x", outcome: func(*received) (proto.Message, error) {
			return nil, reason.Status(codes.InvalidArgument, "too long", &errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ContentTooLong}).Err()
		}, status: 413, has: "CONTENT_TOO_LONG", sent: received{id: "7", number: 3}},
		{name: "both ways", request: "POST /api/files:stream", header: []string{"Content-Type: audio/wav"}, body: long, outcome: back, status: 200, want: long, sent: received{contentType: "audio/wav"}, parts: true, reply: []string{"Content-Type: audio/wav"}},
		{name: "one message", request: "PUT /api/things/7/file", header: []string{"Content-Type: audio/wav"}, body: "RIFF\x00\xff", outcome: thingDone, status: 200, has: `{"id":"1"`, sent: received{id: "7", contentType: "audio/wav"}},
		{name: "one message, and back", request: "POST /api/files:convert", header: []string{"Content-Type: audio/wav"}, body: "RIFF\x00\xff", outcome: back, status: 200, want: "RIFF\x00\xff", sent: received{contentType: "audio/wav"}, reply: []string{"Content-Type: audio/wav"}},
		{name: "one message that is too long", request: "PUT /api/things/7/file", body: long + "x", status: 413, has: "longer than 1048576 bytes"},
		{name: "one message, empty", request: "PUT /api/things/7/file", header: []string{"Content-Type: audio/wav"}, outcome: thingDone, status: 200, sent: received{id: "7", contentType: "audio/wav"}},
	} {
		for protocol, client := range protocols {
			t.Run(c.name+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				got := &received{}
				address := overNetwork(t, gateway.Config{}, &backend{answer: collect(got, c.outcome)})
				method, target, _ := strings.Cut(c.request, " ")
				request, err := http.NewRequestWithContext(t.Context(), method, address+target, io.MultiReader(strings.NewReader(c.body))) // of unknown length
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range c.header {
					name, value, _ := strings.Cut(line, ": ")
					request.Header.Set(name, value)
				}
				response, err := client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				answer := read(t, response)
				if response.StatusCode != c.status || c.want != "" && answer != c.want || !strings.Contains(answer, c.has) {
					t.Errorf("%d %.300q, want %d %.300q%.300q", response.StatusCode, answer, c.status, c.want, c.has)
				}
				for _, line := range c.reply {
					name, value, _ := strings.Cut(line, ": ")
					if got := response.Header.Get(name); got != value {
						t.Errorf("%s: %q, want %q", name, got, value)
					}
				}
				if c.outcome == nil {
					if got.messages > 0 {
						t.Errorf("the server was called with %+v", got)
					}
					return
				}
				if string(got.data) != c.body || (got.messages > 1) != c.parts {
					t.Errorf("the server got %d bytes in %d messages, want %d bytes, several: %v", len(got.data), got.messages, len(c.body), c.parts)
				}
				got.data, got.messages = nil, 0
				if diff := cmp.Diff(fmt.Sprintf("%+v", c.sent), fmt.Sprintf("%+v", *got)); diff != "" {
					t.Errorf("the server got something else (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestUploadLength checks that the service learns the length of a body that has one.
func TestUploadLength(t *testing.T) {
	t.Parallel()
	for body, want := range map[io.Reader]string{strings.NewReader("0123456789"): "10", strings.NewReader(""): "0", io.MultiReader(strings.NewReader("0123")): ""} {
		b := &backend{answer: fails(status.Error(codes.Aborted, "enough"))}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, overNetwork(t, gateway.Config{}, b)+"/api/things/7/files/3", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Body-Length", "7")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := strings.Join(b.metadata()["body-length"], " "); got != want {
			t.Errorf("got body-length %q, want %q", got, want)
		}
	}
}

// brokenBody returns some bytes, and fails after they have arrived, like a client
// whose connection breaks.
type brokenBody struct {
	left    int
	arrived <-chan struct{}
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.arrived
		return 0, errors.New("the client breaks off")
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

// TestUploadBreaksOff checks that the server never takes a body that broke off for
// a complete one, and that it may answer before the end of the body.
func TestUploadBreaksOff(t *testing.T) {
	t.Parallel()
	for protocol, client := range protocols {
		for _, target := range []string{"/api/things/7/files/3", "/api/files:stream"} {
			t.Run(protocol+target, func(t *testing.T) {
				t.Parallel()
				ended, arrived := make(chan error, 1), make(chan struct{})
				address := overNetwork(t, gateway.Config{}, &backend{answer: func(_ context.Context, m proto.Message, stream grpc.ServerStream) (proto.Message, error) {
					close(arrived)
					for {
						if err := stream.RecvMsg(newMessage(m.ProtoReflect().Descriptor())); err != nil {
							ended <- err
							return nil, err
						}
					}
				}})
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+target, &brokenBody{1 << 20, arrived})
				if err != nil {
					t.Fatal(err)
				}
				if response, err := client().Do(request); err == nil {
					_ = response.Body.Close()
				}
				if err := <-ended; status.Code(err) != codes.Canceled {
					t.Errorf("the server saw the end %v, want Canceled", err)
				}
			})
			t.Run(protocol+target+"/refused early", func(t *testing.T) {
				t.Parallel()
				address := overNetwork(t, gateway.Config{}, &backend{answer: fails(status.Error(codes.PermissionDenied, "not you"))})
				reader, writer := io.Pipe() // never ends
				defer writer.Close()
				go func() { _, _ = writer.Write([]byte("some bytes")) }()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+target, reader)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if got := read(t, response); response.StatusCode != 403 || got != `{"code":7,"message":"not you","details":[]}` {
					t.Errorf("got %d %s, want 403 and the error", response.StatusCode, got)
				}
			})
		}
	}
}

// TestUploadFullDuplex checks that client and server get each other's bytes as they
// are sent if both stream, over HTTP/1.1 as well.
func TestUploadFullDuplex(t *testing.T) {
	t.Parallel()
	for protocol, client := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			address := overNetwork(t, gateway.Config{}, &backend{answer: func(_ context.Context, m proto.Message, stream grpc.ServerStream) (proto.Message, error) {
				for {
					if err := stream.SendMsg(m); err != nil {
						return nil, err
					}
					m = &httpbody.HttpBody{}
					if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
						return nil, nil
					} else if err != nil {
						return nil, err
					}
				}
			}})
			reader, writer := io.Pipe()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/api/files:stream", reader)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = writer.Write([]byte("ping 0")) }()
			response, err := client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			for i := range 3 {
				want := fmt.Sprintf("ping %d", i)
				if i > 0 {
					if _, err := writer.Write([]byte(want)); err != nil {
						t.Fatal(err)
					}
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			if err := writer.Close(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(response.Body); len(rest) > 0 || err != nil {
				t.Errorf("at the end came %q, %v", rest, err)
			}
		})
	}
}

// TestDownloadCutIsLogged checks that the log has the reason, which the client
// cannot get.
func TestDownloadCutIsLogged(t *testing.T) {
	t.Parallel()
	log := &logLines{}
	g := start(t, gateway.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))}, &backend{answer: chunks("audio/wav", nil, status.Error(codes.NotFound, "moved away"), []byte("x"))})
	func() {
		defer func() {
			if cause := recover(); cause != http.ErrAbortHandler {
				t.Errorf("recovered %v, want http.ErrAbortHandler", cause)
			}
		}()
		send(g, "GET", "/api/downloads/a", nil, "")
	}()
	if got := log.String(); !strings.Contains(got, `"answer cut off"`) || !strings.Contains(got, "moved away") {
		t.Errorf("got log %s", got)
	}
}

// logLines collects a log.
type logLines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
