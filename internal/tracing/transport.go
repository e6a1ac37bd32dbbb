package tracing

import (
	"net/http"
	"strconv"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// A Transport makes a client span for each request to the provider, and tells the
// provider the trace. Requests that belong to no trace begin one. The paths of a
// provider's endpoints are part of its configuration; queries are no attributes.
type Transport struct {
	Base   http.RoundTripper // nil means http.DefaultTransport
	Tracer *Tracer
}

// RoundTrip implements http.RoundTripper. The span ends with the header of the
// answer.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.Tracer.StartAny(r.Context(), r.Method, trace.SpanKindClient)
	if !span.IsRecording() {
		return t.base().RoundTrip(r)
	}
	path, port := r.URL.EscapedPath(), r.URL.Port()
	if port == "" && r.URL.Scheme == "https" {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	number, _ := strconv.Atoi(port) // the transport refuses any other text
	span.SetName(r.Method + " " + path)
	span.SetAttributes(semconv.HTTPRequestMethodKey.String(r.Method), semconv.URLScheme(r.URL.Scheme), semconv.URLTemplate(path),
		semconv.ServerAddress(r.URL.Hostname()), semconv.ServerPort(number))
	traced := r.Clone(observe(ctx, span))
	InjectHeader(ctx, traced.Header)
	res, err := t.base().RoundTrip(traced)
	if err != nil {
		Fail(span, Kind(err))
		span.End()
		return nil, err
	}
	setStatus(span, res.StatusCode)
	span.End()
	res.Request = r
	return res, nil
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}
