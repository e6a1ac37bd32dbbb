package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A collector takes the metrics and the traces that processes export with OpenTelemetry.
type collector struct {
	url string

	mu       sync.Mutex
	received map[string]*strings.Builder // by path
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{received: map[string]*strings.Builder{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // an export that breaks off is repeated
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.received[r.URL.Path] == nil {
			c.received[r.URL.Path] = &strings.Builder{}
		}
		c.received[r.URL.Path].Write(body)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// environment returns the variables with which a process exports all traces, and its metrics.
func (c *collector) environment() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=500",
		"OTEL_TRACES_SAMPLER=always_on",
	}
}

// outlets returns what the collector has received. It fails the test if that has no word that is
// surely in it.
func (c *collector) outlets(t *testing.T) map[string]func() string {
	t.Helper()
	outlets := map[string]func() string{}
	for path, word := range map[string]string{"/v1/traces": "audioarchive.v1.StatusService/GetPrivateRoute", "/v1/metrics": "http.server.request.duration"} {
		outlets["OpenTelemetry "+path] = func() string {
			c.mu.Lock()
			defer c.mu.Unlock()
			received := c.received[path]
			if received == nil || !strings.Contains(received.String(), word) {
				t.Errorf("the collector has not received %q at %s", word, path)
				return ""
			}
			return received.String()
		}
	}
	return outlets
}
