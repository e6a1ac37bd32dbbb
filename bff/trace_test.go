package bff_test

import (
	"net/http"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// A browser cannot have its requests recorded, and nothing of its trace reaches the API.
func TestTraceOfBrowsers(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spans := tracetest.NewInMemoryExporter()
	s := start(t, func(cfg *bff.Config) {
		cfg.TracerProvider = sdktrace.NewTracerProvider(
			sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	})
	b := s.browser().signIn()
	s.api.requests()
	for range 20 {
		res := b.do(http.MethodGet, "/api/products", nil, func(r *http.Request) {
			r.Header["Traceparent"], r.Header["Baggage"] = []string{parent}, []string{"user=ann"}
		})
		wantStatus(t, res, http.StatusOK)
	}
	for _, seen := range s.api.requests() {
		if got := seen.Header.Get("Traceparent"); got == "" || got[:35] == parent[:35] || seen.Header.Get("Baggage") != "" {
			t.Errorf("the API got the traceparent %q and the baggage %q", got, seen.Header.Get("Baggage"))
		}
	}
	if n := len(spans.GetSpans()); n != 0 {
		t.Errorf("%d spans, want none", n)
	}
}
