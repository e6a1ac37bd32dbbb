package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rs/cors"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/rpc"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/transcode"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
	"github.com/gatehouse-dev/gatehouse/internal/tracing/grpctrace"
)

// Gateway is the REST facade. It is an http.Handler, safe for concurrent use.
type Gateway struct {
	exchanges   *exchange.Server
	flows       *flow.Flows
	rest        *transcode.Handler
	rpcs        *rpc.Handler
	api         http.Handler // serveAPI behind CORS
	routes      []*route.Route
	resource    *resource    // nil unless Audience is an https URL
	description *description // nil if Document.Off
	hosts       *hostcheck.Hosts
	timeout     time.Duration
	connStreams int // of one HTTP/2 connection
	log         *slog.Logger
	ready       func() error
	unready     *throttle.Log // of the reason
	misled      *throttle.Log // requests for other hosts
}

// methodRegistry is the optional interface of a Conn that knows the methods of
// its server. The registration of a service covers all its methods.
type methodRegistry interface {
	HasMethod(fullMethod string) bool
}

// New returns a gateway for the services of cfg. It returns an error for a Config
// that is not valid, and for services that could not be served as declared: two
// methods for one path, a path hidden by another, a path outside /api, under
// /api/auth or where generated clients call, a service without annotations, and
// a service that the server behind Conn does not have. The error names method and
// path.
func New(cfg Config) (*Gateway, error) {
	g, err := newGateway(cfg)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

func newGateway(cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	g := &Gateway{
		flows:       flow.New(cfg.Limits.Heartbeat, metrics.NewUpDownCounter(cfg.MeterProvider, metrics.StreamsOpen)),
		timeout:     cfg.Limits.Timeout,
		connStreams: cfg.Limits.MaxConnStreams,
		log:         logs.Logger(cfg.Logger),
		ready:       cfg.Ready,
		unready:     throttle.Every(unreadyInterval),
		misled:      throttle.Every(time.Minute),
	}
	tracer := tracing.New(tracing.Config{Provider: cfg.TracerProvider, Part: "gateway", Trusted: tracing.Machine(cfg.TraceTrusted), Logger: g.log})
	g.exchanges = exchange.New(exchange.Config{
		Vary:         cfg.RequestHeaders,
		MaxBodyBytes: cfg.Limits.MaxBodyBytes, Timeout: cfg.Limits.Timeout, Logger: g.log, Tracer: tracer,
		Handler:   g.serve,
		Challenge: func(value string, r *http.Request) string { return g.resource.challenge(value, r) },
		Requests:  metrics.NewHTTP(cfg.MeterProvider, metrics.PartGateway),
		Limited:   metrics.NewCounter(cfg.MeterProvider, metrics.LimitRejections),
	})
	g.api = http.HandlerFunc(g.serveAPI)
	if cfg.Access.BaseURL != "" {
		base, err := origin.Parse(cfg.Access.BaseURL)
		if err != nil {
			return nil, err
		}
		if !cfg.Access.AnyHost {
			if g.hosts, err = hostcheck.New(base.Hostname(), cfg.Access.AllowedHosts); err != nil {
				return nil, err
			}
		}
		g.api = crossOrigin(base.String(), cfg.RequestHeaders).Handler(g.api)
	}
	services, err := g.addRoutes(cfg)
	if err != nil {
		return nil, err
	}
	_, local := cfg.Conn.(methodRegistry)
	conn := upstream.New(&grpctrace.Conn{ClientConnInterface: cfg.Conn, Tracer: tracer, Local: local}, cfg.Limits.MaxResponseBytes, services)
	g.rpcs = rpc.New(rpc.Config{Conn: conn, Flows: g.flows, Services: services, MaxBodyBytes: cfg.Limits.MaxBodyBytes, RequestHeaders: cfg.RequestHeaders})
	for _, rt := range g.routes {
		if g.rpcs.Hides(rt) {
			return nil, fmt.Errorf("%s (%s) lies where generated clients call that service's methods: choose another path", rt, rt.RPC)
		}
	}
	if g.resource, err = newResource(cfg.Resource, g.routes); err != nil {
		return nil, err
	}
	if g.description, err = newDescription(cfg, g.routes); err != nil {
		return nil, err
	}
	rest := transcode.Config{Conn: conn, Flows: g.flows, Routes: g.routes, RequestHeaders: cfg.RequestHeaders, Options: cfg.MuxOptions}
	for _, service := range cfg.Services {
		rest.Services = append(rest.Services, service.rest)
	}
	g.rest, err = transcode.New(rest)
	return g, err
}

// addRoutes finds the descriptors of the services and adds their routes.
func (g *Gateway) addRoutes(cfg Config) ([]protoreflect.ServiceDescriptor, error) {
	var services []protoreflect.ServiceDescriptor
	registry, _ := cfg.Conn.(methodRegistry)
	for _, service := range cfg.Services {
		desc, err := route.Service(service.rest.Name)
		if err != nil {
			return nil, err
		}
		routes, err := route.Of(desc)
		if err != nil {
			return nil, err
		}
		if registry != nil && !registry.HasMethod(route.FullMethod(desc.Methods().Get(0))) {
			return nil, invalid.Field("Services", service.rest.Name,
				"is not registered at the server behind Conn", "register it there, or do not expose it")
		}
		services = append(services, desc)
		g.routes = append(g.routes, routes...)
	}
	return services, route.CheckDuplicates(g.routes)
}

func crossOrigin(origin string, requestHeaders []string) *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins: []string{origin},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: append([]string{"Accept", "Accept-Language", "Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID", "Traceparent", "Tracestate", "X-Request-Id",
			"Connect-Protocol-Version", "Connect-Timeout-Ms", "Grpc-Timeout", "X-Grpc-Web", "X-User-Agent"}, requestHeaders...),
		ExposedHeaders: []string{"ETag", "Retry-After", "WWW-Authenticate", "X-Request-Id",
			"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"},
		MaxAge: int((10 * time.Minute).Seconds()),
		// AllowCredentials is false: the gateway reads no cookies.
	})
}

