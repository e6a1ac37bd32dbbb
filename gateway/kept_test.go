package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// A keepingWriter keeps what it is given, as a writer of an application may do against the rules of
// io.Writer, and net/http did over HTTP/2 (golang/go#58446).
type keepingWriter struct {
	*httptest.ResponseRecorder
	kept [][]byte
}

func (w *keepingWriter) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p)
	return len(p), nil
}

// The answer to one user is never in memory that the answer to another is written to.
func TestAnswersShareNoMemory(t *testing.T) {
	t.Parallel()
	next := "a"
	b := &backend{answer: func(context.Context, proto.Message, grpc.ServerStream) (proto.Message, error) {
		return privateRoute(strings.Repeat(next, 100)), nil
	}}
	g := start(t, gateway.Config{}, b)
	writers := map[string]*keepingWriter{}
	for _, next = range []string{"a", "b", "c", "d", "e", "f"} {
		w := &keepingWriter{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "https://shop.example/api/private-route", nil)
		r.Header.Set("Authorization", "Bearer good")
		g.ServeHTTP(w, r)
		writers[next] = w
	}
	for user, w := range writers {
		if len(w.kept) != 1 || !strings.Contains(string(w.kept[0]), strings.Repeat(user, 100)) {
			t.Errorf("user %s gets %s", user, w.kept)
		}
	}
}

// An option that writes to the values of header fields changes its own answer alone.
func TestHeaderValuesAreNotShared(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{MuxOptions: []runtime.ServeMuxOption{
		runtime.WithForwardResponseOption(func(_ context.Context, w http.ResponseWriter, _ proto.Message) error {
			for range 2 {
				for _, values := range w.Header() {
					for i := range values {
						values[i] += "!"
					}
				}
				w.WriteHeader(http.StatusOK)
			}
			return nil
		}),
	}}, &backend{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			send(g, "GET", "https://shop.example/api/private-route", []string{"Authorization: Bearer good"}, "")
		})
	}
	users.Wait()
	got := send(g, "GET", "https://shop.example/api/nowhere", nil, "").Header
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if got.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.Get(name), want)
		}
	}
	got = send(g, "GET", "https://shop.example/api/private-route", []string{"Authorization: Bearer good"}, "").Header
	if values := got["Cache-Control"]; len(values) != 1 || strings.Count(values[0], "!") > 1 {
		t.Errorf("Cache-Control = %q, want no-store with what the option has added", values)
	}
}
