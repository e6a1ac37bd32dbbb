package routetoken

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// A client has the client's own token for a route. All sessions, and requests without
// one, share it.
type client struct {
	*requester

	mu     sync.Mutex
	token  session.RouteToken // zero for none
	flight *flight            // nil while nothing is requested
	hold   hold
	spent  time.Time // when a refusal by the upstream last removed a token
}

// A flight is a request for a token under way. Those who need the token share it.
type flight struct {
	done  chan struct{} // closed when token and err are set
	token session.RouteToken
	err   error
}

func newClient(r *requester) *client { return &client{requester: r} }

// get returns a valid token. While the current one is valid, no request waits: it is
// renewed in the background.
func (c *client) get(ctx context.Context) (session.RouteToken, error) {
	c.mu.Lock()
	now := c.cfg.Now()
	valid := c.token.Access != "" && now.Before(c.token.ExpiresAt)
	if valid && !c.due(c.token) {
		defer c.mu.Unlock()
		return c.token, nil
	}
	if c.flight == nil {
		if err := c.hold.blocks(now); err == nil {
			c.begin(ctx)
		} else if !valid {
			defer c.mu.Unlock()
			return session.RouteToken{}, err
		}
	}
	current, f := c.token, c.flight
	c.mu.Unlock()
	if valid {
		return current, nil
	}
	ctx, span := c.cfg.Tracer.Start(ctx, tracing.AwaitRouteToken, trace.SpanKindInternal)
	defer span.End()
	return await(ctx, f)
}

// await waits for a flight for a limited time.
func await(ctx context.Context, f *flight) (session.RouteToken, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-f.done:
		return f.token, f.err
	case <-bounded.Done():
		return session.RouteToken{}, transient(0, errors.New("no token within the time that a request waits"))
	}
}

// begin requests a token, whatever becomes of the request of the browser. The caller
// holds the mutex.
func (c *client) begin(ctx context.Context) {
	f := &flight{done: make(chan struct{})}
	c.flight = f
	ctx, span := c.cfg.Tracer.Start(context.WithoutCancel(ctx), tracing.RouteToken, trace.SpanKindInternal)
	c.cfg.Work.Go(func() {
		defer span.End()
		f.token, f.err = c.ask(ctx, c.clientID(), func() (session.Tokens, error) {
			return c.cfg.Party.ClientTokens(ctx, c.route.target())
		})
		if f.err != nil {
			f.err = c.failure(ctx, nil, f.err)
			tracing.Fail(span, tracing.Kind(f.err))
		} else {
			c.count(metrics.RouteOK)
			c.cfg.Logger.InfoContext(ctx, "client token obtained for a route", "route", c.route.Path, "expires", f.token.ExpiresAt)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flight = nil
		if f.err == nil {
			c.token, c.hold = f.token, hold{}
		} else {
			c.hold = c.hold.after(f.err, c.cfg.Now())
		}
		close(f.done)
	})
}

// refused removes a token that the upstream has refused.
func (c *client) refused(access string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	switch {
	case c.token.Access != access: // there is another one already, or soon
		return true
	case now.Sub(c.spent) < refusalPause, now.Sub(c.token.ObtainedAt) < provenAge, c.hold.blocks(now) != nil:
		return false
	}
	c.token, c.spent = session.RouteToken{}, now
	return true
}
