package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/grpclog"
	"github.com/gatehouse-dev/gatehouse/internal/heap"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// run runs parts until the context ends, and then until the work in flight has
// ended. The configuration is validated before anything listens.
func (p *program) run(ctx context.Context, which partSet) error {
	defer lifecycle.HoldHangups()()
	defer surviveBrokenPipes()()
	defer runtime.KeepAlive(heap.Reserve()) // from here on: the start makes garbage too
	p.setDefaults()
	if err := p.validate(which); err != nil {
		return err
	}
	ports, err := p.listen(which)
	if err != nil {
		return err
	}
	defer ports.CloseListeners() // those that no part has taken over
	telemetry, err := p.startTelemetry(ctx, which)
	if err != nil {
		return err
	}
	defer telemetry.Close()
	parts, err := p.assemble(ctx, which)
	if err != nil {
		return err
	}
	p.warnInClear(ctx, which)
	return parts.serve(ctx, ports, nil)
}

// surviveBrokenPipes keeps the process from being ended without a word when the reader of its log
// has gone: without a handler, SIGPIPE ends a process of Go that writes to such a standard error.
func surviveBrokenPipes() (release func()) {
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGPIPE)
	return func() { signal.Stop(held) }
}

// ports are the open ports of the parts in this process; the others are nil.
type ports struct {
	lifecycle.Config
	limited                           *metrics.Counter // set before a port accepts connections
	bff, gateway, grpc, admin, devidp *lifecycle.Part
}

// listen opens all ports, so that a port that is taken stops the start before
// anything has happened.
func (p *program) listen(which partSet) (*ports, error) {
	ports := &ports{Config: lifecycle.Config{
		LameDuck: p.cfg.LameDuck, MaxConnections: p.cfg.MaxConnections, ShutdownTimeout: p.cfg.ShutdownTimeout, Logger: p.logger,
	}}
	ports.Full = func() { ports.limited.Add(metrics.LimitConnections) }
	open := func(wanted bool, stage *[]*lifecycle.Part, name, field, address string) *lifecycle.Part {
		if !wanted {
			return nil
		}
		part := &lifecycle.Part{Name: name, Setting: field, Address: address, SocketMode: p.cfg.SocketMode}
		*stage = append(*stage, part)
		return part
	}
	ports.bff = open(which.BFF, &ports.Front, "bff", "ListenBFF", p.cfg.ListenBFF)
	ports.gateway = open(which.Gateway, &ports.Front, "gateway", "ListenGateway", p.cfg.ListenGateway)
	ports.grpc = open(which.Server, &ports.Back, "server", "ListenGRPC", p.cfg.ListenGRPC)
	ports.devidp = open(p.development, &ports.Last, "development provider", "ListenDevIDP", p.cfg.ListenDevIDP)
	ports.admin = open(p.cfg.ListenAdmin != "", &ports.Last, "admin", "ListenAdmin", p.cfg.ListenAdmin)
	if err := ports.Listen(); err != nil {
		return nil, p.values.Explain(err)
	}
	return ports, nil
}

