package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestAnswersApart sends requests of several users at the same time, with answers of different
// lengths: the buffers of answers are used again, and none may reach another user.
func TestAnswersApart(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{}, &backend{answer: func(ctx context.Context, request proto.Message, stream grpc.ServerStream) (proto.Message, error) {
		md, _ := metadata.FromIncomingContext(stream.Context())
		return privateRoute(md["authorization"][0] + " " + md["x-request-id"][0]), nil
	}})
	var all sync.WaitGroup
	for user := range 8 {
		all.Go(func() {
			for round := range 40 {
				token := fmt.Sprintf("Bearer user-%d-%s", user, strings.Repeat(strconv.Itoa(user), 1+(user*61+round*7)%700))
				r := httptest.NewRequest(http.MethodGet, "/api/private-route", nil)
				r.Header.Set("Authorization", token)
				w := &lateWriter{ResponseRecorder: httptest.NewRecorder()}
				g.ServeHTTP(w, r)
				header := w.Result().Header
				want := `{"message":"` + token + " " + header.Get("X-Request-Id") + `"}`
				if got := w.Body.String(); got != want || w.changed || header.Get("Content-Length") != strconv.Itoa(len(want)) {
					t.Errorf("user %d, round %d: got %q (changed while it was written: %t), Content-Length %s; want %q", user, round, got, w.changed, header.Get("Content-Length"), want)
					return
				}
			}
		})
	}
	all.Wait()
}

// A lateWriter notices if what it writes changes meanwhile.
type lateWriter struct {
	*httptest.ResponseRecorder
	changed bool
}

func (w *lateWriter) Write(b []byte) (int, error) {
	before := bytes.Clone(b)
	for range 5 {
		runtime.Gosched()
	}
	w.changed = w.changed || !bytes.Equal(before, b)
	return w.ResponseRecorder.Write(b)
}
