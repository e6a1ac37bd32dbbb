package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestCompression checks which answers are compressed, and which must not be
// (BREACH, CVE-2013-3587; RFC 9110 §8.8.3.3).
func TestCompression(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	big := answers(thing(`title: "` + long + `"`))
	withHeader := func(pairs ...string) answerFunc {
		return func(_ context.Context, _ proto.Message, stream grpc.ServerStream) (proto.Message, error) {
			return thing(`title: "` + long + `"`), stream.SetHeader(metadata.Pairs(pairs...))
		}
	}
	const accept = "Accept-Encoding: gzip, deflate, br, zstd"
	for _, c := range []struct {
		name    string
		request string
		header  []string
		body    string
		answer  answerFunc
		status  int
		gzip    bool
		vary    bool
	}{
		{"a long answer", "GET /api/things/1", []string{accept}, "", big, 200, true, true},
		{"by another name", "GET /api/things/1", []string{"Accept-Encoding: br, X-GZIP ; q=0.5"}, "", big, 200, true, true},
		{"anything", "GET /api/things/1", []string{"Accept-Encoding: *"}, "", big, 200, true, true},
		{"anything else", "GET /api/things/1", []string{"Accept-Encoding: gzip;q=0, *"}, "", big, 200, false, true},
		{"nothing", "GET /api/things/1", nil, "", big, 200, false, true},
		{"identity", "GET /api/things/1", []string{"Accept-Encoding: identity"}, "", big, 200, false, true},
		{"nonsense", "GET /api/things/1", []string{"Accept-Encoding: gzip;q=yes"}, "", big, 200, false, true},
		{"a short answer", "GET /api/things/1", []string{accept}, "", nil, 200, false, false},
		{"an answer to a change", "PUT /api/things/1", []string{accept, jsonBody}, "{}", big, 200, false, false},
		{"an entity tag", "GET /api/things/1", []string{accept}, "", withHeader("etag", `"1"`), 200, false, false},
		{"no-transform of the service", "GET /api/things/1", []string{accept}, "", withHeader("cache-control", "no-store, no-transform"), 200, false, false},
		{"an error", "GET /api/things/1", []string{accept}, "", fails(status.Error(codes.NotFound, long)), 404, false, false},
		{"an HttpBody", "GET /api/files/a", []string{accept}, "", answers(&httpbody.HttpBody{ContentType: "application/octet-stream", Data: []byte(long)}), 200, false, false},
		{"a stream", "GET /api/things:watch", []string{accept}, "", big, 200, false, false},
		{"events", "GET /api/things:watch", []string{accept, "Accept: text/event-stream"}, "", big, 200, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, gateway.Config{}, &backend{answer: c.answer})
			method, target, _ := strings.Cut(c.request, " ")
			response := send(g, method, target, c.header, c.body)
			body := read(t, response)
			if response.StatusCode != c.status {
				t.Fatalf("got status %d, want %d: %s", response.StatusCode, c.status, body)
			}
			if got := response.Header.Get("Content-Encoding") == "gzip"; got != c.gzip {
				t.Fatalf("compressed %t, want %t", got, c.gzip)
			}
			if got := response.Header.Get("Vary") == "Accept-Encoding"; got != c.vary {
				t.Errorf("Vary: %q", response.Header.Values("Vary"))
			}
			if !c.gzip {
				return
			}
			if length := response.Header.Get("Content-Length"); length != "" && response.ContentLength != int64(len(body)) {
				t.Errorf("Content-Length %s of %d", length, len(body))
			}
			plain := read(t, send(g, method, target, nil, ""))
			reader, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(reader); err != nil || string(got) != plain {
				t.Errorf("got %s, %v; want the uncompressed body %s", got, err, plain)
			}
			head := send(g, "HEAD", target, c.header, "")
			if got := head.Header.Get("Content-Length"); got != response.Header.Get("Content-Length") || len(read(t, head)) > 0 {
				t.Errorf("got Content-Length %s for HEAD, want %s as for GET", got, response.Header.Get("Content-Length"))
			}
		})
	}
}

// TestCompressedLengthIsBlurred checks that contents of the same compressed length
// have different lengths on the wire, and the same content always has the same.
func TestCompressedLengthIsBlurred(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{}, &backend{answer: func(_ context.Context, request proto.Message, _ grpc.ServerStream) (proto.Message, error) {
		id := request.ProtoReflect().Get(request.ProtoReflect().Descriptor().Fields().ByName("id")).String()
		return thing(`id: "` + id + `" title: "` + strings.Repeat("x", 2000) + `"`), nil
	}})
	lengths := map[int]bool{}
	for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		var first []byte
		for range 2 {
			body := []byte(read(t, send(g, "GET", "/api/things/"+id, []string{"Accept-Encoding: gzip"}, "")))
			if first != nil && !bytes.Equal(first, body) {
				t.Fatalf("%s: got two compressed forms, want one: repeated requests would average their lengths", id)
			}
			first = body
		}
		lengths[len(first)] = true
	}
	if len(lengths) < 5 {
		t.Errorf("26 contents of the same length have %d lengths", len(lengths))
	}
}
