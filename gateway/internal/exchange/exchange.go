// Package exchange owns one HTTP request and its answer: the ResponseWriter that
// everything writes to, the reading of the body within its limits, compression
// and the line of the request log. It leaves routing, and what the answer says,
// to its callers.
package exchange

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// Config configures a Server. All fields but Vary are required.
type Config struct {
	// Vary are the request header fields of the application's own that services get.
	Vary []string
	// MaxBodyBytes is the longest body that ReadBody returns.
	MaxBodyBytes int64
	// Timeout bounds a unary call, including the time to read its body.
	Timeout time.Duration
	// Handler answers a request. An exchange is not used after it returns.
	Handler func(*Exchange)
	// Challenge completes a WWW-Authenticate value for a request, unless it is "".
	Challenge func(value string, r *http.Request) string
	Logger    *slog.Logger
	// Requests measures the requests of clients, nil for none. Those that another part
	// passes on in this process are measured there.
	Requests *metrics.HTTP
	Limited  *metrics.Counter
	Tracer   *tracing.Tracer
}

// Server is the http.Handler that begins and ends exchanges. It is safe for
// concurrent use.
type Server struct {
	cfg       Config
	arriving  *arrival.Limiter // bodies of unary calls
	overloads *throttle.Log
}

// New returns a Server.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, arriving: arrival.New(arrivingBytes, time.Now), overloads: throttle.Every(time.Minute)}
}

// An Exchange is one request and its answer. It is an http.ResponseWriter.
type Exchange struct {
	Request *http.Request // as it arrived
	IDs     []string      // the request id, the only element
	Route   *route.Route  // nil until one is found
	Pattern string        // for the log, of a path without a route
	Success int           // status of a successful answer; 0 means 200
	Done    bool          // the answer is complete: Write discards the rest
	Bytes   bool          // a successful answer is an HttpBody
	Quiet   bool          // logs at debug level: health checks, and refusals in large numbers

	server   *Server
	w        http.ResponseWriter
	ctx      context.Context
	span     trace.Span
	measured metrics.Request  // unless a part in front of this one measures the request
	outside  *metrics.Request // that of the part in front, nil if there is none
	outer    *accesslog.Line  // of a part in front of this one, in this process
	line     *accesslog.Line  // of the gateway, if outer is nil
	stream   Stream           // nil unless the answer is written in parts
	override atomic.Pointer[refusal.Refusal]
	status   int       // 0 until the header is sent
	written  int64     // bytes of the body
	values   [2]string // of header fields; options of the application may write to them
}

// A Stream writes the body of an answer in parts.
type Stream interface {
	Write(b []byte)
	Flush() error
}

// ServeHTTP calls Handler with an exchange for the request, recovers from a panic in
// it and logs the request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{Request: r, server: s, w: w}
	requests := s.cfg.Requests
	if x.outside = metrics.RequestOf(w); x.outside.Active() {
		requests = nil // measured gives the time only
	}
	x.measured = requests.Begin(r.Method, r.TLS != nil)
	ctx, span := s.cfg.Tracer.ReceiveRequest(r)
	x.ctx, x.span, x.outer = ctx, span, accesslog.FromContext(ctx)
	if x.IDs = requestid.Values(ctx); x.outer == nil || x.IDs == nil { // both of a bff in this process
		x.identify()
	}
	h := w.Header()
	h[requestid.Header] = x.IDs
	x.values = [...]string{"nosniff", "no-store"}
	h["X-Content-Type-Options"] = x.values[0:1:1]
	defer func() {
		cause := recover()
		if cause != nil && cause != http.ErrAbortHandler {
			s.cfg.Logger.LogAttrs(x.ctx, slog.LevelError, "panic in the gateway",
				slog.String("rpc", x.rpc()), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			if x.status == 0 {
				x.Refuse(refusal.Internal())
				cause = nil
			} else {
				cause = http.ErrAbortHandler // the client must notice that the answer is incomplete
			}
		}
		s.measure(x)
		if cause != nil {
			x.span.SetAttributes(tracing.Aborted)
		}
		x.endSpan()
		s.log(x)
		if cause != nil {
			panic(cause)
		}
	}()
	s.cfg.Handler(x)
}

// identify gives the request its id, and its line unless a part in front has begun one.
func (x *Exchange) identify() {
	ctx, id := new(accesslog.Context), requestid.FromContext(x.ctx)
	if values := x.Request.Header[requestid.Header]; id == "" && len(values) == 1 {
		id = values[0]
	}
	ctx.Context.Context, ctx.IDs[0] = x.ctx, requestid.Keep(id)
	if x.outer == nil {
		x.line = ctx.Begin(x.server.cfg.Logger, false)
		x.line.SetClient(x.Request, clientOf) // for audit events of a server in this process
	}
	x.ctx, x.IDs = ctx, ctx.IDs[:]
}

