package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/rs/cors"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	apiPrefix  = "/api"
	authPrefix = "/api/auth" // the bff's part of it

	defaultMaxBodyBytes     = 1 << 20
	defaultMaxResponseBytes = 16 << 20
	defaultTimeout          = 30 * time.Second
)

// Config says what a Gateway serves and how. Conn and Services are required;
// the zero value of everything else is safe.
type Config struct {
	// Conn carries every call: an in-process channel that runs the server's
	// interceptors, or a *grpc.ClientConn. The gateway does not close it.
	Conn grpc.ClientConnInterface
	// Services are served, each at the paths of its annotations.
	Services []Service
	// BaseURL is the one origin whose pages may read answers from another
	// origin (CORS), such as "https://app.example.com". Credentials are never
	// allowed. Empty: no CORS.
	BaseURL string
	// AllowedHosts are the names, beside those of loopback and the Audience's, to
	// which a gateway with a BaseURL on loopback answers; requests with another
	// Host get 421, save health checks. So no page of another site reaches it
	// by a name that it controls (DNS rebinding).
	AllowedHosts []string
	// AnyHost turns that check off, for a gateway that is reached over a network,
	// by names that its deployment alone knows.
	AnyHost bool
	// Audience is the API's identifier. Where it is an https URL, requests that
	// come to its host learn from refusals, and at
	// /.well-known/oauth-protected-resource, whose tokens are wanted (RFC 9728).
	Audience string
	// Issuer is whose tokens are wanted; it is told, never asked.
	Issuer string
	// Document says how the API is described at /api/openapi.json and /api/docs.
	Document Document
	// MaxBodyBytes bounds a request body; 0 means 1 MiB. A longer one gets 413.
	// A streamed upload has no bound but the service's.
	MaxBodyBytes int64
	// MaxResponseBytes bounds one message of an answer, as it comes from the
	// server; 0 means 16 MiB. A longer one is an internal error: 500, with a
	// line in the log.
	MaxResponseBytes int
	// Timeout bounds a unary call from its arrival to its answer, the reading of
	// the body included; 0 means 30 s. Nothing that a client sends changes it.
	// Server streams are bounded by the server instead.
	Timeout time.Duration
	// Heartbeat is how long an event stream (text/event-stream) may be silent
	// before it carries a comment; 0 means 15 s. Choose less than whatever
	// proxy in front of it allows.
	Heartbeat time.Duration
	// Logger gets one line a request, and the causes of internal errors, each
	// with the request's id. Nil discards.
	Logger *slog.Logger
	// Ready answers /readyz: nil for ready, or the reason why not. Its text is
	// shown to anyone and should name no address; an error that it wraps goes to
	// the log. Nil means always ready.
	Ready func() error
}

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

// New registers the services and returns the gateway. It refuses what would
// otherwise surprise later, naming the method and the path: two methods for one
// path, a path that another hides, one outside /api or under /api/auth or where
// generated clients call, and a service without any annotation.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{arriving: arrival.New(arrivingBytes, time.Now), crowds: throttle.Every(time.Second), maxBody: cfg.MaxBodyBytes, timeout: cfg.Timeout, heartbeat: cfg.Heartbeat, log: requestid.Logger(cfg.Logger), ready: cfg.Ready}
	switch {
	case cfg.Conn == nil:
		return nil, errors.New("gateway: Conn is nil: give it an in-process channel or a *grpc.ClientConn")
	case len(cfg.Services) == 0:
		return nil, errors.New("gateway: Services is empty: name at least one with Expose")
	case cfg.MaxBodyBytes < 0:
		return nil, fmt.Errorf("gateway: MaxBodyBytes is %d: give a positive number of bytes, or 0 for %d", cfg.MaxBodyBytes, defaultMaxBodyBytes)
	case cfg.MaxResponseBytes < 0:
		return nil, fmt.Errorf("gateway: MaxResponseBytes is %d: give a positive number of bytes, or 0 for %d", cfg.MaxResponseBytes, defaultMaxResponseBytes)
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("gateway: Timeout is %v: give a positive duration, or 0 for %v", cfg.Timeout, defaultTimeout)
	case cfg.Heartbeat < 0:
		return nil, fmt.Errorf("gateway: Heartbeat is %v: give a positive duration, or 0 for %v", cfg.Heartbeat, defaultHeartbeat)
	}
	g.leaving, g.leave = context.WithCancel(context.Background())
	if g.maxBody == 0 {
		g.maxBody = defaultMaxBodyBytes
	}
	if cfg.MaxResponseBytes == 0 {
		cfg.MaxResponseBytes = defaultMaxResponseBytes
	}
	if g.timeout == 0 {
		g.timeout = defaultTimeout
	}
	if g.heartbeat == 0 {
		g.heartbeat = defaultHeartbeat
	}
	g.api = http.HandlerFunc(g.serveAPI)
	if cfg.BaseURL != "" {
		base, err := origin.Parse(cfg.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("gateway: BaseURL%s: %w", origin.Shown(cfg.BaseURL), err)
		}
		if g.hosts, err = hostcheck.New(base.Hostname(), cfg.AllowedHosts); err != nil {
			return nil, fmt.Errorf("gateway: AllowedHosts: %w", err)
		}
		if cfg.AnyHost {
			g.hosts = nil
		}
		g.api = crossOrigin(base.String()).Handler(g.api)
	}
	g.json = &strictJSON{runtime.JSONPb{
		MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}, // a client sees every field there is
		// UnmarshalOptions stays zero: unknown fields are errors.
	}}
	g.mux = runtime.NewServeMux(g.muxOptions()...)

	var services []protoreflect.ServiceDescriptor
	for _, service := range cfg.Services {
		desc, err := descriptorOf(service.name)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		routes, err := routesOf(desc)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
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
	g.conn = newChannel(cfg.Conn, cfg.MaxResponseBytes, methods)
	g.rpcs = newRPCs(g, g.conn, services)
	for _, rt := range g.routes {
		if g.rpcs.hides(rt) {
			return nil, fmt.Errorf("gateway: %s (%s) lies where generated clients call that service's methods: choose another path", rt, rt.RPC)
		}
	}
	var err error
	if g.resource, err = newResource(cfg.Audience, cfg.Issuer, g.routes); err != nil {
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
