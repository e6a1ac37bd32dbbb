package refresh

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

// A Circuit guards token requests that are not refreshes of sessions: those for one
// route. It shares the breaker of the refreshes, and has one of its own. A provider
// that answers 500 to the requests of a route must not hold back refreshes.
type Circuit struct {
	shared *breaker
	own    breaker
}

// Circuit returns the guard of a route's token requests.
func (r *Refresher) Circuit(route string) *Circuit {
	return &Circuit{&r.breaker, breaker{now: r.cfg.Now, outage: outage.New(outage.Config{
		Name: "token endpoint for a route", Logger: r.cfg.Logger.With("route", route), Now: r.cfg.Now, Settle: settle,
	})}}
}

// Do makes a token request, on behalf of a session or of what else id stands for. The
// error is an *[Unavailable] if the request is held back, and otherwise that of the
// request, with its class and the provider's Retry-After.
func (c *Circuit) Do(ctx context.Context, id session.ID, request func() error) (Class, time.Duration, error) {
	ownProbe, wait := c.own.begin()
	if wait > 0 {
		return 0, 0, &Unavailable{wait}
	}
	probe, wait := c.shared.begin()
	if wait > 0 {
		c.own.abandon(ownProbe)
		return 0, 0, &Unavailable{wait}
	}
	err := request()
	if err == nil || errors.Is(err, rp.ErrUnusable) {
		c.own.answered(ctx, ownProbe)
		c.shared.answered(ctx, probe)
		return 0, 0, err
	}
	class, refusal := classOf(err), refusalOf(err)
	retryAfter := min(refusal.RetryAfter, maxRetryAfter)
	switch {
	case class != Transient && class != Unknown:
		c.own.answered(ctx, ownProbe)
		c.shared.answered(ctx, probe)
	case concernsAll(err, refusal.Status):
		c.own.abandon(ownProbe)
		c.shared.failed(ctx, probe, id, retryAfter, err)
	default:
		c.own.failed(ctx, ownProbe, id, retryAfter, err)
		if probe { // it has not shown that refreshes work
			c.shared.failed(ctx, probe, id, retryAfter, err)
		}
	}
	return class, retryAfter, err
}

// concernsAll reports whether a transient failure is one of the provider, and not
// perhaps of what was requested.
func concernsAll(err error, status int) bool {
	if _, ok := errors.AsType[*rp.NoResponse](err); ok {
		return true
	}
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}
