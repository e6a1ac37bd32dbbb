// Package lifecycle owns how a program that serves on several ports starts and
// stops: every port is open before the first request is served, and requests in
// flight end before the parts that they need. It leaves what is served to
// server, gateway and bff, and where addresses come from to the program.
package lifecycle

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

// DefaultShutdownTimeout applies when Config.ShutdownTimeout is zero.
const DefaultShutdownTimeout = 20 * time.Second

// DefaultMaxConnections applies when Config.MaxConnections is zero.
const DefaultMaxConnections = arrival.MaxConnections

// A Server accepts connections until it is shut down: an *http.Server or a
// *server.Server.
type Server interface {
	// Serve returns nil or http.ErrServerClosed after Shutdown.
	Serve(net.Listener) error
	// Shutdown stops accepting requests and returns when the last one has
	// ended, or with an error when the context ends first. If the server has a
	// method Close, it is called then.
	Shutdown(context.Context) error
}

// A Part is one port of a program, or work without a port.
type Part struct {
	// Name names the part in logs and errors, such as "bff".
	Name string
	// Address is where the part listens: on TCP, such as ":3000", or on a Unix
	// socket, such as "unix:/run/shop/web.sock". A socket that a killed process
	// has left is replaced.
	Address string
	// SocketMode has the permissions of a Unix socket. Default: 0660.
	SocketMode fs.FileMode
	// TLS, if not nil, is what the part serves with TLS. NextProtos that are empty
	// become h2 and, for an *http.Server, http/1.1. A TLS that replaces itself in
	// each handshake (GetConfigForClient) sets NextProtos itself.
	TLS *tls.Config
	// Setting is the name by which users of the program set Address, such as
	// "--listen". Errors about the address name it. Default: Name.Address.
	Setting string
	// Listener is the open port; Address is not used then. [Config.Listen] sets
	// it. The limits on connections and on request headers that Listen adds do
	// not apply to a listener from elsewhere.
	Listener net.Listener
	// Server answers at the port; nil for work without a port. An *http.Server
	// without a BaseContext gets one that ends after the last request.
	Server Server
	// Run, if not nil, works beside the server, as bff.BFF.Run does. Its context
	// ends after the last request of every part, or when a part fails. Run may
	// then finish work that no request waits for; ShutdownTimeout does not
	// apply, so Run limits that time itself. An error stops the program.
	Run func(context.Context) error
}

// Config describes a program. The zero value of each field but the parts is a
// usable default.
type Config struct {
	// Front are the parts that clients call first: bff and gateway. They are
	// shut down first, together.
	Front []*Part
	// Back are the parts that Front parts call: the gRPC server. They are shut
	// down when the Front parts have ended. If that took all of ShutdownTimeout,
	// they get a second more.
	Back []*Part
	// Last are the parts that serve until the others have ended, such as a port
	// for health checks, which reports meanwhile that the program is stopping.
	// They too get a second at least. Front and Back parts leave them file
	// descriptors when connections flood their ports.
	Last []*Part
	// LameDuck is how long the program serves on after it was told to stop, while
	// readiness checks fail, so that load balancers send no more requests before
	// the ports close. HTTP responses then close their connection. Default: 0.
	LameDuck time.Duration
	// MaxConnections bounds the open connections of each port. Further ones wait to be
	// accepted, and Logger gets a warning at most once a minute. Default:
	// DefaultMaxConnections.
	MaxConnections int
	// Full, if not nil, is called whenever a port has MaxConnections open
	// connections. It must not block.
	Full func()
	// ShutdownTimeout bounds how long requests in flight may take to end after
	// LameDuck. Default: DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
	// Leave, if not nil, is called when the program begins to stop, before
	// LameDuck: it makes readiness checks fail.
	Leave func()
	// Drain, if not nil, is called after LameDuck, while all ports are still open:
	// it ends streams that have no end of their own. It must return when its
	// context ends.
	Drain func(context.Context) error
	// Reload, if not nil, is called for each SIGHUP while the program serves, one
	// call after the other. Its error is logged. Without it SIGHUP ends the
	// process at once, as is the system's default; before Run see [HoldHangups].
	Reload func(context.Context) error
	// Closers are called in order when everything else has ended, also if the
	// program could not start.
	Closers []func() error
	// Logger gets the address of each part and the begin of a stop; nil for
	// none.
	Logger *slog.Logger
}

// NotifyContext returns a context that ends when the process is told to stop,
// by SIGTERM or by an interrupt from the keyboard. A second signal then ends the
// process at once.
func NotifyContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal has no handler
	return ctx, stop
}

// HoldHangups keeps a SIGHUP from ending the process until release is called. A
// program with [Config.Reload] calls it before it reads files: a signal may come
// while it starts.
func HoldHangups() (release func()) {
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGHUP)
	return func() { signal.Stop(held) }
}