// clientOf returns the address at the other end of a request's connection.
func clientOf(of any) string {
	r, _ := of.(*http.Request)
	return clientaddr.Of(r, clientaddr.Trust{})
}

// measure records the request, or tells the part in front of its route.
func (s *Server) measure(x *Exchange) {
	request := x.outside
	if request == nil {
		request = &x.measured
	}
	request.SetRoute(x.pattern())
	if x.stream != nil {
		request.SetStream()
	}
	x.measured.End(x.ctx, x.status)
}

// log writes the line of a request: the pattern, never the path, the query or
// the header. If a part in front of this one writes the line, it gets what only
// the gateway knows, and the gateway logs at debug level.
func (s *Server) log(x *Exchange) {
	pattern := cmp.Or(x.pattern(), "-")
	ctx, logger := x.ctx, s.cfg.Logger
	attrs := [...]slog.Attr{
		slog.String("route", pattern),
		slog.String("rpc", x.rpc()),
		slog.String("method", accesslog.Method(x.Request)),
		slog.Int("status", x.status),
		slog.Int64("bytes", x.written),
		logs.Seconds("duration", x.measured.Since()),
		slog.String("client", clientOf(x.Request)),
	}
	switch {
	case x.outer != nil:
		x.outer.Add(slog.LevelInfo, attrs[:2]...)
		logger.LogAttrs(ctx, slog.LevelDebug, logs.Request, attrs[:]...)
	case x.Quiet:
		logger.LogAttrs(ctx, slog.LevelDebug, logs.Request, attrs[:]...)
	default:
		x.line.Write(ctx, logger, accesslog.Level(x.status), attrs[:]...)
	}
}

// pattern returns the template of the path, "" if it is not known.
func (x *Exchange) pattern() string {
	if x.Route != nil {
		return x.Route.Pattern
	}
	return x.Pattern
}

// endSpan ends the span of the request, unless it has ended.
func (x *Exchange) endSpan() {
	tracing.EndRequest(x.span, x.Request.Method, x.pattern(), x.Request.TLS != nil, x.status)
}

func (x *Exchange) rpc() string {
	if x.Route == nil {
		return ""
	}
	return x.Route.RPC
}

// Context returns the context of the request, which has its id. That of Request is the one with
// which it arrived.
func (x *Exchange) Context() context.Context { return x.ctx }

// Deadline returns when a unary call must have ended.
func (x *Exchange) Deadline() time.Time { return x.measured.Start().Add(x.server.cfg.Timeout) }

// Timeout returns the time that a unary call has.
func (x *Exchange) Timeout() time.Duration { return x.server.cfg.Timeout }

// Controller returns the controller of the connection.
func (x *Exchange) Controller() *http.ResponseController { return http.NewResponseController(x.w) }

// SetStream makes Write and Flush go through stream.
func (x *Exchange) SetStream(stream Stream) { x.stream = stream }

// Override makes RefusalOf return refused: the call failed for a reason that the
// server does not know, such as a request body that broke off. It may be called
// concurrently with all other methods.
func (x *Exchange) Override(refused *refusal.Refusal) { x.override.Store(refused) }

// RefusalOf returns the answer to an error of a call, and logs the part of the
// error that clients must not see. ctx is the context of the call.
func (x *Exchange) RefusalOf(ctx context.Context, err error) *refusal.Refusal {
	if refused := x.override.Load(); refused != nil {
		return refused
	}
	if upstream.RequestTooLong(err) {
		return refusal.New(http.StatusRequestEntityTooLarge, codes.InvalidArgument, "the request is too long for the service")
	}
	st := refusal.StatusOf(ctx, err)
	attrs, level, n := [...]slog.Attr{slog.String("code", st.Code().String()), slog.String("err", st.Message()), slog.String("rpc", x.rpc())}, slog.LevelInfo, 1
	switch st.Code() {
	case codes.Unknown, codes.Internal, codes.DataLoss, codes.Unavailable, codes.DeadlineExceeded:
		level, n = slog.LevelWarn, 2
	}
	line := x.outer
	if line == nil {
		line = x.line
	}
	// In process the server has added the cause, which its status does not tell.
	if !line.AddMissing(level, attrs[:n]...) {
		x.server.cfg.Logger.LogAttrs(ctx, level, "call failed", attrs[:]...)
	}
	return refusal.OfStatus(st)
}

// Abort cuts the connection in the middle of an answer that failed, so that the
// client notices. It does not return.
func (x *Exchange) Abort(ctx context.Context, st *status.Status, err error) {
	if x.ctx.Err() == nil {
		x.server.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "answer cut off", slog.String("rpc", x.rpc()),
			slog.String("code", st.Code().String()), slog.Any("err", err))
	}
	panic(http.ErrAbortHandler)
}

