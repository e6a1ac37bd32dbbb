package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway/reference"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// Config configures a [Gateway]. Conn and Services are required; the zero value
// of every other field is a safe default.
type Config struct {
	// Conn carries every call: the connection of a server in this process, or a
	// *grpc.ClientConn. The gateway does not close it. If Conn has a method
	// HasMethod(fullMethod string) bool, as the connection of server.Server.Conn
	// has, New refuses services that the server does not have.
	Conn grpc.ClientConnInterface
	// Services are the services to serve, each at the paths of its annotations.
	Services []Service
	// RequestHeaders are header fields of requests that services get as metadata, under
	// their names in lower case, besides those that docs/rest.md lists: fields of the
	// application's own, such as "Idempotency-Key". Clients choose their values. Names that
	// parts, proxies or protocols use, such as "X-Forwarded-For", are refused. In front of
	// browsers the bff needs the same list (bff.Config.RequestHeaders). Default: none.
	RequestHeaders []string
	// MuxOptions are options of grpc-gateway for the REST form of unary methods and of
	// server streams. They follow the gateway's defaults and precede what it must not
	// lose:
	//
	//   - WithMetadata and WithIncomingHeaderMatcher see the header fields of RequestHeaders
	//     alone, and cannot set metadata that a part, a proxy or a protocol uses, such as
	//     authorization, or x-forwarded-for.
	//   - WithForwardResponseOption and WithMiddlewares run after and inside the gateway's
	//     own.
	//   - WithOutgoingHeaderMatcher replaces the gateway's, which passes on cache-control and
	//     etag.
	//   - WithErrorHandler, WithRoutingErrorHandler and options that add paths are refused.
	//   - All others, marshalers among them, have no effect: OpenAPI document and generated
	//     clients describe one form.
	MuxOptions []runtime.ServeMuxOption
	// Access limits which pages and hosts reach the gateway.
	Access AccessConfig
	// Resource describes the API as an OAuth protected resource.
	Resource ResourceConfig
	// Document configures the description of the API.
	Document DocumentConfig
	// Limits bounds sizes and times.
	Limits LimitsConfig
	// Ready returns why the gateway cannot serve, or nil, for /readyz. The reason is
	// logged, at most once a minute, and not sent to clients. It is called
	// concurrently. Default: always ready.
	Ready func() error
	// Logger gets one line per request and the causes of internal errors, each
	// with the request's id. Default: no log.
	Logger *slog.Logger
	// MeterProvider makes the instruments of the gateway's metrics. Default: none.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the tracer of the gateway's spans. Default: none.
	TracerProvider trace.TracerProvider
	// TraceTrusted are the networks of the clients whose trace is continued, with
	// their decision whether to record it: bffs in other processes, and proxies. The
	// traceparent of other clients becomes a link. Baggage is never passed on.
	// Default: this machine, if it is nil.
	TraceTrusted []netip.Prefix
}

// AccessConfig limits which pages and hosts reach a gateway.
type AccessConfig struct {
	// BaseURL is the origin whose pages may read answers from another origin
	// (CORS), such as "https://app.example.com". Credentials are never allowed.
	// Default: no CORS.
	BaseURL string
	// AllowedHosts are additional host names, without scheme and port, to which a
	// gateway with a BaseURL on loopback answers. It always answers to loopback
	// names and to the host of Resource.Audience. Requests with another Host get
	// 421, except health checks, so that no page can reach the gateway through a
	// name of its own (DNS rebinding).
	AllowedHosts []string
	// AnyHost disables the check of Host, for a gateway that other machines reach
	// by names of their network.
	AnyHost bool
}

// ResourceConfig describes the API as an OAuth protected resource (RFC 9728).
type ResourceConfig struct {
	// Audience is the API's identifier. If it is an https URL, requests to its
	// host get the metadata at /.well-known/oauth-protected-resource, and refused
	// ones a challenge that refers to it. Default: no metadata.
	Audience string
	// Issuer is the issuer of the access tokens. The gateway publishes it and
	// never contacts it. Default: not published.
	Issuer string
	// Issuers are the other issuers whose tokens the API accepts, such as those of
	// machines. They are published after Issuer. Default: none.
	Issuers []string
}

// DocumentConfig configures the description of the API: an OpenAPI document at
// /api/openapi.json and a page for people at /api/docs. Both are public.
type DocumentConfig struct {
	// Off serves neither.
	Off bool
	// Title is the name of the API. Default: "API".
	Title string
	// Version is the version of the API's release. Default: "0".
	Version string
	// Comments is a serialized FileDescriptorSet with source info, such as
	// `buf build -o FILE.binpb` writes. The document takes the comments of the
	// .proto files from it; linked code has none. Default: no comments.
	Comments []byte
	// Brand is the look of the page's header: the application's name, logo and
	// accent. Default: none.
	Brand reference.Brand
}

