package gateway_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// A slowWriter reads what it is given only after Write has returned, as net/http does over HTTP/2
// with an answer that the client has cancelled (golang/go#20704).
type slowWriter struct {
	*httptest.ResponseRecorder
	kept [][]byte
}

func (w *slowWriter) Write(p []byte) (int, error) {
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
	writers := map[string]*slowWriter{}
	for _, next = range []string{"a", "b", "c", "d", "e", "f"} {
		w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
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
