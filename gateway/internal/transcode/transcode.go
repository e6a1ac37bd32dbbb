// Package transcode owns the REST form of the services: it finds the route of a
// request, makes a gRPC call of it and an HTTP answer of the result. The
// conversion between JSON and Protobuf is grpc-gateway's; this package changes
// its defaults. It leaves the protocols of generated clients to package rpc.
package transcode

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
)

// Config configures a Handler. All fields but RequestHeaders and Options are required.
type Config struct {
	Conn     *upstream.Conn
	Flows    *flow.Flows
	Routes   []*route.Route // of all services
	Services []Service
	// RequestHeaders are the header fields that become metadata, besides those of
	// sanitize.Metadata, in canonical form.
	RequestHeaders []string
	// Options are the application's.
	Options []runtime.ServeMuxOption
}

// A Service has the generated function that registers its handlers.
type Service struct {
	Name     string
	Register func(context.Context, *runtime.ServeMux, grpc.ClientConnInterface) error
}

// Handler serves routes. It is safe for concurrent use.
type Handler struct {
	cfg      Config
	json     *strictJSON
	mux      *runtime.ServeMux
	handlers []*handler
	literals map[literal]*handler // of routes without variables
	methods  []string             // HTTP methods of the routes, sorted
}

// New registers the services and checks that their handlers are those of the
// routes.
func New(cfg Config) (*Handler, error) {
	h := &Handler{cfg: cfg, literals: map[literal]*handler{}}
	h.json = &strictJSON{runtime.JSONPb{
		MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}, // clients see every field that exists
		// UnmarshalOptions is zero: unknown fields are errors.
	}}
	if err := checkOptions(cfg.Options); err != nil {
		return nil, err
	}
	h.mux = runtime.NewServeMux(slices.Concat(h.defaults(), cfg.Options, h.muxOptions())...)
	for _, service := range cfg.Services {
		// Only generated functions that dial use the context, and Expose does not
		// take those.
		if err := service.Register(context.Background(), h.mux, cfg.Conn); err != nil {
			return nil, fmt.Errorf("register service %q: %w", service.Name, err)
		}
	}
	for _, rt := range cfg.Routes {
		h.methods = append(h.methods, rt.Method)
	}
	slices.Sort(h.methods)
	h.methods = slices.Compact(h.methods)
	return h, h.bindRoutes()
}

// drop passes no header field on.
func drop(string) (string, bool) { return "", false }

// defaults are the options that those of the application follow: they replace the matchers,
// and are added to the others. Ours see a request before theirs and its answer, too, so
// that theirs run neither for probes nor for what is refused here.
func (h *Handler) defaults() []runtime.ServeMuxOption {
	return []runtime.ServeMuxOption{
		runtime.WithMiddlewares(h.middleware),
		runtime.WithForwardResponseOption(h.forward),
		runtime.WithForwardResponseOption(checkRaw),
		runtime.WithForwardResponseOption(tag),
		runtime.WithIncomingHeaderMatcher(drop), // sanitize.Metadata makes the metadata
		runtime.WithOutgoingHeaderMatcher(sanitize.ResponseHeader),
	}
}

// muxOptions disables every default of grpc-gateway by which a request can be
// something else than it seems, and takes over errors and metadata. They follow those of
// the application, which cannot replace them.
func (h *Handler) muxOptions() []runtime.ServeMuxOption {
	return []runtime.ServeMuxOption{
		// Accept and Content-Type of a client select no marshaler: an HttpBody
		// could become base64 in JSON.
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{Marshaler: h.json}),
		runtime.WithErrorHandler(callError),
		runtime.WithRoutingErrorHandler(h.routingError),
		runtime.WithForwardResponseRewriter(h.render),
		// CVE-2026-37236: neither a header nor a form changes the method of a POST.
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		// Each encoded character is decoded once, after the path was split at its
		// slashes; sanitize.Path has refused encoded slashes.
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithOutgoingTrailerMatcher(drop),
		runtime.WithDisableChunkedEncoding(), // net/http sets it; HTTP/2 forbids it
	}
}