// UntilSignal is [Run] until the process is told to stop; see [NotifyContext].
func UntilSignal(cfg Config) error {
	ctx, stop := NotifyContext(context.Background())
	defer stop()
	return Run(ctx, cfg)
}

// Validate reports every error of the configuration. It opens no port.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.ShutdownTimeout < 0 {
		errs = append(errs, invalid.Field("ShutdownTimeout", cfg.ShutdownTimeout,
			"is negative", "give a positive duration, or 0 for the default"))
	}
	errs = append(errs, invalid.NotNegative("MaxConnections", cfg.MaxConnections,
		"a number of connections", DefaultMaxConnections))
	if cfg.LameDuck < 0 {
		errs = append(errs, invalid.Field("LameDuck", cfg.LameDuck,
			"is negative", "give a positive duration, or 0 to stop at once"))
	}
	if len(cfg.Front)+len(cfg.Back)+len(cfg.Last) == 0 {
		errs = append(errs, &invalid.Error{Field: "Front", Problem: "is empty, and so are Back and Last", Remedy: "give at least one part"})
	}
	for p := range cfg.parts {
		switch {
		case p.Server != nil && p.Listener == nil && p.Address == "":
			errs = append(errs, invalid.Missing(p.setting(), "give the address to listen on, such as 127.0.0.1:3000"))
		case p.Server == nil && (p.Listener != nil || p.Address != ""):
			errs = append(errs, invalid.Missing(p.Name+".Server", "give the server that answers at the address"))
		}
	}
	return errors.Join(errs...)
}

// parts calls yield for each part, in the order in which they stop.
func (cfg Config) parts(yield func(*Part) bool) {
	for _, stage := range [][]*Part{cfg.Front, cfg.Back, cfg.Last} {
		for _, p := range stage {
			if !yield(p) {
				return
			}
		}
	}
}

// Listen opens the ports of all parts that have an address and no listener, or
// none of them. [Run] does so too; a program calls Listen before if it needs the
// addresses, for example those of ports that the system chooses.
func (cfg Config) Listen() error {
	var opened []*Part
	for p := range cfg.parts {
		if p.Address == "" || p.Listener != nil {
			continue
		}
		l, err := listen(p.Address, cmp.Or(p.SocketMode, defaultSocketMode))
		if err != nil {
			for _, other := range opened {
				_ = other.Listener.Close() // nothing was accepted yet
				other.Listener = nil
			}
			return p.listenError(err)
		}
		if !slices.Contains(cfg.Last, p) { // those answer while the others are flooded
			l = arrival.Reserve(l)
		}
		p.Listener = arrival.PortOf(l, cmp.Or(cfg.MaxConnections, DefaultMaxConnections), cfg.full(p))
		opened = append(opened, p)
	}
	return nil
}

// full returns what a part does when it has all the connections it may have.
func (cfg Config) full(p *Part) func() {
	warnings := throttle.Every(time.Minute)
	return func() {
		if cfg.Full != nil {
			cfg.Full()
		}
		if ok, suppressed := warnings.Next(); ok && cfg.Logger != nil {
			cfg.Logger.Warn("port is full: further connections wait", "part", p.Name,
				"limit", cmp.Or(cfg.MaxConnections, DefaultMaxConnections), "suppressed", suppressed)
		}
	}
}

// CloseListeners closes the ports of all parts, for a program that has called
// Listen and does not call Run.
func (cfg Config) CloseListeners() {
	for p := range cfg.parts {
		if p.Listener != nil {
			_ = p.Listener.Close() // nothing was accepted yet
			p.Listener = nil
		}
	}
}

func (p *Part) setting() string { return cmp.Or(p.Setting, p.Name+".Address") }

func (p *Part) listenError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return invalid.Field(p.setting(), p.Address, "is in use", "stop the program that uses it, or set another address")
	}
	if problem, ok := errors.AsType[*socketError](err); ok {
		return invalid.Field(p.setting(), p.Address, problem.problem, problem.remedy)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return invalid.Field(p.setting(), p.Address, "cannot be listened on: "+err.Error(), "give HOST:PORT of this machine")
}

// Run opens all ports, serves until the context ends or a part fails, and then
// stops the parts as Config says. Idle connections are then closed at once, and
// those that have not begun a request within half a second. The error is nil if
// the context has ended the program and every request has ended; it wraps
// [context.DeadlineExceeded] if requests were cut off because they took longer
// than ShutdownTimeout. Run owns the listeners of the parts, also if it fails.
func Run(ctx context.Context, cfg Config) error {
	err := run(ctx, cfg)
	for _, c := range cfg.Closers {
		err = errors.Join(err, c())
	}
	return err
}

