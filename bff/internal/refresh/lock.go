package refresh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A lock is the lock of a session that this process holds.
type lock struct {
	r     *Refresher
	s     *session.Session
	fence session.Fence
	until time.Time // when the lease ends
	stop  func()    // ends keep
}

// keep renews the lease until stop is called.
func (l *lock) keep(ctx context.Context) {
	keeping, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(leaseTick)
		defer tick.Stop()
		for {
			select {
			case <-keeping.Done():
				return
			case <-tick.C:
			}
			if l.until.Sub(l.r.cfg.Now()) >= lockLease {
				continue
			}
			if !l.prolong(keeping, lockLease) {
				return
			}
		}
	})
	l.stop = sync.OnceFunc(func() { cancel(); done.Wait() })
}

// prolong renews the lease. It reports whether this process still holds the lock,
// as far as is known.
func (l *lock) prolong(ctx context.Context, lease time.Duration) bool {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := l.r.cfg.Now()
	switch err := l.r.cfg.Sessions.Renew(bounded, l.s, l.fence, lease); {
	case err == nil:
		l.until = now.Add(lease)
	case errors.Is(err, session.ErrFenced), errors.Is(err, session.ErrNotFound):
		return false
	}
	return true
}

// holdUntil prevents all nodes from refreshing until a time.
func (l *lock) holdUntil(ctx context.Context, until time.Time) {
	l.stop()
	lease := until.Sub(l.r.cfg.Now())
	switch {
	case lease <= 0:
		l.release(ctx)
	case !l.until.Equal(until):
		l.prolong(ctx, lease)
	}
}

// release releases the lock. If that fails, the lease ends it.
func (l *lock) release(ctx context.Context) {
	l.stop()
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := l.r.cfg.Sessions.Unlock(bounded, l.s, l.fence)
	if err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrFenced) {
		l.r.cfg.Logger.InfoContext(ctx, "session lock not released; its lease will end it", "session", l.s, "err", err)
	}
}
