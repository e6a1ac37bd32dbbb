package tracing_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	sampled = "00-" + traceID + "-b7ad6b7169203331-01"
	dropped = "00-" + traceID + "-b7ad6b7169203331-00"
)

// recorded returns a tracer with this sampler, and what it has recorded.
func recorded(t *testing.T, sampler sdktrace.Sampler, trusted ...netip.Prefix) (*tracing.Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sampler))
	return tracing.New(tracing.Config{Provider: provider, Part: "test", Trusted: clientaddr.Trust{Proxies: trusted}}), spans
}

// request returns a request from a peer with these header fields.
func request(peer string, fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

var root = sdktrace.ParentBased(sdktrace.NeverSample()) // so that only a remote decision can record

// The decision of a trusted peer is kept. That of any other peer has no effect.
func TestReceive(t *testing.T) {
	t.Parallel()
	local := netip.MustParsePrefix("192.0.2.0/24")
	for _, tt := range []struct {
		name                        string
		sampler                     sdktrace.Sampler
		request                     *http.Request
		continued, recorded, linked bool
		state                       string
	}{
		{"trusted, sampled", root, request("192.0.2.7:1", "traceparent", sampled), true, true, false, ""},
		{"trusted, with state", root, request("192.0.2.7:1", "traceparent", sampled, "tracestate", "a=1", "tracestate", "b=2"), true, true, false, "a=1,b=2"},
		{"trusted over IPv6", root, request("[::ffff:192.0.2.7]:1", "traceparent", sampled), true, true, false, ""},
		{"trusted, not sampled", sdktrace.ParentBased(sdktrace.AlwaysSample()), request("192.0.2.7:1", "traceparent", dropped), true, false, false, ""},
		{"not trusted, sampled", root, request("203.0.113.1:1", "traceparent", sampled), false, false, false, ""},
		{"not trusted, not sampled", sdktrace.ParentBased(sdktrace.AlwaysSample()), request("203.0.113.1:1", "traceparent", dropped, "tracestate", "a=1"), false, true, true, ""},
		{"no trace context", sdktrace.AlwaysSample(), request("192.0.2.7:1", "tracestate", "a=1"), false, true, false, ""},
		{"two of them", root, request("192.0.2.7:1", "traceparent", sampled, "traceparent", sampled), false, false, false, ""},
		{"no address", root, request("@", "traceparent", sampled), false, false, false, ""},
		{"a long state", root, request("192.0.2.7:1", "traceparent", sampled, "tracestate", "a="+strings.Repeat("x", 1<<20)), true, true, false, ""},
		{"a malformed state", root, request("192.0.2.7:1", "traceparent", sampled, "tracestate", "a=1,,\x00"), true, true, false, ""},
	} {
		tracer, spans := recorded(t, tt.sampler, local)
		ctx, span := tracer.ReceiveRequest(tt.request)
		sc := trace.SpanContextFromContext(ctx)
		if got := sc.TraceID().String() == traceID; got != tt.continued {
			t.Errorf("%s: continued = %v, want %v", tt.name, got, tt.continued)
		}
		if !sc.IsValid() || span.IsRecording() != tt.recorded {
			t.Errorf("%s: recording = %v, want %v", tt.name, span.IsRecording(), tt.recorded)
		}
		if got := sc.TraceState().String(); got != tt.state {
			t.Errorf("%s: state %q, want %q", tt.name, got, tt.state)
		}
		span.End()
		if !tt.recorded {
			continue
		}
		links := spans.GetSpans()[0].Links
		if got := len(links) == 1 && links[0].SpanContext.TraceID().String() == traceID; got != tt.linked {
			t.Errorf("%s: links %v", tt.name, links)
		}
		if tt.linked && links[0].SpanContext.TraceState().Len() > 0 {
			t.Errorf("%s: the link has the peer's state", tt.name)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	tracer, _ := recorded(t, root, netip.MustParsePrefix("192.0.2.0/24"))
	for _, parent := range []string{
		"", "00", strings.ToUpper(sampled), "ff" + sampled[2:], sampled + "-more", "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01",
		"00-" + traceID + "-0000000000000000-01", " " + sampled, sampled + ", " + sampled, strings.Repeat("0", 1<<20), "00-" + traceID + "-b7ad6b7169203331-0x",
	} {
		ctx, span := tracer.Receive(t.Context(), "GET", tracing.Remote{Parents: []string{parent}, Peer: "192.0.2.7:1"})
		if sc := trace.SpanContextFromContext(ctx); sc.TraceID().String() == traceID || span.IsRecording() {
			t.Errorf("%.80q: continued", parent)
		}
	}
}

// Gateway and server trust this machine, unless a setting names the peers to trust.
func TestMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		trusted []netip.Prefix
		peer    string
		want    bool
	}{
		{nil, "127.0.0.1:1", true},
		{nil, "[::1]:1", true},
		{nil, "@", true},
		{nil, "192.0.2.7:1", false},
		{[]netip.Prefix{}, "127.0.0.1:1", false},
		{[]netip.Prefix{}, "@", false},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "192.0.2.7:1", true},
	} {
		tracer := tracing.New(tracing.Config{Trusted: tracing.Machine(tt.trusted)})
		address := net.Addr(&net.UnixAddr{Name: tt.peer, Net: "unix"})
		if at, err := netip.ParseAddrPort(tt.peer); err == nil {
			address = net.TCPAddrFromAddrPort(at)
		}
		if got := tracer.Trusts(address); got != tt.want {
			t.Errorf("%v trusts %s = %v, want %v", tt.trusted, tt.peer, got, tt.want)
		}
	}
}

