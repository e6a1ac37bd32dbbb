package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/rs/cors"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	apiPrefix  = "/api"
	authPrefix = "/api/auth" // the bff's part of it
)

// Gateway is the REST facade. It is safe for concurrent use.
type Gateway struct {
	conn        *channel
	json        *strictJSON
	mux         *runtime.ServeMux
	api         http.Handler // route, within CORS
	routes      []*route
	handlers    []*handler
	resource    *resource
	description *description
	hosts       *hostcheck.Hosts // nil for any
	methods     []string         // HTTP methods of the routes, sorted
	rpcs        *rpcs

	arriving  *arrival.Limiter // bodies of unary calls
	crowds    *throttle.Log    // of requests refused for it
	maxBody   int64
	timeout   time.Duration
	heartbeat time.Duration
	log       *slog.Logger
	ready     func() error

	leaving context.Context // ends with Drain
	leave   context.CancelFunc
}

// methodRegistry is the optional interface of a Conn that knows the methods of
// its server. The registration of a service covers all its methods.
type methodRegistry interface {
	HasMethod(fullMethod string) bool
}

// New registers the services and returns the gateway. It refuses what would
// otherwise surprise later, naming the method and the path: two methods for one
// path, a path that another hides, one outside /api or under /api/auth or where
// generated clients call, and a service without any annotation.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	cfg = cfg.withDefaults()
	g := &Gateway{
		arriving: arrival.New(arrivingBytes, time.Now), crowds: throttle.Every(time.Second),
		maxBody: cfg.Limits.MaxBodyBytes, timeout: cfg.Limits.Timeout, heartbeat: cfg.Limits.Heartbeat,
		log: requestid.Logger(cfg.Logger), ready: cfg.Ready,
	}
	g.leaving, g.leave = context.WithCancel(context.Background())
	g.api = http.HandlerFunc(g.serveAPI)
	if cfg.Access.BaseURL != "" {
		base, err := origin.Parse(cfg.Access.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		if !cfg.Access.AnyHost {
			if g.hosts, err = hostcheck.New(base.Hostname(), cfg.Access.AllowedHosts); err != nil {
				return nil, fmt.Errorf("gateway: %w", err)
			}
		}
		g.api = crossOrigin(base.String()).Handler(g.api)
	}
	g.json = &strictJSON{runtime.JSONPb{
		MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}, // a client sees every field there is
		// UnmarshalOptions stays zero: unknown fields are errors.
	}}
	g.mux = runtime.NewServeMux(g.muxOptions()...)

	var services []protoreflect.ServiceDescriptor
	registry, _ := cfg.Conn.(methodRegistry)
	for _, service := range cfg.Services {
		desc, err := descriptorOf(service.name)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		routes, err := routesOf(desc)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		if registry != nil && desc.Methods().Len() > 0 && !registry.HasMethod(fullMethod(desc.Methods().Get(0))) {
			return nil, fmt.Errorf("gateway: %w", invalid.Field("Services", service.name,
				"is not registered at the server behind Conn", "register it there, or do not expose it"))
		}
		services = append(services, desc)
		g.routes = append(g.routes, routes...)
	}
	if err := refuseDuplicates(g.routes); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	var methods []protoreflect.MethodDescriptor
	for _, service := range services {
		for i := range service.Methods().Len() {
			methods = append(methods, service.Methods().Get(i))
		}
	}
	g.conn = newChannel(cfg.Conn, cfg.Limits.MaxResponseBytes, methods)
	g.rpcs = newRPCs(g, g.conn, services)
	for _, rt := range g.routes {
		if g.rpcs.hides(rt) {
			return nil, fmt.Errorf("gateway: %s (%s) lies where generated clients call that service's methods: choose another path", rt, rt.RPC)
		}
	}
	var err error
	if g.resource, err = newResource(cfg.Resource, g.routes); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if g.description, err = newDescription(cfg, g.routes); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	for _, service := range cfg.Services {
		// The context only serves generated functions that dial themselves,
		// which Expose does not take.
		if err := service.register(context.Background(), g.mux, g.conn); err != nil {
			return nil, fmt.Errorf("gateway: registering service %q: %w", service.name, err)
		}
	}
	for _, rt := range g.routes {
		g.methods = append(g.methods, rt.Method)
	}
	slices.Sort(g.methods)
	g.methods = slices.Compact(g.methods)
	if err := g.bindRoutes(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

// muxOptions turns off every default of grpc-gateway that lets a request be
// something else than it looks, and takes over errors and metadata.
func (g *Gateway) muxOptions() []runtime.ServeMuxOption {
	return []runtime.ServeMuxOption{
		// No Accept or Content-Type of a client's selects a marshaler, which
		// could turn an HttpBody into base64 in JSON.
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{Marshaler: g.json}),
		runtime.WithMiddlewares(g.middleware),
		runtime.WithErrorHandler(g.callError),
		runtime.WithRoutingErrorHandler(g.routingError),
		runtime.WithForwardResponseOption(g.forward),
		runtime.WithForwardResponseOption(g.rawAnswer),
		runtime.WithForwardResponseOption(g.tag),
		runtime.WithForwardResponseRewriter(g.render),
		// CVE-2026-37236: a POST is a POST, whatever a header or a form says.
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		// Each encoded character is decoded once, after the path was split at
		// its slashes; cleanPath has refused encoded slashes.
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }), // see forwarded
		runtime.WithOutgoingHeaderMatcher(outgoingHeader),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithWriteContentLength(),
		runtime.WithDisableChunkedEncoding(), // net/http sets it where it belongs; HTTP/2 forbids it
	}
}

func crossOrigin(origin string) *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins: []string{origin},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Accept", "Accept-Language", "Authorization", "Content-Type", "If-Match", "If-None-Match", "Last-Event-ID", "Traceparent", "Tracestate", "X-Request-Id",
			"Connect-Protocol-Version", "Connect-Timeout-Ms", "Grpc-Timeout", "X-Grpc-Web", "X-User-Agent"},
		ExposedHeaders: []string{"ETag", "Retry-After", "WWW-Authenticate", "X-Request-Id",
			"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"},
		MaxAge: int((10 * time.Minute).Seconds()),
		// AllowCredentials stays false: cookies mean nothing here.
	})
}
