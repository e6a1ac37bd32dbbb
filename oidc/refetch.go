package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// An unknown kid leads to a fetch of the key set, since a rotation must be
// noticed at once. A caller can invent any number of kids, so these fetches have
// a budget: at most 5 in a minute, and 2 s of waiting for each caller.
const (
	refetchBurst  = 2
	refetchEvery  = 20 * time.Second
	refetchWait   = 2 * time.Second
	negativeTTL   = 30 * time.Second
	maxNegative   = 1024 // kids, of at most jwk.MaxID bytes: about 300 kB
	maxFetchTries = 2
)

var (
	errNotPublished = fmt.Errorf("%w: the provider does not publish it", ErrUnknownKey)
	errBudget       = fmt.Errorf("%w: unknown kid, and no refetch left in the budget", ErrUnknownKey)
	errManyKeys     = fmt.Errorf("%w: no kid, and the provider has more than one key of a kind", ErrUnknownKey)
)

// refetch is guarded by Provider.mu.
type refetch struct {
	flight   *flight
	spent    float64 // tokens taken from the bucket and not yet returned
	at       time.Time
	negative map[string]time.Time // kid to the end of its negative entry
}

// A flight is a fetch that callers with an unknown kid wait for.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// take takes one token from the bucket.
func (r *refetch) take(now time.Time) bool {
	if elapsed := now.Sub(r.at); elapsed > 0 {
		r.spent = max(0, r.spent-elapsed.Seconds()/refetchEvery.Seconds())
	}
	r.at = now
	if r.spent > refetchBurst-1 {
		return false
	}
	r.spent++
	return true
}

// isUnknown reports whether a fetch within negativeTTL has shown that the provider
// does not publish the kid.
func (r *refetch) isUnknown(kid string, now time.Time) bool {
	return now.Before(r.negative[kid])
}

// setUnknown makes a negative entry for the kid, and drops others if there are too
// many.
func (r *refetch) setUnknown(kid string, now time.Time) {
	if r.negative == nil {
		r.negative = make(map[string]time.Time)
	}
	if len(r.negative) >= maxNegative {
		maps.DeleteFunc(r.negative, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if len(r.negative) >= maxNegative {
		for k := range r.negative { // an arbitrary one
			delete(r.negative, k)
			break
		}
	}
	r.negative[kid] = now.Add(negativeTTL)
}

// forget drops the negative entries: a new set may have any of the kids.
func (r *refetch) forget() { r.negative = nil }

// Keys returns the keys that may have signed a token with this kid; "" means a
// token without one, for which the keys are returned that are the set's only one
// for an algorithm. The caller compares Algorithm and the type of Public with the
// token's alg. If the set has no such key, Keys fetches the set again, within a
// budget of 5 fetches a minute, and waits at most 2 seconds. The slice must not be
// changed. The error wraps [ErrUnknownKey] or [ErrUnavailable].
func (p *Provider) Keys(ctx context.Context, kid string) ([]*Key, error) {
	keys, err := p.KnownKeys(kid)
	if kid == "" || !errors.Is(err, errNotPublished) {
		return keys, err
	}
	keys, err = p.awaitKey(ctx, kid)
	switch {
	case err == nil:
		p.unknownKids.Add(metrics.KidFound, p.issuer)
	case errors.Is(err, errBudget):
		p.unknownKids.Add(metrics.KidBudget, p.issuer)
	case errors.Is(err, errNotPublished):
		p.unknownKids.Add(metrics.KidNotPublished, p.issuer)
	default:
		p.unknownKids.Add(metrics.KidUnavailable, p.issuer)
	}
	return keys, err
}

// KnownKeys returns what Keys does, without a fetch.
func (p *Provider) KnownKeys(kid string) ([]*Key, error) {
	set := p.set.Load()
	if !set.usable(p.now()) {
		if err := p.Ready(); err != nil {
			return nil, err
		}
		set = p.set.Load() // confirmed since
	}
	if kid == "" {
		if len(set.sole) == 0 {
			return nil, errManyKeys
		}
		return set.sole, nil
	}
	if keys := set.byID[kid]; keys != nil {
		return keys, nil
	}
	return nil, errNotPublished
}

// awaitKey fetches the key set for a kid that it lacks, or joins a fetch in
// flight.
func (p *Provider) awaitKey(ctx context.Context, kid string) ([]*Key, error) {
	var expired <-chan time.Time
	for try := 1; ; try++ {
		p.mu.Lock()
		if keys := p.set.Load().byID[kid]; keys != nil {
			p.mu.Unlock()
			return keys, nil
		}
		now := p.now()
		if p.refetch.isUnknown(kid, now) {
			p.mu.Unlock()
			return nil, errNotPublished
		}
		f := p.refetch.flight
		joined := f != nil
		if !joined {
			if !p.refetch.take(now) {
				p.mu.Unlock()
				return nil, errBudget
			}
			f = p.startFlight()
		}
		p.mu.Unlock()

		if expired == nil {
			timer := time.NewTimer(refetchWait)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-f.done:
		case <-expired:
			return nil, fmt.Errorf("%w: unknown kid, and no key set from the provider within %v", ErrUnavailable, refetchWait)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: waiting for the provider's keys: %w", ErrUnavailable, context.Cause(ctx))
		}
		if keys := p.set.Load().byID[kid]; keys != nil {
			return keys, nil
		}
		if f.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, f.err)
		}
		// The response to a fetch that was in flight already may be older than the
		// key. Only a fetch that began later proves that there is no such key.
		if !joined || try == maxFetchTries {
			p.mu.Lock()
			if p.set.Load().byID[kid] == nil {
				p.refetch.setUnknown(kid, p.now())
			}
			p.mu.Unlock()
			return nil, errNotPublished
		}
	}
}

// startFlight begins a fetch with a context that is not the caller's: the first
// caller may go away while others wait. It is called with p.mu held.
func (p *Provider) startFlight() *flight {
	f := &flight{done: make(chan struct{})}
	p.refetch.flight = f
	fetch := func(ctx context.Context) {
		_, err := p.fetchKeys(ctx, true)
		if err != nil {
			p.outage.Fail(ctx, err)
		}
		p.mu.Lock()
		f.err = err
		p.refetch.flight = nil
		p.mu.Unlock()
		close(f.done)
	}
	if ctx := p.life; ctx != nil {
		p.flights.Go(func() { fetch(ctx) })
	} else {
		go fetch(context.Background()) // ends within callTimeout
	}
	return f
}