// Without a provider, the trace context of a trusted peer is passed on, and no other.
func TestNoProvider(t *testing.T) {
	t.Parallel()
	tracer := tracing.New(tracing.Config{Trusted: tracing.Machine([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})})
	for peer, want := range map[string]string{"192.0.2.7:1": sampled, "203.0.113.1:1": ""} {
		ctx, span := tracer.ReceiveRequest(request(peer, "traceparent", sampled, "tracestate", "a=1"))
		if span.IsRecording() {
			t.Errorf("%s: recording", peer)
		}
		h := http.Header{"Traceparent": {"forged"}, "Tracestate": {"forged"}}
		tracing.InjectHeader(ctx, h)
		pairs := tracing.Pairs(ctx)
		if got := h.Get("traceparent"); got != want || len(h.Values("tracestate")) != len(want)/len(sampled) {
			t.Errorf("%s: header %v, want %s", peer, h, want)
		}
		if got := strings.Join(pairs, " "); want != "" && got != "tracestate a=1 traceparent "+want || want == "" && got != "" {
			t.Errorf("%s: pairs %q, want %s", peer, pairs, want)
		}
	}
}

// A step of a request that is not recorded costs nothing.
func TestUnrecordedStepsAllocateNothing(t *testing.T) {
	tracer, spans := recorded(t, sdktrace.NeverSample())
	ctx, span := tracer.Receive(t.Context(), "GET", tracing.Remote{})
	allocs := testing.AllocsPerRun(100, func() {
		_, step := tracer.Start(ctx, "step", trace.SpanKindClient)
		tracing.EndRequest(step, http.MethodGet, "/", true, http.StatusOK)
		tracing.EndRequest(span, http.MethodGet, "/", true, http.StatusOK)
	})
	if allocs != 0 || len(spans.GetSpans()) != 0 {
		t.Errorf("%v allocations, %d spans; want none", allocs, len(spans.GetSpans()))
	}
	var none *tracing.Tracer
	if ctx, span := none.ReceiveRequest(request("127.0.0.1:1", "traceparent", sampled)); span.IsRecording() || trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("a nil Tracer continues a trace")
	}
}

func BenchmarkReceive(b *testing.B) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
	tracer := tracing.New(tracing.Config{Provider: provider, Part: "test"})
	r := request("192.0.2.7:1")
	b.ReportAllocs()
	for b.Loop() {
		ctx, span := tracer.ReceiveRequest(r)
		_, step := tracer.Start(ctx, "step", trace.SpanKindClient)
		step.End()
		span.End()
	}
}
