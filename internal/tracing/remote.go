package tracing

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The header fields of a trace context (W3C Trace Context §3), as net/http writes
// them and as metadata has them. Baggage never passes a part: nothing here uses it,
// and it would carry a client's data to every service behind.
const (
	parentHeader = "Traceparent"
	stateHeader  = "Tracestate"
	ParentKey    = "traceparent"
	StateKey     = "tracestate"
)

// maxState bounds a tracestate in bytes. It is what W3C Trace Context §3.3.1.5
// asks for; a longer one is dropped.
const maxState = 512

// A Remote is what a request says of the trace that it belongs to.
type Remote struct {
	Parents, States []string // the values of traceparent and tracestate
	Peer            string   // the address at the other end, such as "192.0.2.1:4711"
	Trusted         bool     // Peer was found to be trusted already
}

// ReceiveRequest is [Tracer.Receive] for an HTTP request, whose span [EndRequest]
// ends. Health checks have no span.
func (t *Tracer) ReceiveRequest(r *http.Request) (context.Context, trace.Span) {
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return r.Context(), none
	}
	name, _ := method(r.Method)
	return t.Receive(r.Context(), name, Remote{Parents: r.Header[parentHeader], States: r.Header[stateHeader], Peer: r.RemoteAddr})
}

// Receive begins the server span of a request, and returns its context. The parent
// is, in this order:
//
//   - the span of ctx, which a part in front of this one in the same process has
//     begun,
//   - the trace context of a trusted peer, whose decision about sampling is kept,
//   - none. The trace context of another peer becomes a link: it decides neither
//     the id of the trace nor whether it is recorded.
//
// If the trace is not recorded, the span records nothing, and the context has the
// ids that the parts behind this one get.
func (t *Tracer) Receive(ctx context.Context, name string, remote Remote) (context.Context, trace.Span) {
	if t == nil {
		return ctx, none
	}
	var link trace.SpanContext
	switch {
	case trace.SpanContextFromContext(ctx).IsValid():
		return t.Start(ctx, name, trace.SpanKindServer)
	case len(remote.Parents) != 1: // several count as none
	case remote.Trusted || t.trusts(remote.Peer):
		ctx = remote.continued(ctx)
	default:
		remote.States = nil
		if link = trace.SpanContextFromContext(remote.continued(context.Background())); link.IsValid() {
			t.logIgnored(ctx, remote.Peer)
		}
	}
	if t.tracer == nil {
		return ctx, none
	}
	ctx, span := t.tracer.Start(ctx, name, kinds[trace.SpanKindServer]...)
	if link.IsValid() && span.IsRecording() {
		span.AddLink(trace.Link{SpanContext: link})
	}
	return ctx, span
}

// Trusts reports whether the trace of a peer is continued. What a service reads
// from the metadata of other peers must not have a trace context. A nil peer is one
// without an IP address.
func (t *Tracer) Trusts(peer net.Addr) bool {
	var address netip.Addr
	if tcp, ok := peer.(*net.TCPAddr); ok {
		address = tcp.AddrPort().Addr()
	}
	return t != nil && t.covers(address)
}

func (t *Tracer) trusts(peer string) bool {
	connection, _ := netip.ParseAddrPort(peer) // zero with an error: a Unix socket, or a call in process
	return t.covers(connection.Addr())
}

func (t *Tracer) covers(peer netip.Addr) bool { return t.trusted.Covers(peer.Unmap().WithZone("")) }

// logIgnored tells the operator why the traces of two processes do not join.
func (t *Tracer) logIgnored(ctx context.Context, peer string) {
	if t.logger == nil {
		return
	}
	t.ignored.Do(func() {
		t.logger.LogAttrs(ctx, slog.LevelInfo, "trace context of a peer that is not trusted ignored; this is logged once",
			slog.String("client", peer), slog.String("remedy", "if the peer is a part of Gatehouse or a proxy of yours, add its network to TraceTrusted"))
	})
}

// continued returns a context with the trace context, and ctx if that is not valid.
func (r Remote) continued(ctx context.Context) context.Context {
	from := metadata{ParentKey: r.Parents}
	size := len(r.States)
	for _, state := range r.States {
		size += len(state)
	}
	if 0 < size && size <= maxState {
		from[StateKey] = []string{strings.Join(r.States, ",")}
	}
	return propagation.TraceContext{}.Extract(ctx, from)
}

// InjectHeader sets the trace context of ctx in the header of a request to another
// process, and removes any other one.
func InjectHeader(ctx context.Context, h http.Header) {
	delete(h, parentHeader)
	delete(h, stateHeader)
	propagation.TraceContext{}.Inject(ctx, header{h})
}

// Pairs returns the trace context of ctx as pairs of metadata, nil for none.
func Pairs(ctx context.Context) []string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	to := make(pairs, 0, 4)
	propagation.TraceContext{}.Inject(ctx, &to)
	return to
}

// metadata has the fields of a trace context under their lower-case names.
type metadata map[string][]string

func (m metadata) Get(key string) string {
	if values := m[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (m metadata) Set(string, string) {}
func (m metadata) Keys() []string     { return []string{ParentKey, StateKey} }

// pairs takes the fields as a list of keys and values.
type pairs []string

func (p *pairs) Get(string) string     { return "" }
func (p *pairs) Set(key, value string) { *p = append(*p, key, value) }
func (p *pairs) Keys() []string        { return []string{ParentKey, StateKey} }

// A header takes the fields under the names of net/http.
type header struct{ http.Header }

func (h header) Set(key, value string) {
	name := parentHeader
	if key == StateKey {
		name = stateHeader
	}
	h.Header[name] = []string{value}
}

func (h header) Keys() []string { return []string{ParentKey, StateKey} }
