package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestTraceAndConnect checks that no path serves TRACE, which echoes a request, and
// CONNECT, which asks for a tunnel.
func TestTraceAndConnect(t *testing.T) {
	t.Parallel()
	g := start(t, gateway.Config{}, &backend{})
	for _, method := range []string{http.MethodTrace, http.MethodConnect} {
		for _, target := range []string{"/api/private-route", "/api/nothing", "/healthz", "/"} {
			response := send(g, method, target, nil, "")
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") == "" {
				t.Errorf("%s %s: got %s, Allow %q; want 405 with Allow", method, target, response.Status, response.Header.Get("Allow"))
			}
		}
	}
}

// TestReadyHidesCause checks that the error of Ready is logged, once for many
// health checks, and not shown.
func TestReadyHidesCause(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := start(t, gateway.Config{
		Ready:  func() error { return errors.New("dial tcp 10.0.0.7:9090: refused") },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, &backend{})
	for range 3 {
		response := send(g, http.MethodGet, "/readyz", nil, "")
		if got := read(t, response); got != "not ready\n" {
			t.Errorf("got %q", got)
		}
	}
	if n := strings.Count(log.String(), "10.0.0.7:9090"); n != 1 {
		t.Errorf("the cause is logged %d times, want once: %s", n, log.String())
	}
}

// TestLongPathsAreNotLogged checks that a long path does not make a long line.
func TestLongPathsAreNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := start(t, gateway.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, &backend{})
	long := strings.Repeat("long", 1<<18)
	for _, target := range []string{"/api/" + long, "/api/private-route?" + long, "/" + long, fmt.Sprintf("/api/private-route?%s=1", long)} {
		send(g, http.MethodGet, target, nil, "")
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 2<<10 {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
		}
	}
}
