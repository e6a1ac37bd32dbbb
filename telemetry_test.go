package gatehouse

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// lines is a writer that sends each write, which is a line of a log.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // the reader has gone
	}
	return len(p), nil
}

// wait reads lines until one has the text.
func (l lines) wait(t *testing.T, text string) string {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return line
			}
		case <-limit.C:
			t.Fatalf("no line with %q", text)
		}
	}
}

// collecting starts the telemetry of a program with an admin port and these variables.
func collecting(t *testing.T, environ ...string) (*telemetry.Telemetry, lines) {
	t.Helper()
	p := configured(t, append(environ, "GATEHOUSE_LISTEN_ADMIN=127.0.0.1:0")...)
	log := make(lines, 100)
	p.logger = slog.New(slog.NewJSONHandler(log, nil))
	collected, err := p.startTelemetry(t.Context(), allParts)
	if err != nil {
		t.Fatal(err)
	}
	return collected, log
}

// An outage of the collector is a line when it starts and one when it ends, and is counted.
func TestCollectorOutage(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	var secret atomic.Value
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret.Store(r.Header.Get("Api-Key"))
		if !up.Load() {
			w.WriteHeader(http.StatusBadRequest) // which is not repeated
		}
	}))
	t.Cleanup(collector.Close)
	collected, log := collecting(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_METRIC_EXPORT_INTERVAL=20",
		"OTEL_EXPORTER_OTLP_HEADERS=api-key=k1")
	t.Cleanup(collected.Close)
	if line := log.wait(t, "metrics exporter unavailable"); !strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, "k1") {
		t.Errorf("logged %s", line)
	}
	up.Store(true)
	log.wait(t, "metrics exporter available again")
	if got := secret.Load(); got != "k1" {
		t.Errorf("the collector got the header %v, want k1", got)
	}
	w := httptest.NewRecorder()
	collected.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, result := range []string{"ok", "error"} {
		series := `gatehouse_telemetry_exports_total{gatehouse_result="` + result + `",gatehouse_signal="metrics"} `
		if !strings.Contains(w.Body.String(), series) || strings.Contains(w.Body.String(), series+"0\n") {
			t.Errorf("/metrics lacks %s above 0", series)
		}
	}
}

// A collector that does not answer delays the end of the process a little only.
func TestCollectorFrozen(t *testing.T) {
	t.Parallel()
	frozen := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-frozen:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(frozen) })
	collected, _ := collecting(t, "OTEL_METRICS_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="+collector.URL+"/v1/metrics")
	start := time.Now()
	if collected.Close(); time.Since(start) > 4*time.Second {
		t.Errorf("Close took %v, want at most 1.5 s", time.Since(start))
	}
}

// Which variables collect and send what.
func TestTelemetryVariables(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		environ []string
		scraped bool   // /metrics has metrics of the parts
		traced  bool   // spans are recorded
		log     string // "" for no line
	}{
		{"none", nil, true, false, ""},
		{"disabled", []string{"OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, false, false, ""},
		{"no exporter", []string{"OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, true, false, ""},
		{"traces alone", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/v1/traces"}, true, true, ""},
		{"gRPC", []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none"}, true, true, ""},
		{"an exporter that does not exist", []string{"OTEL_TRACES_EXPORTER=zipkin"}, true, false, "OTEL_TRACES_EXPORTER"},
		{"a protocol that does not exist", []string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "OTEL_TRACES_EXPORTER=otlp"}, true, true, "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			collected, log := collecting(t, c.environ...)
			t.Cleanup(collected.Close)
			if _, none := collected.Meter.(noop.MeterProvider); none == c.scraped {
				t.Errorf("metrics are collected: %t, want %t", !none, c.scraped)
			}
			_, span := collected.Tracer.Tracer("test").Start(context.Background(), "test")
			if got := span.IsRecording(); got != c.traced {
				t.Errorf("spans are recorded: %t, want %t", got, c.traced)
			}
			span.End()
			if c.log != "" {
				log.wait(t, c.log)
			}
		})
	}
}
