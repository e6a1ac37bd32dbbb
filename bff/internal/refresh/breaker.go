package refresh

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

const (
	// breakerFailures is the number of failures in succession, of more than one
	// session, that open a breaker.
	breakerFailures = 5
	// firstProbe is the wait of an open breaker before its first probe. Each
	// failed probe doubles the wait, up to lastProbe.
	firstProbe = time.Second
	lastProbe  = 5 * time.Second
	// settle is how long the endpoint must not have failed until its outage ends in
	// the log.
	settle = 5 * time.Second
	// maxRetryAfter bounds the Retry-After of a provider.
	maxRetryAfter = 5 * time.Minute
)

// A breaker holds back refreshes while a provider's token endpoint fails. So an
// outage costs one probe at a time, not one request for each session.
type breaker struct {
	now    func() time.Time
	outage *outage.Monitor

	mu       sync.Mutex
	failures int        // in succession
	sole     session.ID // the session of the first failure
	several  bool       // the failures are of several sessions
	notUntil time.Time  // from the provider's Retry-After
	open     bool
	wait     time.Duration // between probes
	next     time.Time     // the next probe
	probing  bool
}

// isOpen reports whether refreshes are held back.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// wouldHold returns how long a refresh is held back now, 0 if it is not.
func (b *breaker) wouldHold() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holds()
}

// holds is wouldHold. The caller holds the mutex.
func (b *breaker) holds() time.Duration {
	if !b.open {
		return 0
	}
	wait := b.next.Sub(b.now())
	switch {
	case b.probing: // the probe decides
		wait = max(wait, firstProbe)
	case wait <= 0:
		return 0
	}
	return wait
}

// begin allows a request, or returns how long it is held back. The caller must
// report an allowed one with answered or failed.
func (b *breaker) begin() (probe bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.holds(); wait > 0 {
		return false, wait
	}
	b.probing = b.open
	return b.open, 0
}

// answered records a request that a working endpoint has answered.
func (b *breaker) answered(ctx context.Context, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outage.OK(ctx)
	b.open, b.several, b.failures, b.notUntil = false, false, 0, time.Time{}
	if probe {
		b.probing = false
	}
}

// abandon takes back an allowed request that says nothing about the endpoint.
func (b *breaker) abandon(probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
}

// failed records a request that has failed. It reports whether the breaker is open.
func (b *breaker) failed(ctx context.Context, probe bool, id session.ID, retryAfter time.Duration, cause error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outage.Fail(ctx, cause)
	now := b.now()
	if until := now.Add(retryAfter); retryAfter > 0 && until.After(b.notUntil) {
		b.notUntil = until
	}
	if b.open {
		if probe {
			b.probing = false
			b.wait = min(2*b.wait, lastProbe)
			b.next = now.Add(b.wait)
		}
		b.obey()
		return true
	}
	if b.failures++; b.failures == 1 {
		b.sole = id
	}
	b.several = b.several || b.sole != id
	if b.failures < breakerFailures || !b.several {
		return false
	}
	b.open, b.wait, b.next = true, firstProbe, now.Add(firstProbe)
	b.obey()
	return true
}

// obey delays the next probe until notUntil. The caller holds the mutex.
func (b *breaker) obey() {
	if b.notUntil.After(b.next) {
		b.next = b.notUntil
	}
}
