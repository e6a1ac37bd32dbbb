package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/audit"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Config configures a [Server]. What Authn requires is required; the zero value
// of every other field is a safe default.
type Config struct {
	// Authn says which access tokens are accepted. Its Logger, Audit and
	// MeterProvider default to those below.
	Authn authn.Config
	// Register registers the services, with their generated Register functions.
	Register func(grpc.ServiceRegistrar)
	// Policies are policies by full method name ("/package.Service/Method"), for
	// services whose .proto files are not yours. The health service, and
	// reflection if it is on, are public unless an entry says otherwise.
	Policies map[string]*authv1.Policy
	// UnaryInterceptors and StreamInterceptors are the application's, outermost first.
	// They run just outside the handler, for calls over the network and in process:
	// after authentication, policy and validation, so that they see authorized calls
	// and valid messages only, and inside recovery, request log, metrics and tracing,
	// so that their errors and panics are treated as those of a service. The context
	// has the principal ([authn.FromContext]). They can refuse more calls than the
	// policy, not fewer. They do not run for the health service and for reflection,
	// which have no principal and are called by machines.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
	// Reflection serves grpc.reflection. It shows the whole contract to every
	// caller, so it is for development and for internal networks.
	Reflection bool
	// Ready returns why the server should get no calls, or nil: a condition of the
	// health service besides that tokens can be verified. It is called at least once
	// a second, also concurrently. Default: none.
	Ready func() error
	// Limits bounds sizes and times.
	Limits LimitsConfig
	// Logger gets one line per call, and one more for a refused token or a panic,
	// never with a token or a message in it. Default: no log.
	Logger *slog.Logger
	// Audit gets an event for calls that are denied. Default: none.
	Audit audit.Handler
	// MeterProvider makes the instruments of the server's metrics. Default: none.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the tracer of the server's spans. Default: none.
	TracerProvider trace.TracerProvider
	// TraceTrusted are the networks of the callers whose trace is continued, with
	// their decision whether to record it. The traceparent of other callers becomes
	// a link. Baggage is never passed on. Default: this machine, if it is nil.
	TraceTrusted []netip.Prefix
}

// LimitsConfig bounds sizes and times of a server.
type LimitsConfig struct {
	// Timeout bounds each unary call. An earlier deadline of the caller applies.
	// Streams are bounded by the expiry of their token instead. Default:
	// DefaultTimeout.
	Timeout time.Duration
	// MaxRequestBytes is the longest message of a request, in bytes, both
	// compressed and not. A longer one is refused with RESOURCE_EXHAUSTED, which a
	// gateway answers with 413. Default: DefaultMaxRequestBytes.
	MaxRequestBytes int
	// MaxResponseBytes is the longest message of an answer, in bytes. A longer one
	// becomes RESOURCE_EXHAUSTED for a gRPC client, whose own limit is 4 MiB unless
	// it sets another, and an internal error for a gateway. Default:
	// DefaultMaxResponseBytes.
	MaxResponseBytes int
	// ConnectionAge is how long a connection is kept before its client is asked to
	// make a new one, give or take a tenth. Calls under way end as usual. It lets
	// clients behind a balancer of connections reach new servers. Default:
	// DefaultConnectionAge.
	ConnectionAge time.Duration
	// MaxConnStreams bounds the calls under way of one connection, of which a gateway
	// has one to each server. Further ones wait. Default: DefaultMaxConnStreams.
	MaxConnStreams int
}

// The defaults of LimitsConfig.
const (
	DefaultTimeout       = 30 * time.Second
	DefaultConnectionAge = 5 * time.Minute
	// DefaultMaxConnStreams bounds rapid resets (CVE-2023-44487): grpc-go's own
	// default is unlimited.
	DefaultMaxConnStreams = 250
	// DefaultMaxRequestBytes is a body of 1 MiB at the gateway, and RequestRoom.
	DefaultMaxRequestBytes  = 1<<20 + RequestRoom
	DefaultMaxResponseBytes = 16 << 20
)

// RequestRoom is what path, query and header may add, in bytes, to the message
// that a gateway makes of a request body.
const RequestRoom = 64 << 10

// The range of the limits on messages. gRPC's own maximum is 2 GiB.
const (
	minMessageBytes = 1 << 10
	maxMessageBytes = 1 << 30
)

// Validate returns everything that is wrong with the values of cfg, joined. It
// does not look at services and policies, and contacts nothing; [New] calls it.
func (cfg Config) Validate() error {
	errs := []error{invalid.In("Authn", cfg.Authn.Validate()), invalid.In("Limits", cfg.Limits.validate())}
	check := func(field string, i int, missing bool) {
		if missing {
			errs = append(errs, &invalid.Error{Field: fmt.Sprintf("%s[%d]", field, i), Problem: "is nil", Remedy: "give an interceptor, or leave the element out"})
		}
	}
	for i, interceptor := range cfg.UnaryInterceptors {
		check("UnaryInterceptors", i, interceptor == nil)
	}
	for i, interceptor := range cfg.StreamInterceptors {
		check("StreamInterceptors", i, interceptor == nil)
	}
	return errors.Join(errs...)
}

func (cfg LimitsConfig) validate() error {
	var errs []error
	if cfg.Timeout < 0 {
		errs = append(errs, invalid.Field("Timeout", cfg.Timeout,
			"is negative", fmt.Sprintf("give a positive duration, or 0 for %v", DefaultTimeout)))
	}
	if cfg.ConnectionAge < 0 {
		errs = append(errs, invalid.Field("ConnectionAge", cfg.ConnectionAge,
			"is negative", fmt.Sprintf("give a positive duration, or 0 for %v", DefaultConnectionAge)))
	}
	errs = append(errs, invalid.NotNegative("MaxConnStreams", cfg.MaxConnStreams, "a number of streams", DefaultMaxConnStreams))
	check := func(field string, bytes, most int) {
		if bytes != 0 && (bytes < minMessageBytes || bytes > most) {
			errs = append(errs, invalid.Field(field, bytes, "is too small or too large a limit on messages",
				fmt.Sprintf("give a number of bytes from %d to %d", minMessageBytes, most)))
		}
	}
	check("MaxRequestBytes", cfg.MaxRequestBytes, maxMessageBytes+RequestRoom)
	check("MaxResponseBytes", cfg.MaxResponseBytes, maxMessageBytes)
	return errors.Join(errs...)
}

// withDefaults returns cfg with the default of each field that is zero.
func (cfg Config) withDefaults() Config {
	cfg.Limits.Timeout = cmp.Or(cfg.Limits.Timeout, DefaultTimeout)
	cfg.Limits.ConnectionAge = cmp.Or(cfg.Limits.ConnectionAge, DefaultConnectionAge)
	cfg.Limits.MaxConnStreams = cmp.Or(cfg.Limits.MaxConnStreams, DefaultMaxConnStreams)
	cfg.Limits.MaxRequestBytes = cmp.Or(cfg.Limits.MaxRequestBytes, DefaultMaxRequestBytes)
	cfg.Limits.MaxResponseBytes = cmp.Or(cfg.Limits.MaxResponseBytes, DefaultMaxResponseBytes)
	cfg.Logger = logs.Logger(cfg.Logger)
	if cfg.Authn.Logger == nil {
		cfg.Authn.Logger = cfg.Logger
	}
	if cfg.Authn.Audit == nil {
		cfg.Authn.Audit = cfg.Audit
	}
	if cfg.Authn.MeterProvider == nil {
		cfg.Authn.MeterProvider = cfg.MeterProvider
	}
	return cfg
}
