package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// runParts runs the parts until the context ends, and then lets what is in flight
// end first. The configuration is validated before anything listens.
func runParts(ctx context.Context, cfg config, which partSet) error {
	cfg.withDefaults()
	if err := cfg.Validate(which); err != nil {
		return err
	}
	l, err := listen(cfg, which, false)
	if err != nil {
		return err
	}
	p, err := assemble(ctx, cfg, which, false)
	if err != nil {
		l.close()
		return err
	}
	return p.run(ctx, cfg, l, nil)
}

// listeners are the open ports; nil for a part that does not run here.
type listeners struct {
	bff, gateway, grpc, admin, devidp net.Listener
}

// listen opens all ports, so that a port that is taken stops the start before
// anything has happened.
func listen(cfg config, which partSet, development bool) (*listeners, error) {
	l := &listeners{}
	for _, want := range []struct {
		wanted           bool
		target           *net.Listener
		setting, address string
	}{
		{which.BFF, &l.bff, "GATEHOUSE_LISTEN_BFF", cfg.ListenBFF},
		{which.Gateway, &l.gateway, "GATEHOUSE_LISTEN_GATEWAY", cfg.ListenGateway},
		{which.Server, &l.grpc, "GATEHOUSE_LISTEN_GRPC", cfg.ListenGRPC},
		{cfg.ListenAdmin != "", &l.admin, "GATEHOUSE_LISTEN_ADMIN", cfg.ListenAdmin},
		{development, &l.devidp, "GATEHOUSE_LISTEN_DEVIDP", cfg.ListenDevIDP},
	} {
		if !want.wanted {
			continue
		}
		listener, err := net.Listen("tcp", want.address)
		if err != nil {
			l.close()
			return nil, listenError(want.setting, want.address, err)
		}
		*want.target = arrival.Port(listener)
	}
	return l, nil
}

func listenError(setting, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return settingError(setting, address, "the address is in use", "stop the program that uses it, or set another address")
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return settingError(setting, address, "cannot listen: "+err.Error(), "give HOST:PORT of this machine")
}

func (l *listeners) close() {
	for _, listener := range []net.Listener{l.bff, l.gateway, l.grpc, l.admin, l.devidp} {
		if listener != nil {
			_ = listener.Close() // nothing was accepted yet
		}
	}
}

// run serves until the context ends or a part fails.
func (p *parts) run(ctx context.Context, cfg config, l *listeners, devidp http.Handler) error {
	grpcLogger.logger.Store(cfg.Logger)
	if p.bff != nil {
		if err := p.join(ctx); err != nil {
			l.close()
			return p.close(err)
		}
	}
	reserved := reserveHeap()
	defer runtime.KeepAlive(reserved)
	// The parts outlive ctx until what is in flight has ended.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(working)

	// What ends in which order, from the browser inwards: a part ends when
	// nobody in front of it is left. The admin port goes last, so that it says
	// all the while that this process is leaving.
	var front, back, last []drain
	web := func(phase *[]drain, name string, listener net.Listener, srv *http.Server) {
		cfg.Logger.Info("listening", "part", name, "address", listener.Addr().String())
		srv.BaseContext = func(net.Listener) context.Context { return working }
		watchHTTP(srv)
		group.Go(func() error {
			if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
		*phase = append(*phase, func(ctx context.Context) error {
			if err := srv.Shutdown(ctx); err != nil {
				return errors.Join(fmt.Errorf("%s: %w", name, err), srv.Close())
			}
			return nil
		})
	}
	if len(p.services) > 0 {
		front = append(front, p.services.drain) // or the parts would wait for streams that have no end
	}
	if l.bff != nil {
		web(&front, "bff", l.bff, p.bff.Server())
		group.Go(func() error { return p.bff.Run(failed) })
	}
	if l.gateway != nil {
		web(&front, "gateway", l.gateway, p.gateway.Server())
	}
	if l.grpc != nil {
		cfg.Logger.Info("listening", "part", "server", "address", l.grpc.Addr().String())
		listener, ending := watchGRPC(l.grpc)
		group.Go(func() error { return p.server.Serve(listener) })
		group.Go(func() error { return p.server.Run(failed) })
		back = append(back, func(ctx context.Context) error {
			ending()
			return p.server.Shutdown(ctx)
		})
	}
	if l.devidp != nil {
		web(&last, "development provider", l.devidp, httpServer(devidp))
	}
	if l.admin != nil {
		web(&last, "admin", l.admin, httpServer(p.admin()))
	}
	if p.denylist != nil {
		group.Go(func() error { return p.denylist.Run(failed) })
	}

	group.Go(func() error {
		select {
		case <-ctx.Done():
			cfg.Logger.Info("stopping")
		case <-failed.Done():
		}
		p.leaving.Store(true)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
		defer cancel()
		// One slow browser must not use up the time of the calls behind.
		most, cancel := context.WithTimeout(bounded, cfg.ShutdownTimeout*3/4)
		defer cancel()
		err := errors.Join(together(most, front), together(bounded, back), together(bounded, last))
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w; if requests need longer to end, set GATEHOUSE_SHUTDOWN_TIMEOUT, which is %v", err, cfg.ShutdownTimeout)
		}
		stop()
		return err
	})
	err := group.Wait()
	for _, closer := range p.closers {
		err = errors.Join(err, closer())
	}
	return err
}

// join announces the bff to the others of its session store.
func (p *parts) join(ctx context.Context) error {
	err := p.bff.Join(ctx)
	if mismatch, ok := errors.AsType[*session.NoSharedSecretError](err); ok {
		return settingError("GATEHOUSE_SECRET", "", fmt.Sprintf("none of the secrets is one of the %d other nodes that use the session store (their keys %s, ours %s)",
			mismatch.Nodes, strings.Join(mismatch.Theirs, " "), strings.Join(mismatch.Ours, " ")),
			"give this node the secret that they have, beside a new one if there is one; after a kill wait 30 s; only if the old secrets are compromised, set GATEHOUSE_SECRET_COMPROMISED")
	}
	return err
}

// A drain ends something when what is in flight has ended, or the context has.
type drain func(context.Context) error

// together runs drains at once, so that all of them stop accepting at once.
func together(ctx context.Context, drains []drain) error {
	errs := make([]error, len(drains))
	var all sync.WaitGroup
	for i, d := range drains {
		all.Go(func() { errs[i] = d(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// admin answers load balancers that have a port of their own.
func (p *parts) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready:", err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