// ServeHTTP serves /api, /healthz and /readyz, and the metadata of a protected
// resource if the gateway is one. Every other path is 404.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.exchanges.ServeHTTP(w, r) }

func (g *Gateway) serve(x *exchange.Exchange) {
	r := x.Request
	health := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
	if health {
		x.Quiet, x.Pattern = true, r.URL.Path
	}
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		// TRACE would echo header fields that a proxy has added; CONNECT asks for a
		// tunnel.
		x.Refuse(methodNotServed())
	case g.resource.reached(r) && r.URL.Path == g.resource.path:
		g.resource.serve(x)
	case health:
		g.serveHealth(x)
	case !g.hosts.Allow(r.Host) && !g.resource.reached(r):
		if ok, held := g.misled.Next(); ok {
			g.log.WarnContext(x.Context(), "request for an unknown host refused", "host", r.Host, "remedy", hostcheck.Remedy, "suppressed", held)
		}
		x.Refuse(unknownHost())
	default:
		g.api.ServeHTTP(x, r)
	}
}

// serveAPI serves the paths of the API. Requests have passed CORS.
func (g *Gateway) serveAPI(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange.Exchange)
	path, refused := sanitize.Path(r.URL)
	switch {
	case refused != nil:
		x.Refuse(refused)
	case !route.Served(path.Path):
		x.Refuse(g.rest.NotFound(nil))
	case strings.Contains(path.Path, "//"), strings.HasSuffix(path.Path, "/"):
		// GET /api/things/ must not become GetThing("").
		x.Refuse(g.rest.NotFound(path))
	case g.rpcs.Owns(path.Path):
		g.rpcs.Serve(x, path)
	case g.description.describes(path.Path):
		g.description.serve(x, r)
	default:
		g.rest.Serve(x, r, path)
	}
}
