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
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// NewProxy returns a handler that forwards requests, and WebSockets, to a server
// in another process: for Config.API a gateway, for Config.Frontend a front-end
// server. Nothing in a request changes the host. Streams are not buffered. The
// handler answers 502 if the target sends no header within a minute, and cuts
// the connection to the browser if the answer is interrupted. A nil logger
// discards the log. [NewUpstream] has more.
func NewProxy(target *url.URL, logger *slog.Logger) http.Handler {
	return NewTLSProxy(target, nil, logger)
}

// NewTLSProxy is [NewProxy] for an https target with private authorities, or one
// that wants a client certificate. A nil config means the system's authorities and
// no certificate.
func NewTLSProxy(target *url.URL, config *tls.Config, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return forward.NewProxy(target, config, logger)
}

// UpstreamConfig configures an [Upstream]. Targets is required.
type UpstreamConfig struct {
	// Targets are the addresses of servers with the same content, such as
	// "http://gateway:5000": scheme, host, and a path that is put before those of
	// requests. All addresses of a name are used, and the name is looked up again
	// and again. "unix:/run/gateway.sock" is a Unix socket.
	Targets []string
	// Probe is the path that is requested from each address to see whether it is
	// ready. Default: "/readyz", where a gateway says so.
	Probe string
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
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"ProbeInterval", cfg.ProbeInterval}, {"ProbeTimeout", cfg.ProbeTimeout}, {"ResolveInterval", cfg.ResolveInterval}} {
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

// An Upstream is a [NewProxy] to several gateways, for Config.API. It is safe for
// concurrent use.
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
	balancer *upstream.Balancer
}

// NewUpstream returns an Upstream. It contacts nothing before it returns; Close ends
// what it begins.
func NewUpstream(cfg UpstreamConfig) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bff: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var targets []*url.URL
	for _, address := range cfg.Targets {
		target, err := upstreamURL(address)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	b := upstream.New(upstream.Config{
		Name: "gateway", Targets: targets, Probe: cmp.Or(cfg.Probe, "/readyz"), TLS: cfg.TLS,
		ProbeInterval: cfg.ProbeInterval, ProbeTimeout: cfg.ProbeTimeout, ResolveInterval: cfg.ResolveInterval,
		Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
	})
	return &Upstream{forward.NewBalancedProxy(b, cfg.Logger), b}, nil
}

// ServeHTTP forwards a request.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) { u.handler.ServeHTTP(w, r) }

// Ready returns why no server is ready at the moment, nil if one is. The error names
// addresses, so it is not for clients.
func (u *Upstream) Ready(context.Context) error { return u.balancer.Ready() }

// Close ends the probes. Requests under way go on.
func (u *Upstream) Close() error {
	u.balancer.Close()
	return nil
}