// NotFound refuses a path without a route. If path is not nil and has a route
// without its trailing slash, the message says so.
func (h *Handler) NotFound(path *url.URL) *refusal.Refusal {
	message := "there is nothing at this path"
	if path != nil && strings.HasSuffix(path.Path, "/") {
		trimmed := &url.URL{Path: strings.TrimSuffix(path.Path, "/"), RawPath: strings.TrimSuffix(path.RawPath, "/")}
		if h.allowed(trimmed) != nil {
			message += "; leave out the slash at its end"
		}
	}
	return refusal.New(http.StatusNotFound, codes.NotFound, message)
}

// routingError answers requests for which the mux has no handler.
func (h *Handler) routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	x, ok := w.(*exchange.Exchange)
	if !ok { // a probe
		return
	}
	switch httpStatus {
	case http.StatusNotFound:
		x.Refuse(h.NotFound(r.URL))
	case http.StatusMethodNotAllowed:
		x.NotAllowed("path", strings.Join(h.allowed(r.URL), ", "))
	default:
		x.Refuse(refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the request is malformed"))
	}
}

// handler is a handler that generated code has registered with the mux. The mux
// reveals no pattern at registration, so that bindRoutes finds the route of each
// handler with a probe.
type handler struct {
	next  runtime.HandlerFunc
	route *route.Route
}

// A literal is what selects a route without variables.
type literal struct{ method, path string }

// middleware wraps a handler of generated code. It runs after the mux has found
// the route.
func (h *Handler) middleware(next runtime.HandlerFunc) runtime.HandlerFunc {
	registered := &handler{next: next}
	h.handlers = append(h.handlers, registered)
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		switch w := w.(type) {
		case *probe:
			w.found = registered
			if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
				w.pattern = pattern.String()
			}
		case *exchange.Exchange:
			if c, ok := upstream.CallOf(r.Context()).(*call); ok {
				h.serve(c, r, registered, params)
			}
		}
	}
}

// probe is a ResponseWriter that records which handler a request would reach,
// without calling it.
type probe struct {
	found   *handler
	pattern string
	header  http.Header
}

func (p *probe) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}
func (p *probe) WriteHeader(int)             {}
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

func (h *Handler) probe(method string, u *url.URL) *probe {
	p := &probe{}
	h.mux.ServeHTTP(p, &http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody})
	return p
}

// bindRoutes finds the route of each registered handler, and checks that the
// descriptors declare the same routes that generated code registers.
func (h *Handler) bindRoutes() error {
	for _, rt := range h.cfg.Routes {
		path := rt.Template.Example()
		p := h.probe(rt.Method, &url.URL{Path: path})
		switch {
		case p.found == nil:
			return fmt.Errorf("%s (%s) is annotated, but its generated handler is not registered: generate the code anew, or give Expose the functions of that service", rt, rt.RPC)
		case p.pattern != rt.Template.Canonical:
			return fmt.Errorf("%s (%s) can never be reached, because %s %s takes its requests: declare the more specific of the two later", rt, rt.RPC, rt.Method, p.pattern)
		}
		p.found.route = rt
		if path == rt.Pattern {
			// The mux would find the same, and make a request and contexts for it.
			h.literals[literal{rt.Method, path}] = p.found
		}
	}
	for _, registered := range h.handlers {
		if registered.route == nil {
			return errors.New("generated code registers a route that no google.api.http annotation declares: generate it without generate_unbound_methods and without a separate HTTP rules file, and give MuxOptions that add no paths")
		}
	}
	return nil
}

// allowed returns the HTTP methods of a path, for Allow; nil if it has no route.
func (h *Handler) allowed(u *url.URL) []string {
	var methods []string
	for _, method := range h.methods {
		if h.probe(method, u).found == nil {
			continue
		}
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	if methods != nil {
		methods = append(methods, http.MethodOptions)
	}
	return methods
}
