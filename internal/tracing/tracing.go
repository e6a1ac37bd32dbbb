// Package tracing owns what the spans of Gatehouse have in common: whose trace a
// request continues, when a span is made at all, and the names and attributes of
// spans. It leaves sampling and export to the TracerProvider of the program, and
// where a span begins and ends to the parts.
package tracing

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
)

// scope is what the instrumentation scopes of all parts begin with.
const scope = "github.com/gatehouse-dev/gatehouse/"

// loopback are the networks of this machine's own addresses.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Config configures a Tracer. The zero value records nothing.
type Config struct {
	// Provider makes the tracer; nil records nothing. The trace context of trusted
	// peers is passed on all the same.
	Provider trace.TracerProvider
	// Part is the package of the part, such as "gateway": the end of its
	// instrumentation scope.
	Part string
	// Trusted are the peers whose trace is continued.
	Trusted clientaddr.Trust
	// Logger is told once that a peer that is not trusted sent a trace context.
	// Nil tells nothing.
	Logger *slog.Logger
}

// Machine returns the trust in these networks; if they are nil, in peers on this machine.
func Machine(networks []netip.Prefix) clientaddr.Trust {
	if networks == nil {
		return clientaddr.Trust{Proxies: loopback, UnixSocket: true}
	}
	return clientaddr.Trust{Proxies: networks}
}

// A Tracer begins the spans of one part. It is safe for concurrent use. A nil
// Tracer trusts no peer and records nothing.
type Tracer struct {
	tracer  trace.Tracer // nil records nothing
	trusted clientaddr.Trust
	logger  *slog.Logger
	ignored sync.Once
}

// New returns a Tracer.
func New(cfg Config) *Tracer {
	t := &Tracer{trusted: cfg.Trusted, logger: cfg.Logger}
	if _, off := cfg.Provider.(noop.TracerProvider); cfg.Provider != nil && !off {
		t.tracer = cfg.Provider.Tracer(scope + cfg.Part)
	}
	return t
}

// Enabled reports whether spans may be recorded.
func (t *Tracer) Enabled() bool { return t != nil && t.tracer != nil }

// none is a span that records nothing.
var none = trace.SpanFromContext(context.Background())

// kinds are the options of a span of each kind, made once: a variadic argument of
// an interface's method is allocated at each call.
var kinds = func() (options [6][]trace.SpanStartOption) {
	for kind := range options {
		options[kind] = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKind(kind))}
	}
	return options
}()

// Start begins a span of a trace that is recorded, and returns its context. For
// any other context it returns that context and a span that records nothing,
// without allocation. The parent may have ended: a refresh outlives the request
// that began it.
func (t *Tracer) Start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	if !t.Enabled() || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, none
	}
	return t.tracer.Start(ctx, name, kinds[kind]...) //nolint:spancheck // the caller ends it
}

// StartAny is Start that begins a trace for a context without one: for work that
// no request has caused, and that is rare.
func (t *Tracer) StartAny(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	if !t.Enabled() || trace.SpanContextFromContext(ctx).IsValid() {
		return t.Start(ctx, name, kind)
	}
	return t.tracer.Start(ctx, name, kinds[kind]...) //nolint:spancheck // the caller ends it
}
