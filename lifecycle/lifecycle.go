// Package lifecycle owns how a program that serves on several ports starts, and how it ends without cutting off whom it is
// serving. It leaves what is served there to server, gateway and bff, and settings to the program.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// ShutdownTimeout bounds how long requests in flight may take to end.
const ShutdownTimeout = 20 * time.Second

// A Server takes connections until it is shut down: an *http.Server, or a *server.Server.
type Server interface {
	// Serve returns nil or http.ErrServerClosed after Shutdown.
	Serve(net.Listener) error
	// Shutdown takes no more requests, and returns when the last has ended, or with an error when the context ends first.
	Shutdown(context.Context) error
}

// A Part is one thing that a program serves.
type Part struct {
	// Address is where it listens, on TCP, such as ":3000".
	Address string
	// Server answers there.
	Server Server
	// Run, when set, works beside the server until its context ends, which is after every part's last request. It may take
	// its time to finish what no request waits for, as a bff does with refreshes under way, and bounds that itself.
	Run func(context.Context) error
}

// UntilSignal is Run until the process is told to stop, by SIGTERM or by an interrupt from the keyboard. A second signal
// ends it at once.
func UntilSignal(parts ...Part) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next one finds no handler
	return Run(ctx, parts...)
}

// Run serves all parts until the context ends, and then lets requests in flight end, part after part: name those first that
// call others, the bff before the gateway and the gateway before the server. It opens all ports before it serves the first.
// It returns nil if the context has ended it, the first error if a part has failed, and an error for requests that had to be
// cut off because they took longer than ShutdownTimeout.
func Run(ctx context.Context, parts ...Part) error {
	listeners := make([]net.Listener, 0, len(parts))
	for _, p := range parts {
		l, err := net.Listen("tcp", p.Address)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close() // nothing was accepted yet
			}
			return fmt.Errorf("lifecycle: %q: %w; stop the program that uses it, or give another address", p.Address, err)
		}
		listeners = append(listeners, arrival.Port(l))
	}
	// The parts outlive ctx until what is in flight has ended.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(working)
	for i, p := range parts {
		group.Go(func() error {
			if err := p.Server.Serve(listeners[i]); err != nil && !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("lifecycle: serving %q: %w", p.Address, err)
			}
			return nil
		})
		if p.Run != nil {
			group.Go(func() error { return p.Run(failed) })
		}
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-failed.Done():
		}
		defer stop()
		return drain(ctx, parts)
	})
	return group.Wait()
}

// drain shuts the parts down, one after the other, and cuts off what is left when the time is up.
func drain(ctx context.Context, parts []Part) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), ShutdownTimeout)
	defer cancel()
	var errs []error
	for _, p := range parts {
		err := p.Server.Shutdown(bounded)
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("lifecycle: ending %q: %w", p.Address, err))
		if c, ok := p.Server.(io.Closer); ok { // an http.Server leaves them open
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
