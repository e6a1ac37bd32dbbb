package gateway

import (
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// exchange is one request and its answer: the ResponseWriter that everything
// below writes to, and what the log line tells.
type exchange struct {
	w       http.ResponseWriter
	request *http.Request // as it came
	id      string
	start   time.Time
	outer   *accesslog.Line // of a part in front of this one, in this process
	line    *accesslog.Line // ours, if there is none

	resource   *resource         // nil if the gateway is none
	route      *route            // nil until one is found
	own        string            // the pattern of a path that the gateway itself answers
	conditions *conditions       // nil for none
	flow       *flow             // nil but for streams
	params     map[string]string // what the path fills, as text
	query      url.Values
	body       []byte // JSON
	called     bool   // the server has been asked
	asksRange  bool   // of an HttpBody
	success    int    // status of an answer that is none of an error; 0 for 200
	status     int    // 0 until the header is written
	complete   bool   // answered, whatever the runtime would add
	written    int64  // bytes of the body
	rendered   rendered
	quiet      bool // its line is for debugging: a health check, or one of many refusals
}

type exchangeKey struct{}

// ServeHTTP serves /api, /healthz and /readyz, and the metadata of a protected
// resource where the gateway is one; every other path is a 404.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := ""
	if values := r.Header[requestid.Header]; len(values) == 1 {
		id = values[0]
	}
	x := &exchange{w: w, request: r, resource: g.resource, id: requestid.Keep(id), start: time.Now()}
	ctx := r.Context()
	if requestid.FromContext(ctx) != x.id {
		ctx = requestid.NewContext(ctx, x.id)
	}
	if x.outer = accesslog.FromContext(ctx); x.outer == nil {
		ctx, x.line = accesslog.Begin(ctx, g.log)
	}
	if ctx != r.Context() {
		x.request = r.WithContext(ctx)
	}
	h := w.Header()
	h[requestid.Header] = []string{x.id}
	h["X-Content-Type-Options"] = nosniff
	defer func() {
		cause := recover()
		if cause != nil && cause != http.ErrAbortHandler {
			g.log.LogAttrs(x.request.Context(), slog.LevelError, "panic in the gateway",
				slog.String("rpc", x.rpc()), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			if x.status == 0 {
				x.refuse(internalError)
				cause = nil
			} else {
				cause = http.ErrAbortHandler // half an answer must not look whole
			}
		}
		g.logRequest(x)
		if cause != nil {
			panic(cause)
		}
	}()
	switch {
	case unserved(r.Method):
		refused := refuse(http.StatusMethodNotAllowed, codes.Unimplemented, "this method is not served")
		refused.allow = methods
		x.refuse(refused)
	case g.resource.reached(r) && r.URL.Path == g.resource.path:
		g.resource.serve(x)
	case r.URL.Path == "/healthz":
		g.serveHealth(x, nil)
	case r.URL.Path == "/readyz":
		g.serveHealth(x, g.ready)
	case !g.hosts.Allow(r.Host) && !g.resource.reached(r):
		g.log.LogAttrs(ctx, slog.LevelWarn, "request for an unknown host refused", slog.String("host", r.Host), slog.String("remedy", hostcheck.Remedy))
		x.refuse(unknownHost)
	default:
		g.api.ServeHTTP(x, x.request)
	}
}

// Values that every answer has, in slices that are full: who appends to one gets
// another.
var (
	nosniff = []string{"nosniff"}
	noStore = []string{"no-store"}
)

// logRequest writes the line of a request: the pattern, never the path or the
// query, and no header. Where a part in front of this one writes it, it gets
// what only the gateway knows, and ours is for debugging.
func (g *Gateway) logRequest(x *exchange) {
	pattern := "-"
	switch {
	case x.route != nil:
		pattern = x.route.Pattern
	case x.own != "":
		pattern = x.own
	case x.request.URL.Path == "/healthz", x.request.URL.Path == "/readyz":
		x.quiet, pattern = true, x.request.URL.Path
	}
	ctx := x.request.Context()
	attrs := [...]slog.Attr{
		slog.String("route", pattern),
		slog.String("rpc", x.rpc()),
		slog.String("method", methodForLog(x.request.Method)),
		slog.Int("status", x.status),
		slog.Int64("bytes", x.written),
		slog.Duration("duration", time.Since(x.start)),
	}
	switch {
	case x.outer != nil:
		x.outer.Add(slog.LevelInfo, attrs[:2]...)
		g.log.LogAttrs(ctx, slog.LevelDebug, "request", attrs[:]...)
	case x.quiet:
		g.log.LogAttrs(ctx, slog.LevelDebug, "request", attrs[:]...)
	default:
		x.line.Write(ctx, g.log, attrs[:]...)
	}
}

// methodForLog keeps a client's inventions out of the log.
func methodForLog(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func (x *exchange) rpc() string {
	if x.route == nil {
		return ""
	}
	return x.route.RPC
}

// refuse answers with an error, unless an answer has begun: then the
// connection is cut, so that it does not pass for a whole one.
func (x *exchange) refuse(refused *refusal) {
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	contentType, content := refused.body(wantsProblem(x.request.Header))
	h := x.Header()
	h.Del("Etag")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	maps.Copy(h, refused.header(x))
	x.WriteHeader(refused.http)
	_, _ = x.Write(content)
}

// Header is the answer's header.
func (x *exchange) Header() http.Header { return x.w.Header() }

// WriteHeader sends the header, completed: what an API says about caching
// stands, and what says nothing is not to be stored.
func (x *exchange) WriteHeader(code int) {
	if x.status != 0 {
		return
	}
	if code >= 200 { // a 1xx comes before the answer
		x.status = code
		h := x.Header()
		for _, name := range fromService {
			if slices.ContainsFunc(h[name], func(value string) bool { return !isPrintable(value) }) {
				delete(h, name)
			}
		}
		if len(h["Cache-Control"]) == 0 {
			h["Cache-Control"] = noStore
		}
		if types, ok := h["Content-Type"]; ok && (len(types) == 0 || types[0] == "" || !isPrintable(types[0])) {
			h.Set("Content-Type", "application/octet-stream") // an HttpBody that names none
		} else if ok && types[0] != typeJSON && scripted(types[0]) && len(h["Content-Security-Policy"]) == 0 {
			h.Set("Content-Security-Policy", "sandbox")
		}
	}
	x.w.WriteHeader(code)
}

// fromService are header fields whose values a service makes: what no header
// can hold is left out.
var fromService = []string{"Cache-Control", "Etag"}

// scripted reports whether a browser that opens an answer of that type would
// run the scripts in it: HTML, and all of XML, SVG pictures too. Behind the bff
// they would run as the application's own, with the person's session; and whose
// file it is that a service gives back as an HttpBody, nobody here knows. In a
// sandbox (CSP Level 3 section 6.3.2) they do not run.
func scripted(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	for _, kind := range []string{"html", "xml", "svg", "xsl", "multipart/"} {
		if strings.Contains(mediaType, kind) {
			return true
		}
	}
	return false
}

// Write sends a part of the body; an answer to HEAD has none.
func (x *exchange) Write(b []byte) (int, error) {
	whole := len(b)
	if x.status == 0 {
		if x.flow == nil {
			b = x.compressed(b) // nothing but a stream is written in parts
		}
		x.WriteHeader(x.okStatus())
	}
	if x.complete || x.request.Method == http.MethodHead {
		return whole, nil
	}
	if x.flow != nil {
		x.flow.write(b)
		return whole, nil
	}
	// A client that has gone is no news, and the runtime would write it past the
	// log.
	n, _ := x.w.Write(b)
	x.written += int64(n)
	return whole, nil
}

// FlushError sends what is buffered, for http.ResponseController.
func (x *exchange) FlushError() error {
	if x.flow != nil {
		return x.flow.flush()
	}
	if x.status == 0 {
		x.WriteHeader(x.okStatus())
	}
	return http.NewResponseController(x.w).Flush()
}

func (x *exchange) okStatus() int {
	if x.success != 0 {
		return x.success
	}
	return http.StatusOK
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }
