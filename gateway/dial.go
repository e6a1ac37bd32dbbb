package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/dial"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// DialConfig configures a connection to remote servers. Targets is required; the zero
// value of every other field is a usable default.
type DialConfig struct {
	// Targets are the servers, as targets of gRPC: "dns:///server:9090",
	// "10.0.0.1:9090", "unix:/run/server.sock". A name may have several addresses;
	// all of them are used, and the name is looked up again and again.
	Targets []string
	// TLS is the configuration for servers with TLS. The name in the target is
	// verified unless it has a ServerName. Default: no TLS.
	TLS *tls.Config
	// ProbeInterval is the time between two probes of an address, ProbeTimeout how
	// long one may take. Defaults: 500 ms and 1 s.
	ProbeInterval, ProbeTimeout time.Duration
	// ResolveInterval is the time between two look-ups of a name; while one of its
	// addresses does not serve it is a second at most. Default: 10 s.
	ResolveInterval time.Duration
	// Logger gets a line when an address begins to fail and when it serves again.
	// Default: no log.
	Logger *slog.Logger
	// MeterProvider makes the instruments of the addresses' states. Default: none.
	MeterProvider metric.MeterProvider
}

// Validate returns everything that is wrong with the values of cfg, joined. It
// contacts nothing; [Dial] calls it.
func (cfg DialConfig) Validate() error {
	var errs []error
	if len(cfg.Targets) == 0 {
		errs = append(errs, invalid.Missing("Targets", "give the server's address, such as dns:///server:9090"))
	}
	_, err := cfg.targets()
	errs = append(errs, err)
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

func (cfg DialConfig) targets() ([]peers.Target, error) {
	var targets []peers.Target
	var errs []error
	for i, raw := range cfg.Targets {
		t, err := dial.Parse(fmt.Sprintf("Targets[%d]", i), raw)
		targets, errs = append(targets, t), append(errs, err)
	}
	return targets, errors.Join(errs...)
}

// A ServerConn is a connection to remote servers, for Config.Conn. It is safe for
// concurrent use.
type ServerConn struct{ conn *dial.Conn }

// Dial returns a connection to the servers of cfg. It keeps a connection to each of
// their addresses and spreads calls over them in turn.
//
// Every address is asked by a Check of grpc.health.v1 whether it serves. One that
// does not answer in time, or says that it does not serve, gets no more calls until
// it does, as long as another one is better: one that serves is preferred to one that
// says that it does not, and that to one that does not answer. While no address has
// answered for 5 s, calls fail at once with UNAVAILABLE.
//
// A call of a method that is bound to GET, or whose idempotency_level is
// NO_SIDE_EFFECTS, is made a second time, at another address if there is one, when
// its server stops answering or its connection breaks before an answer; a stream of
// such a method ends with UNAVAILABLE. Other calls are made twice only if gRPC knows
// that the server has not begun the first.
//
// Dial contacts nothing before it returns. Close ends what it begins.
func Dial(cfg DialConfig) (*ServerConn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	targets, err := cfg.targets()
	if err != nil {
		return nil, err
	}
	conn, err := dial.New(dial.Config{
		Targets: targets, TLS: cfg.TLS, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
		ProbeInterval: cfg.ProbeInterval, ProbeTimeout: cfg.ProbeTimeout, ResolveInterval: cfg.ResolveInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return &ServerConn{conn}, nil
}

// Invoke makes a unary call. It implements grpc.ClientConnInterface.
func (c *ServerConn) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	return c.conn.Invoke(ctx, method, request, response, opts...)
}

// NewStream makes a call that streams. It implements grpc.ClientConnInterface.
func (c *ServerConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.conn.NewStream(ctx, desc, method, opts...)
}

// Ready returns why no server serves at the moment, nil if one does. The error names
// addresses, so it is not for clients.
func (c *ServerConn) Ready(context.Context) error { return c.conn.Ready() }

// Close closes the connections. Calls that are under way end.
func (c *ServerConn) Close() error { return c.conn.Close() }