// serve serves at the ports until the context ends or a part fails.
func (p *parts) serve(ctx context.Context, ports *ports, devidp http.Handler) error {
	if p.hooks == nil {
		grpclog.Use(p.logger)
		ports.Reload = p.reload
	}
	ports.limited = metrics.NewCounter(p.telemetry.Meter, metrics.LimitRejections)
	p.readiness.Observe(p.telemetry.Meter)
	p.security.Files.Observe(p.telemetry.Meter)
	if p.bff != nil {
		if err := p.explained(p.bff.Join(ctx)); err != nil {
			return p.close(err)
		}
		server := p.bff.Server()
		server.Protocols.SetUnencryptedHTTP2(p.cfg.H2C)
		ports.bff.Server = server
		ports.bff.Run = func(ctx context.Context) error { return p.explained(p.bff.Run(ctx)) }
	}
	if p.gateway != nil {
		ports.gateway.Server = p.gateway.Server()
	}
	if p.server != nil {
		ports.grpc.Server, ports.grpc.Run = p.server, p.server.Run
	}
	if ports.devidp != nil {
		ports.devidp.Server = httpServer(devidp)
	}
	if ports.admin != nil {
		if err := p.addAdmin(ports); err != nil {
			return p.close(err)
		}
	}
	p.watchSecrets(ctx)
	for _, part := range slices.Concat(ports.Front, ports.Back, ports.Last) {
		part.TLS = p.security.Listeners[part.Setting]
	}
	ports.Last = append(ports.Last, p.upkeep...)
	ports.Leave = func() {
		p.notify(daemon.SdNotifyStopping)
		p.leaving.Store(true)
		if p.server != nil {
			p.server.Leave()
		}
	}
	ports.Drain = func(ctx context.Context) error {
		if p.server != nil { // calls over the network end with the requests at the bff and the gateway
			p.server.Drain()
		}
		return p.services.Drain(ctx)
	}
	ports.Closers = p.closers
	p.announce(ports)
	started := time.Now()
	p.notify(daemon.SdNotifyReady)        // the ports are open
	if p.hooks == nil && !p.development { // people and tests see each line at once
		p.log.Start()
	}
	defer p.log.Stop()                         // also in a panic
	defer context.AfterFunc(ctx, p.log.Stop)() // so that a second signal, which ends the process at once, loses no line
	err := lifecycle.Run(ctx, ports.Config)
	p.log.Stop()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w; if requests need longer to end, set GATEHOUSE_SHUTDOWN_TIMEOUT, which is %v",
			err, p.cfg.ShutdownTimeout)
	}
	p.conclude(started, err)
	return err
}

// notify tells systemd the state of the process, in a unit of Type=notify.
func (p *parts) notify(state string) {
	if p.hooks != nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.logger.Warn("systemd not notified", "err", err)
	}
}

// reload reads the files again that may change while the process runs. It is
// called at SIGHUP.
func (p *parts) reload(ctx context.Context) error {
	var errs []error
	for _, reload := range p.reloads {
		errs = append(errs, reload(ctx))
	}
	return errors.Join(errs...)
}

// explained returns an error of the bff. One about nodes without a common secret
// gets the setting and a remedy.
func (p *parts) explained(err error) error {
	if mismatch, ok := errors.AsType[*session.NoSharedSecretError](err); ok {
		problem := fmt.Sprintf("none of the secrets is one of the %d other nodes that use the session store (their keys %s, ours %s)",
			mismatch.Nodes, strings.Join(mismatch.Theirs, " "), strings.Join(mismatch.Ours, " "))
		return p.values.Describe("secret", problem, "give this node the secret that they have, in addition to a new one if there is one; "+
			"after a kill wait 30 s; only if the old secrets are compromised, set GATEHOUSE_SECRET_COMPROMISED")
	}
	return err
}

// addAdmin adds the admin port. It warns if other machines reach it, since it asks
// for no credential.
func (p *parts) addAdmin(ports *ports) error {
	cfg := p.cfg.Admin
	cfg.Readiness, cfg.Settings, cfg.Level = p.readiness, p.values.Shown(), p.level
	cfg.Metrics, cfg.Changed = p.telemetry, p.settingChanged
	cfg.Logger = p.logger.With("part", "admin")
	a, err := admin.New(cfg)
	if err != nil {
		return err
	}
	ports.admin.Server = a.Server()
	if !loopback.Listens(p.cfg.ListenAdmin) {
		shown := "health, readiness and metrics"
		if cfg.Debug {
			shown = "profiles, settings and the log level"
		}
		p.logger.Warn("the admin port is not on loopback", "part", "admin", "setting", p.values.Name("listen-admin"), "shows", shown,
			"remedy", "allow only monitoring to reach it, or give 127.0.0.1:PORT")
	}
	return nil
}