func run(ctx context.Context, cfg Config) error {
	cfg.ShutdownTimeout = cmp.Or(cfg.ShutdownTimeout, DefaultShutdownTimeout)
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	err := cfg.Validate()
	if err == nil {
		err = cfg.Listen()
	}
	if err != nil {
		cfg.CloseListeners()
		return err
	}
	if cfg.Reload != nil {
		defer reloadAtSignal(cfg.Reload, logger)()
	}
	// The parts outlive ctx until the requests in flight have ended.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(working)
	leaving := new(atomic.Bool)
	start := func(parts []*Part) (stage drains) {
		for _, p := range parts {
			if p.Run != nil {
				group.Go(func() error { return p.Run(failed) })
			}
			if p.Server == nil {
				continue
			}
			logger.Info("listening", "part", p.Name, "address", p.Listener.Addr().String())
			listener, drain := p.prepare(working, leaving)
			group.Go(func() error {
				if err := p.Server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
					return fmt.Errorf("lifecycle: serve %s: %w", p.Name, err)
				}
				return nil
			})
			stage = append(stage, drain)
		}
		return stage
	}
	front, back, last := start(cfg.Front), start(cfg.Back), start(cfg.Last)
	group.Go(func() error {
		select {
		case <-ctx.Done():
			logger.Info("stopping")
		case <-failed.Done():
		}
		defer stop()
		leaving.Store(true)
		if cfg.Leave != nil {
			cfg.Leave()
		}
		select {
		case <-time.After(cfg.LameDuck):
		case <-failed.Done(): // a part that has failed serves no more
		}
		all, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
		defer cancel()
		var err error
		if cfg.Drain != nil {
			err = cfg.Drain(all)
		}
		err = errors.Join(err, front.run(all))
		for _, stage := range []drains{back, last} {
			bounded, cancel := atLeast(all, stageTime)
			err = errors.Join(err, stage.run(bounded))
			cancel()
		}
		return err
	})
	return group.Wait()
}

// stageTime is the least time in which Back and Last parts can end.
const stageTime = time.Second

// atLeast returns ctx, or a context that ends after d if ctx ends earlier.
func atLeast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) > d {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// reloadAtSignal calls reload for each SIGHUP until stop is called.
func reloadAtSignal(reload func(context.Context) error, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			if err := reload(ctx); err != nil {
				logger.Error("reload failed", "err", err)
			} else {
				logger.Info("reloaded")
			}
		}
	})
	return func() {
		signal.Stop(signals)
		cancel()
		reloading.Wait()
	}
}

// closing returns a handler that, once leaving is set, asks clients to close their
// connection, over HTTP/2 with GOAWAY. Closing idle connections instead would lose
// a request that is on its way.
func closing(next http.Handler, leaving *atomic.Bool) http.Handler {
	if next == nil {
		next = http.DefaultServeMux // as net/http
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() && len(r.Header["Upgrade"]) == 0 { // its response has a Connection header of its own
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}

// prepare returns the listener to serve on and the function that shuts the part
// down.
func (p *Part) prepare(base context.Context, leaving *atomic.Bool) (net.Listener, func(context.Context) error) {
	listener, closeUnused := p.Listener, func() {}
	if p.TLS != nil {
		listener = tls.NewListener(listener, p.tlsConfig())
	}
	if srv, ok := p.Server.(*http.Server); ok {
		srv.Handler = closing(srv.Handler, leaving)
		if srv.BaseContext == nil {
			srv.BaseContext = func(net.Listener) context.Context { return base }
		}
		watchHTTP(srv)
	} else {
		listener, closeUnused = watchListener(listener)
	}
	return listener, func(ctx context.Context) error {
		closeUnused()
		err := p.Server.Shutdown(ctx)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("lifecycle: stop %s: %w", p.Name, err)
		if c, ok := p.Server.(io.Closer); ok { // an http.Server leaves connections open
			err = errors.Join(err, c.Close())
		}
		return err
	}
}

// tlsConfig returns TLS with the protocols of the server.
func (p *Part) tlsConfig() *tls.Config {
	if len(p.TLS.NextProtos) > 0 {
		return p.TLS
	}
	config := p.TLS.Clone()
	srv, ok := p.Server.(*http.Server)
	if !ok || srv.Protocols == nil || srv.Protocols.HTTP2() {
		config.NextProtos = append(config.NextProtos, "h2")
	}
	if ok && (srv.Protocols == nil || srv.Protocols.HTTP1()) {
		config.NextProtos = append(config.NextProtos, "http/1.1")
	}
	return config
}

// drains shut the parts of one stage down.
type drains []func(context.Context) error

// run shuts all parts down at once, so that all stop accepting at once.
func (d drains) run(ctx context.Context) error {
	errs := make([]error, len(d))
	var all sync.WaitGroup
	for i, drain := range d {
		all.Go(func() { errs[i] = drain(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
