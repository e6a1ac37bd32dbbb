package metrics

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// methods are those of RFC 9110 and RFC 5789; a client can invent any number of others.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// HTTP measures the requests that clients make to one part. It is safe for concurrent use.
type HTTP struct {
	part     string
	duration metric.Float64Histogram
	active   *cells
	// results has the attributes of every result that has occurred. It is replaced, never
	// changed.
	results atomic.Pointer[map[result][]metric.RecordOption]
	mu      sync.Mutex // guards replacing results
}

// A result is what the duration of a request is recorded with.
type result struct {
	route  string
	method int16 // index in methods, or their number
	status int16 // 0 for none
	secure bool
	stream bool
}

// maxResults bounds results, below the limit at which the SDK drops all labels (2000). A
// route has a handful of them, and routes are declared; it guards against a part that makes
// routes of paths.
const maxResults = 1900

// NewHTTP returns the recorder of a part.
func NewHTTP(provider metric.MeterProvider, part string) *HTTP {
	m := meter(provider)
	if m == nil {
		return nil
	}
	h := &HTTP{part: part, duration: newHistogram(m, HTTPServerRequestDuration), active: newCells(HTTPServerActiveRequests)}
	h.results.Store(&map[result][]metric.RecordOption{})
	of := HTTPServerActiveRequests
	h.active.read(m, must(m.Int64ObservableUpDownCounter(of.Name, metric.WithUnit(of.Unit), metric.WithDescription(of.Description))),
		func(_ int, n int64) bool { return n != 0 }) // the other part of the process has the other values
	return h
}

// A Request is a request in flight.
type Request struct {
	http   *HTTP
	start  time.Time
	active *atomic.Int64
	result result
}

// Begin begins to measure a request. secure is whether the client uses https.
func (h *HTTP) Begin(method string, secure bool) Request {
	if h == nil {
		return Request{start: time.Now()}
	}
	at := slices.Index(methods, method)
	if at < 0 {
		at, method = len(methods), Other
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	q := Request{http: h, start: time.Now(), result: result{method: int16(at), secure: secure}}
	q.active = &h.active.n[h.active.of.index([]string{h.part, method, scheme})]
	q.active.Add(1)
	return q
}

// SetRoute sets the template of the route that was found.
func (q *Request) SetRoute(template string) { q.result.route = template }

// SetStream says that the answer is a stream.
func (q *Request) SetStream() { q.result.stream = true }

// Start returns the time of Begin.
func (q *Request) Start() time.Time { return q.start }

// Since returns the time since Begin.
func (q *Request) Since() time.Duration { return time.Since(q.start) }

// End records a request whose answer had a status, 0 for none.
func (q *Request) End(ctx context.Context, status int) {
	if q.http == nil {
		return
	}
	q.active.Add(-1)
	q.result.status = known(status)
	q.http.duration.Record(ctx, time.Since(q.start).Seconds(), q.http.options(q.result)...)
}

// known returns a status that HTTP knows, and that of its class for any other.
func known(status int) int16 {
	switch {
	case status < 100 || status > 599:
		return 0
	case http.StatusText(status) == "":
		status -= status % 100
	}
	return int16(status)
}

// options returns the attributes of a result.
func (h *HTTP) options(r result) []metric.RecordOption {
	if options, ok := (*h.results.Load())[r]; ok {
		return options
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := *h.results.Load()
	if options, ok := all[r]; ok {
		return options
	}
	if len(all) >= maxResults {
		r.route = ""
	}
	options := []metric.RecordOption{metric.WithAttributeSet(h.attributes(r))}
	if len(all) < maxResults || r.route == "" {
		all = maps.Clone(all)
		all[r] = options
		h.results.Store(&all)
	}
	return options
}

func (h *HTTP) attributes(r result) attribute.Set {
	method, scheme := Other, "http"
	if int(r.method) < len(methods) {
		method = methods[r.method]
	}
	if r.secure {
		scheme = "https"
	}
	list := []attribute.KeyValue{
		attribute.String(KeyPart, h.part), attribute.String(KeyMethod, method), attribute.String(KeyScheme, scheme),
		attribute.String(KeyStream, strconv.FormatBool(r.stream)),
	}
	if r.route != "" {
		list = append(list, attribute.String(KeyRoute, r.route))
	}
	if r.status != 0 {
		list = append(list, attribute.Int(KeyStatus, int(r.status)))
	}
	if r.status >= http.StatusInternalServerError {
		list = append(list, attribute.String(KeyError, strconv.Itoa(int(r.status))))
	}
	return attribute.NewSet(list...)
}

// Active reports whether the request is measured.
func (q *Request) Active() bool { return q != nil && q.http != nil }

// Stream reports whether the answer is a stream.
func (q *Request) Stream() bool { return q.result.stream }

// Route returns the template of the route that was found, "" for none.
func (q *Request) Route() string { return q.result.route }

// RequestOf returns the request of a part in front, whose http.ResponseWriter is w or
// below it and has a method Measured; nil if there is none.
func RequestOf(w http.ResponseWriter) *Request {
	for {
		switch t := w.(type) {
		case interface{ Measured() *Request }:
			return t.Measured()
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil
		}
	}
}

// SetRoute sets the route of the request that w answers, if there is a part that asks.
func SetRoute(w http.ResponseWriter, template string) {
	if q := RequestOf(w); q != nil {
		q.SetRoute(template)
	}
}