// RefusalHeader returns the header fields of an error answer to this request.
func (x *Exchange) RefusalHeader(refused *refusal.Refusal) http.Header {
	return refused.Header(x.server.cfg.Challenge(refused.Challenge, x.Request))
}

// Refuse sends an error answer. If an answer has begun, it aborts the connection
// instead, so that the client notices that the answer is incomplete.
func (x *Exchange) Refuse(refused *refusal.Refusal) {
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	x.Bytes = false
	contentType, content := refused.Body(httpheader.WantsProblem(x.Request.Header))
	h := x.Header()
	h.Del("Etag")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	maps.Copy(h, x.RefusalHeader(refused))
	x.WriteHeader(refused.HTTP)
	_, _ = x.Write(content)
}

// ReadOnly reports whether the request is a GET or HEAD of a resource of the
// gateway itself. It answers every other method.
func (x *Exchange) ReadOnly() bool {
	const allow = "GET, HEAD, OPTIONS"
	switch x.Request.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		x.Options(allow)
	default:
		x.NotAllowed("path", allow)
	}
	return false
}

// Options answers an OPTIONS request.
func (x *Exchange) Options(allow string) {
	x.Header().Set("Allow", allow)
	x.WriteHeader(http.StatusNoContent)
}

// NotAllowed refuses a method that a "path" or a "method" is not served for.
func (x *Exchange) NotAllowed(what, allow string) {
	refused := refusal.New(http.StatusMethodNotAllowed, codes.Unimplemented, "this "+what+" is served for "+allow+" only")
	refused.Allow = allow
	x.Refuse(refused)
}

// Header returns the header of the answer.
func (x *Exchange) Header() http.Header { return x.w.Header() }

// WriteHeader sends the header. It adds Cache-Control: no-store if the service
// has set none, and Vary otherwise, and removes values that a header field cannot
// hold.
func (x *Exchange) WriteHeader(code int) {
	if x.status != 0 {
		return
	}
	if code >= 200 { // 1xx precedes the answer
		x.status = code
		h := x.Header()
		for _, name := range fromService {
			if slices.ContainsFunc(h[name], func(value string) bool { return !httpheader.IsPrintable(value) }) {
				delete(h, name)
			}
		}
		if len(h["Cache-Control"]) == 0 {
			h["Cache-Control"] = x.values[1:2:2]
		} else if len(x.server.cfg.Vary) > 0 && !strings.HasPrefix(h["Cache-Control"][0], "no-store") {
			// A cache must not have the answer for one tenant, say, for another.
			h["Vary"] = append(h["Vary"], x.server.cfg.Vary...)
		}
		if x.Bytes && code != http.StatusNotModified {
			secure(h)
		}
	}
	x.w.WriteHeader(code)
	if code >= 200 && x.stream != nil { // it may last for hours
		x.span.SetAttributes(tracing.Stream)
		x.endSpan()
	}
}

// fromService are header fields whose values come from the service.
var fromService = []string{"Cache-Control", "Etag"}

// Write sends a part of the body. It discards the body of an answer to HEAD.
func (x *Exchange) Write(b []byte) (int, error) {
	whole := len(b)
	if x.status == 0 {
		if x.stream == nil {
			b = compressed(x.Request, x.Header(), b) // the whole body: only streams are written in parts
		}
		x.Begin()
	}
	if x.Done || x.Request.Method == http.MethodHead {
		return whole, nil
	}
	if x.stream != nil {
		x.stream.Write(b)
		return whole, nil
	}
	_, _ = x.WriteRaw(b) // the client is gone; the runtime would write the error to stderr
	return whole, nil
}

// FlushError sends what is buffered. http.ResponseController calls it.
func (x *Exchange) FlushError() error {
	if x.stream != nil {
		return x.stream.Flush()
	}
	x.Begin()
	return http.NewResponseController(x.w).Flush()
}

// Begin sends the header of a successful answer, unless a header has been sent.
func (x *Exchange) Begin() {
	if x.status == 0 {
		x.WriteHeader(cmp.Or(x.Success, http.StatusOK))
	}
}

// Begun reports whether a header has been sent.
func (x *Exchange) Begun() bool { return x.status != 0 }

// WriteRaw writes to the connection, past the stream and the compression.
func (x *Exchange) WriteRaw(b []byte) (int, error) {
	n, err := x.w.Write(b)
	x.written += int64(n)
	return n, err
}

// Unwrap returns the ResponseWriter of the server, for http.ResponseController.
func (x *Exchange) Unwrap() http.ResponseWriter { return x.w }
