package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// direct is a connection that records the request and returns an empty answer.
type direct struct {
	ctx     context.Context
	rpc     string
	request proto.Message
}

func (d *direct) Invoke(ctx context.Context, rpc string, request, _ any, _ ...grpc.CallOption) error {
	d.ctx, d.rpc, d.request = ctx, rpc, request.(proto.Message)
	return nil
}

func (d *direct) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, http.ErrNotSupported
}

// fuzzed returns a function that sends a request to one gateway, and its backend.
func fuzzed(f *testing.F) func(*http.Request) (*direct, *httptest.ResponseRecorder) {
	d := &direct{}
	g, err := gateway.New(gateway.Config{Conn: d, Services: []gateway.Service{exposeDynamic(thingService)}})
	if err != nil {
		f.Fatal(err)
	}
	return func(r *http.Request) (*direct, *httptest.ResponseRecorder) {
		*d = direct{}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return d, w
	}
}

// FuzzPath checks that a name in a path is decoded exactly once or refused, and
// never becomes the name of another resource.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"1", "a%2Fb", "a%252Fb", "%2e%2e", "..", "", "a:archive", "a%3Aarchive", "%ff", "%00", "a%5cb", `a\b`, "a//b", "caf%C3%A9", "%", "%zz", "a;b=c", "a%3Fb", "a%23b", "+"} {
		f.Add(seed)
	}
	ask := fuzzed(f)
	f.Fuzz(func(t *testing.T, name string) {
		u, err := url.ParseRequestURI("/api/things/" + name)
		if err != nil || u.RawQuery != "" || strings.Contains(name, "?") {
			return
		}
		d, w := ask(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Body: http.NoBody})
		if d.request == nil {
			if w.Code < 400 || w.Code >= 500 {
				t.Fatalf("%q: got status %d without a call, want 4xx", name, w.Code)
			}
			return
		}
		want, err := url.PathUnescape(name)
		if err != nil {
			t.Fatal(err)
		}
		id := d.request.ProtoReflect().Get(d.request.ProtoReflect().Descriptor().Fields().ByName("id")).String()
		if d.rpc != "/"+thingService+"/GetThing" || id != want {
			t.Fatalf("%q called %s with %q", name, d.rpc, id)
		}
		if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\\\x00") || !utf8.ValidString(id) {
			t.Fatalf("%q reached the server as %q", name, id)
		}
	})
}

// FuzzQuery checks that a query is refused, or that each of its parameters sets a
// field.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"page_size=3", "pageSize=3&page_size=3", "like.parent.parent.id=x", "labels[a]=b", "labels[a][b]=c", "labels[]=", "tags=a&tags=b", "x=1", "=", "&&", "%", "a;b", "tags[a]=b",
		"like=x", "labels[\n]=b", "like.create_time=2026-01-02T03:04:05Z", "tags=%ff", ".=1", "like.=1", "like..id=1"} {
		f.Add(seed)
	}
	ask := fuzzed(f)
	f.Fuzz(func(t *testing.T, query string) {
		d, w := ask(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/api/things", RawQuery: query}, Header: http.Header{}, Body: http.NoBody})
		if d.request == nil {
			if w.Code != http.StatusBadRequest || !utf8.Valid(w.Body.Bytes()) {
				t.Fatalf("%q: got %d %q without a call, want 400 in UTF-8", query, w.Code, w.Body)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q was answered: %v", query, err)
		}
		if _, err := proto.Marshal(d.request); err != nil {
			t.Fatalf("%q made a message that cannot be sent: %v", query, err)
		}
		for key := range values {
			if !isSet(d.request.ProtoReflect(), key) {
				t.Fatalf("%q: %q was dropped from %v", query, key, d.request)
			}
		}
	})
}

// isSet reports whether the field of a parameter is set. A scalar may have been set
// to its zero value, which cannot be seen.
func isSet(m protoreflect.Message, key string) bool {
	name, _, _ := strings.Cut(key, "[")
	first, rest, nested := strings.Cut(name, ".")
	field := m.Descriptor().Fields().ByName(protoreflect.Name(first))
	if field == nil {
		field = m.Descriptor().Fields().ByJSONName(first)
	}
	switch {
	case field == nil:
		return false
	case nested:
		return m.Has(field) && isSet(m.Get(field).Message(), rest)
	}
	return m.Has(field) || !field.HasPresence() && !field.IsList() && !field.IsMap()
}

// FuzzRequestID checks that every answer has one valid request id.
func FuzzRequestID(f *testing.F) {
	for _, seed := range []string{"", "abc", "a b", "a\nb", strings.Repeat("x", 65), "é", "\xff"} {
		f.Add(seed)
	}
	ask := fuzzed(f)
	f.Fuzz(func(t *testing.T, id string) {
		_, w := ask(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/api/things/1"}, Header: http.Header{"X-Request-Id": {id}}, Body: http.NoBody})
		got := w.Header()["X-Request-Id"]
		if w.Code != 200 || len(got) != 1 || !requestid.Valid(got[0]) || (requestid.Valid(id) && got[0] != id) {
			t.Fatalf("%q: got %d and the ids %q, want 200 and one valid id", id, w.Code, got)
		}
	})
}

// FuzzConditions checks that a call with If-Match is made with that entity tag,
// without one only for "*", or not at all.
func FuzzConditions(f *testing.F) {
	for _, seed := range []string{`"a"`, `W/"a"`, "*", "", `""`, `"a", "b"`, "a", `"a""b"`, "\"\xff\"", ` "a" `, "\"a b\"", `"`} {
		f.Add(seed)
	}
	ask := fuzzed(f)
	f.Fuzz(func(t *testing.T, match string) {
		d, w := ask(&http.Request{Method: http.MethodDelete, URL: &url.URL{Path: "/api/settings/1"}, Header: http.Header{"If-Match": {match}}, Body: http.NoBody})
		trimmed := strings.TrimSpace(match)
		if d.request == nil {
			if w.Code != http.StatusBadRequest && w.Code != http.StatusPreconditionFailed || trimmed == "*" {
				t.Fatalf("%q: got status %d without a call, want 400 or 412", match, w.Code)
			}
			return
		}
		tag := d.request.ProtoReflect().Get(d.request.ProtoReflect().Descriptor().Fields().ByName("etag")).String()
		if tag != trimmed && (tag != "" || trimmed != "*") {
			t.Fatalf("%q called with %q", match, tag)
		}
		if strings.Count(tag, `"`) != 2 && tag != "" {
			t.Fatalf("called with %q, want an entity tag", tag)
		}
	})
}

// FuzzAccept checks that any Accept and Accept-Encoding get an answer of a declared
// type, or 406.
func FuzzAccept(f *testing.F) {
	f.Add("text/event-stream;q=0.5, */*", "gzip;q=0, *")
	f.Add("application/json;q=2", "gzip;;q=1")
	f.Add(",;/,", ",;=")
	ask := fuzzed(f)
	f.Fuzz(func(t *testing.T, accept, encoding string) {
		_, w := ask(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/api/things/1"}, Header: http.Header{"Accept": {accept}, "Accept-Encoding": {encoding}}, Body: http.NoBody})
		switch mediaType := w.Header().Get("Content-Type"); {
		case w.Code != http.StatusOK && w.Code != http.StatusNotAcceptable:
			t.Fatalf("%q: got status %d, want 200 or 406", accept, w.Code)
		case mediaType != "application/json" && mediaType != "application/problem+json":
			t.Fatalf("%q: got %s, want JSON", accept, mediaType)
		}
	})
}
