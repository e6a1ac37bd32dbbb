package tracing

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Names of spans inside a part. Those of requests, calls and the store's are made of
// their attributes, as the semantic conventions say.
const (
	// Refresh is the refresh of a session's tokens.
	Refresh = "refresh"
	// AwaitRefresh is a request's wait for the refresh of its session, which
	// another request may have begun.
	AwaitRefresh = "await refresh"
	// RouteToken is the request for the token of a route, and AwaitRouteToken a
	// request's wait for it.
	RouteToken      = "route token"
	AwaitRouteToken = "await route token"
)

// Attributes that the semantic conventions do not have.
var (
	// Stream marks the span of a request whose answer lasts: an event stream, a
	// WebSocket, or a stream of a call. The span ends when the answer begins.
	Stream = attribute.Bool("gatehouse.stream", true)
	// Aborted marks the span of a request whose answer was cut off, by either side.
	Aborted = attribute.Bool("gatehouse.aborted", true)
)

// methods are the methods that stand in a span's name.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true,
	http.MethodDelete: true, http.MethodOptions: true, http.MethodConnect: true, http.MethodTrace: true,
}

// method returns the method of a request as a span's name and attribute have it: a
// client can invent others.
func method(of string) (name, attribute string) {
	if methods[of] {
		return of, of
	}
	return "HTTP", "_OTHER"
}

// EndRequest ends the span of an HTTP request. route is the template of the path, ""
// if none is known. Addresses, paths and queries are no attributes: they are personal
// data, or contain some.
func EndRequest(span trace.Span, verb, route string, secure bool, status int) {
	if !span.IsRecording() {
		return
	}
	name, value := method(verb)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	span.SetAttributes(semconv.HTTPRequestMethodKey.String(value), semconv.URLScheme(scheme))
	if route != "" {
		name += " " + route
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	span.SetName(name)
	if status != 0 { // the answer was cut off before it began
		setStatus(span, status)
	}
	span.End()
}

// A Call is a request to a server or handler behind a part. The zero Call has no span.
type Call struct{ recorded *recordedCall } // a pointer, because few are recorded

type recordedCall struct {
	span             trace.Span
	method, template string
}

// StartCall begins the client span of a request whose path has a template, and returns
// its context.
func (t *Tracer) StartCall(ctx context.Context, verb, template string) (context.Context, Call) {
	name, value := method(verb)
	ctx, span := t.Start(ctx, name, trace.SpanKindClient)
	if !span.IsRecording() {
		return ctx, Call{}
	}
	return observe(ctx, span), Call{&recordedCall{span, value, template}}
}

// Opened ends the span of a request whose answer begins to last.
func (c Call) Opened(status int) {
	if c.recorded != nil {
		c.recorded.span.SetAttributes(Stream)
		c.End(status, false)
	}
}

// End ends the span. status is 0 if there was no answer.
func (c Call) End(status int, aborted bool) {
	r := c.recorded
	if r == nil || !r.span.IsRecording() {
		return
	}
	r.span.SetAttributes(semconv.HTTPRequestMethodKey.String(r.method), semconv.URLTemplate(r.template))
	if aborted {
		r.span.SetAttributes(Aborted)
	}
	if status != 0 {
		setStatus(r.span, status)
	}
	r.span.End()
}

// collection is the name of what the session store has: sessions, and notes about them.
const collection = "sessions"

// StartStore begins the client span of a call of the session store, and returns its
// context. system is that of db.system.name. Keys are no attributes: they lead to users.
func (t *Tracer) StartStore(ctx context.Context, system, operation string) (context.Context, trace.Span) {
	ctx, span := t.Start(ctx, operation, trace.SpanKindClient)
	if span.IsRecording() {
		span.SetName(operation + " " + collection)
		span.SetAttributes(semconv.DBSystemNameKey.String(system), semconv.DBOperationName(operation), semconv.DBCollectionName(collection))
	}
	return ctx, span
}

// setStatus sets what a span tells of the status of an HTTP answer. Only a server's
// fault is an error: a client that must sign in is none.
func setStatus(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		Fail(span, strconv.Itoa(status))
	}
}

// Fail marks a span as an error of a type: a status, or the kind of a failure. The
// text of an error may contain anything, so that only the log gets it.
func Fail(span trace.Span, kind string) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, "")
}

// Kind returns the type of an error of a connection or a store, for Fail.
func Kind(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "_OTHER"
}

// observe returns a context in which an HTTP request tells its span the address that
// it is sent to.
func observe(ctx context.Context, span trace.Span) context.Context {
	if !span.IsRecording() {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { SetPeer(span, info.Conn.RemoteAddr()) },
	})
}

// SetPeer sets the address of the other end.
func SetPeer(span trace.Span, peer net.Addr) {
	switch address := peer.(type) {
	case *net.TCPAddr:
		span.SetAttributes(semconv.NetworkPeerAddress(address.AddrPort().Addr().Unmap().String()), semconv.NetworkPeerPort(address.Port))
	case *net.UnixAddr:
		span.SetAttributes(semconv.NetworkPeerAddress(address.Name))
	}
}