// LimitsConfig bounds sizes and times of a gateway.
type LimitsConfig struct {
	// MaxBodyBytes is the longest request body, in bytes. A longer one gets 413.
	// It does not apply to streamed uploads, which the service limits.
	// Default: 1 MiB.
	MaxBodyBytes int64
	// MaxResponseBytes is the longest Protobuf message of an answer, in bytes. A
	// longer one is an internal error: 500 and a log line. Default: 16 MiB.
	MaxResponseBytes int
	// Timeout bounds a unary call from the arrival of its header to its answer,
	// including the time to read the body. Clients cannot change it. Server
	// streams have no limit here. Default: 30 s.
	Timeout time.Duration
	// Heartbeat is the longest silence of an event stream (text/event-stream)
	// before it carries a comment. It must be less than the idle timeout of any
	// proxy in front. Default: 15 s.
	Heartbeat time.Duration
	// MaxConnStreams bounds the requests in flight of one HTTP/2 connection. Further
	// ones wait. Default: 100.
	MaxConnStreams int
}

const (
	defaultMaxBodyBytes     = 1 << 20
	defaultMaxResponseBytes = 16 << 20
	defaultTimeout          = 30 * time.Second
	defaultHeartbeat        = 15 * time.Second
	defaultMaxConnStreams   = 100
)

// Validate returns everything that is wrong with the values of cfg, joined. It
// does not look at the services' annotations and contacts nothing; [New] calls it.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.Conn == nil {
		errs = append(errs, invalid.Missing("Conn", "give the connection of a server in this process, or a *grpc.ClientConn"))
	}
	if len(cfg.Services) == 0 {
		errs = append(errs, &invalid.Error{Field: "Services", Problem: "is empty", Remedy: "give at least one service, made with Expose"})
	}
	for i, s := range cfg.Services {
		if s.rest.Register == nil {
			errs = append(errs, invalid.Field(fmt.Sprintf("Services[%d]", i), s.rest.Name, "has no generated functions",
				"annotate a method with google.api.http, and give Expose the functions that protoc-gen-grpc-gateway writes"))
		}
	}
	errs = append(errs, headers.Check("RequestHeaders", cfg.RequestHeaders)...)
	return errors.Join(append(errs, invalid.In("Access", cfg.Access.validate()), invalid.In("Limits", cfg.Limits.validate()))...)
}

func (cfg AccessConfig) validate() error {
	var errs []error
	if cfg.BaseURL != "" {
		_, err := origin.Parse(cfg.BaseURL)
		errs = append(errs, origin.Invalid("BaseURL", cfg.BaseURL, err))
	}
	for i, name := range cfg.AllowedHosts {
		if hostcheck.CheckName(name) != nil {
			errs = append(errs, invalid.Field(fmt.Sprintf("AllowedHosts[%d]", i), name,
				"is not a host name or address", "give one without scheme, port and wildcard, such as app.test"))
		}
	}
	return errors.Join(errs...)
}

func (cfg LimitsConfig) validate() error {
	var errs []error
	check := func(field string, value any, negative bool, remedy string) {
		if negative {
			errs = append(errs, invalid.Field(field, value, "is negative", remedy))
		}
	}
	check("MaxBodyBytes", cfg.MaxBodyBytes, cfg.MaxBodyBytes < 0, fmt.Sprintf("give a number of bytes, or 0 for %d", defaultMaxBodyBytes))
	check("MaxResponseBytes", cfg.MaxResponseBytes, cfg.MaxResponseBytes < 0, fmt.Sprintf("give a number of bytes, or 0 for %d", defaultMaxResponseBytes))
	check("Timeout", cfg.Timeout, cfg.Timeout < 0, fmt.Sprintf("give a positive duration, or 0 for %v", defaultTimeout))
	check("MaxConnStreams", cfg.MaxConnStreams, cfg.MaxConnStreams < 0, fmt.Sprintf("give a number of streams, or 0 for %d", defaultMaxConnStreams))
	check("Heartbeat", cfg.Heartbeat, cfg.Heartbeat < 0, fmt.Sprintf("give a positive duration, or 0 for %v", defaultHeartbeat))
	return errors.Join(errs...)
}

// withDefaults returns cfg with the default of each field that is zero.
func (cfg Config) withDefaults() Config {
	cfg.RequestHeaders = headers.Canonical(cfg.RequestHeaders)
	cfg.Limits.MaxBodyBytes = cmp.Or(cfg.Limits.MaxBodyBytes, defaultMaxBodyBytes)
	cfg.Limits.MaxResponseBytes = cmp.Or(cfg.Limits.MaxResponseBytes, defaultMaxResponseBytes)
	cfg.Limits.Timeout = cmp.Or(cfg.Limits.Timeout, defaultTimeout)
	cfg.Limits.Heartbeat = cmp.Or(cfg.Limits.Heartbeat, defaultHeartbeat)
	cfg.Limits.MaxConnStreams = cmp.Or(cfg.Limits.MaxConnStreams, defaultMaxConnStreams)
	cfg.Document.Title = cmp.Or(cfg.Document.Title, "API")
	cfg.Document.Version = cmp.Or(cfg.Document.Version, "0")
	return cfg
}
