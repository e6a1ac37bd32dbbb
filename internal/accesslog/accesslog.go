// Package accesslog owns the one line that each HTTP request has in the log of a
// process, whichever parts it passes there, and the request id that connects the
// lines of several processes. It leaves all other log lines to the parts.
package accesslog

import (
	"bufio"
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// Config configures [Wrap].
type Config struct {
	Logger *slog.Logger
	// Client returns the address of a request's client.
	Client func(*http.Request) string
	// Requests measures requests, and Tracer makes their spans; nil for none.
	Requests *metrics.HTTP
	Tracer   *tracing.Tracer
	// Secure says that clients use https.
	Secure bool
	// Audited says that the lines must know client and session even if they are not
	// logged.
	Audited bool
}

// Wrap returns a middleware that gives each request an id (the client's if it is
// safe to log, otherwise a new one), sends it in the answer, and logs one line when
// the request has ended: method, path, status, bytes, duration, client, whether the
// answer was cut off, and what the parts behind have added; at level WARN from status
// 500 on. Health checks have no line. Query, headers and bodies are never logged: they
// contain codes, tokens and names.
//
// It measures the request, too, and begins its span, which ends with the request, or when
// a stream or a WebSocket begins. Handlers tell the route by metrics.SetRoute.
func Wrap(cfg Config) func(http.Handler) http.Handler {
	client := func(of any) string {
		r, _ := of.(*http.Request)
		return cfg.Client(r)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := &state{}
			ctx, answer := &s.ctx, &s.answer
			ctx.IDs[0] = requestid.Keep(r.Header.Get(requestid.Header))
			s.answer = recorder{ResponseWriter: w, cfg: &cfg, request: r, measured: cfg.Requests.Begin(r.Method, cfg.Secure)}
			ctx.Context.Context, answer.span = cfg.Tracer.ReceiveRequest(r)
			if !Health(r) {
				answer.line = ctx.Begin(cfg.Logger, cfg.Audited)
				answer.line.SetClient(r, client)
			}
			w.Header()[requestid.Header] = ctx.IDs[:]
			whole := false
			defer func() {
				switch {
				case answer.taken:
					s.release()
					return
				case !whole: // a panic has cut the connection
					answer.line.Add(slog.LevelInfo, slog.Bool("aborted", true))
					answer.span.SetAttributes(tracing.Aborted)
				case answer.status == 0: // nothing was written: net/http answers 200
					answer.status = http.StatusOK
				}
				answer.endSpan()
				e := answer.ending(ctx)
				e.end(answer.bytes)
			}()
			next.ServeHTTP(answer, s.with(r))
			whole = true
		})
	}
}

// A state has what Wrap makes for a request, as one allocation. No other request uses it.
type state struct {
	ctx     Context
	answer  recorder
	request http.Request
}

// with returns r with the context of the state.
func (s *state) with(r *http.Request) *http.Request {
	s.request = *r.WithContext(&s.ctx) // inlined, so that the copy of the copy is on the stack
	return &s.request
}

// release drops what an answer does not need that goes on without its handler. Its context keeps
// the state in memory, and with it would keep the header and the buffers of net/http.
func (s *state) release() {
	s.request = http.Request{}
	s.answer.request, s.answer.ResponseWriter = nil, nil
}

// An ending has what is recorded at the end of a request.
type ending struct {
	ctx                  context.Context
	cfg                  *Config
	line                 *Line
	measured             metrics.Request
	method, path, client string
	status               int
}

// ending returns the ending of a request whose status is known.
func (w *recorder) ending(ctx context.Context) ending {
	e := ending{ctx: ctx, cfg: w.cfg, line: w.line, measured: w.measured, status: w.status}
	if e.line != nil {
		e.method, e.path, e.client = Method(w.request), w.request.URL.Path, w.cfg.Client(w.request)
	}
	return e
}

// end records a request whose body had so many bytes.
func (e *ending) end(bytes int64) {
	e.measured.End(e.ctx, e.status)
	if e.line == nil {
		return
	}
	status := cmp.Or(e.status, http.StatusOK)
	e.line.Write(e.ctx, e.cfg.Logger, Level(status),
		slog.String("method", e.method),
		slog.String("path", e.path),
		slog.Int("status", status),
		slog.Int64("bytes", bytes),
		logs.Seconds("duration", e.measured.Since()),
		slog.String("client", e.client),
	)
}

// TakeOver hijacks the connection of a request for an answer with this status that goes on
// when its handler has returned. The handler must write all of the answer, and call end once
// with the bytes of its body: until then the request is active and has no line. If the
// connection cannot be taken over, the error says why, and the handler must answer as usual.
func TakeOver(ctx context.Context, w http.ResponseWriter, status int) (conn net.Conn, end func(bytes int64), err error) {
	answer := recorderOf(w)
	if answer == nil || answer.status != 0 {
		return nil, nil, http.ErrNotSupported
	}
	answer.status = status
	if conn, _, err = http.NewResponseController(w).Hijack(); err != nil {
		answer.status = 0
		return nil, nil, err
	}
	answer.taken = true
	e := answer.ending(context.WithoutCancel(ctx))
	answer.line.SetClient(e.client, func(of any) string { s, _ := of.(string); return s })
	return conn, e.end, nil
}

// recorderOf returns the recorder below w; nil if there is none.
func recorderOf(w http.ResponseWriter) *recorder {
	for {
		switch t := w.(type) {
		case *recorder:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil
		}
	}
}

// Health reports whether a request is a health check. They are as many as all other
// requests of a small installation, and say nothing that readiness does not.
func Health(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// Level returns the level of the line of a request with a status.
func Level(status int) slog.Level {
	if status >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Method returns the method of a request, "_OTHER" for one that HTTP does not define:
// clients can invent any.
func Method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return r.Method
	}
	return "_OTHER"
}

type recorder struct {
	http.ResponseWriter
	cfg      *Config
	status   int
	bytes    int64
	request  *http.Request
	line     *Line
	taken    bool // by TakeOver
	span     trace.Span
	measured metrics.Request
}

// Measured is for metrics.RequestOf.
func (w *recorder) Measured() *metrics.Request { return &w.measured }

func (w *recorder) WriteHeader(status int) {
	if w.status < 200 { // informational answers come before the real one
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
	if status >= 200 && w.measured.Stream() {
		w.opened()
	}
}

// Hijack hands over the connection: of a WebSocket, unless TakeOver has set a status.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = cmp.Or(w.status, http.StatusSwitchingProtocols)
		w.opened()
	}
	return conn, buffered, err
}

// opened ends the span of an answer that lasts.
func (w *recorder) opened() {
	w.span.SetAttributes(tracing.Stream)
	w.endSpan()
}

// endSpan ends the span, unless it has ended.
func (w *recorder) endSpan() {
	tracing.EndRequest(w.span, w.request.Method, w.measured.Route(), w.cfg.Secure, w.status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
