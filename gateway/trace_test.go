package gateway_test

import (
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// A client that is not trusted can neither have its requests recorded nor choose the id
// of their trace, whatever it sends; a trusted one can.
func TestTraceOfClients(t *testing.T) {
	t.Parallel()
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	header := []string{
		"Traceparent: 00-" + traceID + "-b7ad6b7169203331-01",
		"Tracestate: a=" + strings.Repeat("x", 1<<20), "Baggage: user=ann",
	}
	for name, trusted := range map[string]bool{"trusted": true, "not trusted": false} {
		spans := tracetest.NewInMemoryExporter()
		cfg := gateway.Config{TracerProvider: sdktrace.NewTracerProvider(
			sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))}
		if trusted {
			cfg.TraceTrusted = testPeers
		}
		b := &backend{}
		g := start(t, cfg, b)
		const flood = 20
		for range flood {
			if response := send(g, "GET", "/api/private-route", header, ""); response.StatusCode != 200 {
				t.Fatalf("%s: status %d", name, response.StatusCode)
			}
		}
		want := 0
		if trusted {
			want = 2 * flood // of the request, and of the call
		}
		if got := len(spans.GetSpans()); got != want {
			t.Errorf("%s: %d spans, want %d", name, got, want)
		}
		md := b.metadata()
		if got := strings.Contains(strings.Join(md["traceparent"], ""), traceID); got != trusted {
			t.Errorf("%s: the server got the traceparent %q", name, md["traceparent"])
		}
		if len(md["traceparent"]) != 1 || len(md["tracestate"]) > 0 || len(md["baggage"]) > 0 {
			t.Errorf("%s: the server got %v", name, md)
		}
	}
}
