package forward_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
)

// A body that cannot be read to its end is the client's fault.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := forward.NewProxy(target, nil, time.Minute, slog.New(slog.DiscardHandler))
	for want, failure := range map[int]error{http.StatusRequestTimeout: os.ErrDeadlineExceeded, http.StatusBadRequest: errors.New("reset")} {
		body := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(failure))
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body))
		if w.Code != want {
			t.Errorf("%v: got %d %s, want %d", failure, w.Code, w.Body, want)
		}
	}
}
