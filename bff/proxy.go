package bff

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// NewProxy returns a handler that forwards requests, and WebSockets, to one server.
//
// Deprecated: Use [NewUpstream] with ProbeNone.
func NewProxy(target *url.URL, logger *slog.Logger) http.Handler {
	return NewTLSProxy(target, nil, logger)
}

// NewTLSProxy is [NewProxy] for an https target with private authorities, or one
// that wants a client certificate.
//
// Deprecated: Use [NewUpstream] with ProbeNone and TLS.
func NewTLSProxy(target *url.URL, config *tls.Config, logger *slog.Logger) http.Handler {
	return forward.NewProxy(target, config, upstream.HeaderTimeout, logs.Logger(logger))
}

// Values of UpstreamConfig.Probe besides paths.
const (
	// ProbeTCP connects and sends nothing, for servers that have no path for it.
	ProbeTCP = "tcp"
	// ProbeNone probes nothing. There must be one target, whose name is looked up for each
	// connection.
	ProbeNone = "none"
)

// UpstreamConfig configures an [Upstream]. Targets is required.
type UpstreamConfig struct {
	// Targets are the addresses of servers with the same content, such as
	// "http://gateway:5000": scheme, host, and a path that is put before those of
	// requests. All addresses of a name are used, and the name is looked up again
	// and again. "unix:/run/gateway.sock" is a Unix socket.
	Targets []string
	// Probe is the path that is requested from each address to see whether it is
	// ready, ProbeTCP or ProbeNone. Default: "/readyz", where a gateway says so.
	Probe string
	// Timeout is how long a server may take from a request to the header of its answer;
	// then the answer is 504. Default: a minute.
	Timeout time.Duration
	// TLS is the configuration for https. The name in the target is verified.
	// Default: that of crypto/tls.
	TLS *tls.Config
	// ProbeInterval is the time between two probes of an address, ProbeTimeout how
	// long one may take. Defaults: 500 ms and 1 s.
	ProbeInterval, ProbeTimeout time.Duration
	// ResolveInterval is the time between two look-ups of a name; while one of its
	// addresses is not ready it is a second at most. Default: 10 s.
	ResolveInterval time.Duration
	// Logger gets a line when an address begins to fail and when it is ready again.
	// Default: no log.
	Logger *slog.Logger
	// MeterProvider makes the instruments of the addresses' states. Default: none.
	MeterProvider metric.MeterProvider
}

// Validate returns everything that is wrong with the values of cfg, joined. It
// contacts nothing; [NewUpstream] calls it.
func (cfg UpstreamConfig) Validate() error {
	var errs []error
	if len(cfg.Targets) == 0 {
		errs = append(errs, invalid.Missing("Targets", "give an address such as http://gateway:5000"))
	}
	for i, address := range cfg.Targets {
		_, err := upstreamURL(address)
		errs = append(errs, origin.Invalid(fmt.Sprintf("Targets[%d]", i), address, err))
	}
	switch probe := cfg.Probe; {
	case probe == ProbeNone && len(cfg.Targets) > 1:
		errs = append(errs, invalid.Field("Probe", probe, "is for one target", "give "+ProbeTCP+" or a path, or one target"))
	case !slices.Contains([]string{"", ProbeNone, ProbeTCP}, probe) && !strings.HasPrefix(probe, "/"):
		errs = append(errs, invalid.Field("Probe", probe, "is no path", "give a path such as /readyz, "+ProbeTCP+" or "+ProbeNone))
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Timeout", cfg.Timeout}, {"ProbeInterval", cfg.ProbeInterval}, {"ProbeTimeout", cfg.ProbeTimeout}, {"ResolveInterval", cfg.ResolveInterval}} {
		if d.value < 0 {
			errs = append(errs, invalid.Field(d.field, d.value, "is negative", "give a positive duration, or 0 for the default"))
		}
	}
	return errors.Join(errs...)
}

// upstreamURL returns a target as a URL, with the scheme unix for a socket.
func upstreamURL(target string) (*url.URL, error) {
	if path, ok := loopback.Socket(target); ok {
		return &url.URL{Scheme: "unix", Path: path}, nil
	}
	return origin.Upstream(target)
}

// An Upstream is a handler that forwards requests, and WebSockets, to servers in other
// processes: for Config.API gateways, for Config.Frontend a front-end server. Nothing in a
// request changes the host. Streams are not buffered. If an answer is interrupted, the
// connection to the browser is cut. It is safe for concurrent use.
//
// An address that does not answer its probe in time, or answers with a server error,
// gets no more requests until it is ready, as long as another one is better: one that
// is ready is preferred to one that says that it is not, and that to one that does not
// answer. While no address has answered for 5 s, requests get 503 at once.
//
// GET and HEAD are sent a second time, at another address, when their server stops
// answering or the connection breaks before an answer; other requests only if nothing
// of them was sent. The streams and WebSockets of a server that stops answering are
// cut, so that browsers come back.
type Upstream struct {
	handler  http.Handler
	balancer *upstream.Balancer // nil with ProbeNone
}

// NewUpstream returns an Upstream. It contacts nothing before it returns; Close ends
// what it begins.
func NewUpstream(cfg UpstreamConfig) (*Upstream, error) {
	return newUpstream(cfg, "gateway", "")
}

// newUpstream returns an Upstream with a name for the log, and one for metrics if it is
// one of several.
func newUpstream(cfg UpstreamConfig, name, label string) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bff: %w", err)
	}
	cfg.Logger = logs.Logger(cfg.Logger)
	var targets []*url.URL
	for _, address := range cfg.Targets {
		target, err := upstreamURL(address)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	if cfg.Probe == ProbeNone {
		timeout := cmp.Or(cfg.Timeout, upstream.HeaderTimeout)
		return &Upstream{handler: forward.NewProxy(targets[0], cfg.TLS, timeout, cfg.Logger)}, nil
	}
	probe := cmp.Or(cfg.Probe, "/readyz")
	if probe == ProbeTCP {
		probe = ""
	}
	b := upstream.New(upstream.Config{
		Name: name, Label: label, Targets: targets, Probe: probe, TLS: cfg.TLS, Timeout: cfg.Timeout,
		ProbeInterval: cfg.ProbeInterval, ProbeTimeout: cfg.ProbeTimeout, ResolveInterval: cfg.ResolveInterval,
		Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
	})
	return &Upstream{forward.NewBalancedProxy(b, cfg.Logger), b}, nil
}

// ServeHTTP forwards a request.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) { u.handler.ServeHTTP(w, r) }

// Ready returns why no server is ready at the moment, nil if one is or nothing is probed.
// The error names addresses, so it is not for clients.
func (u *Upstream) Ready(context.Context) error {
	if u.balancer == nil {
		return nil
	}
	return u.balancer.Ready()
}

// counts returns how many addresses there are in each state, by its name in metrics.
func (u *Upstream) counts() map[string]int {
	if u.balancer == nil {
		return nil
	}
	return u.balancer.Counts()
}

// Close ends the probes. Requests under way go on.
func (u *Upstream) Close() error {
	if u.balancer != nil {
		u.balancer.Close()
	}
	return nil
}
