// Package await owns values that a process needs and that cannot be opened at its start,
// because what they need is unavailable. It leaves how they are opened, and what is
// served without them, to its users.
package await

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

const (
	// firstAttempt is how long the start waits for what is opened before the process
	// serves without it.
	firstAttempt = 3 * time.Second
	// attemptInterval is how often opening is tried again.
	attemptInterval = time.Second
)

// A Value is opened as soon as what it needs is available. Opening is tried until it
// succeeds. It is safe for concurrent use.
type Value[T any] struct {
	opened chan struct{} // closed when value is there
	value  atomic.Pointer[T]
	err    atomic.Pointer[error] // of the last attempt

	failure chan error // an error that does not pass
	cancel  context.CancelFunc
	ended   chan struct{}
}

// Open opens a value. If that fails with a [cause.ErrUnavailable], or takes longer than
// 3 s, it is tried each second until Stop, also after the end of the context, and Get
// returns an error meanwhile. Any other error of the first attempt is returned. The
// monitor, nil for none, is told.
func Open[T any](ctx context.Context, monitor *outage.Monitor, open func(context.Context) (T, error)) (*Value[T], error) {
	a := &Value[T]{opened: make(chan struct{}), failure: make(chan error, 1), ended: make(chan struct{})}
	slow := fmt.Errorf("no answer within %v", firstAttempt)
	a.err.Store(&slow)
	ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	tried := make(chan struct{}, 1)
	go func() {
		defer close(a.ended)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			value, err := open(ctx)
			switch {
			case err == nil:
				a.value.Store(&value)
				close(a.opened)
				monitor.OK(ctx)
				return
			case !errors.Is(err, cause.ErrUnavailable):
				a.failure <- err
				return
			}
			a.err.Store(&err)
			monitor.Fail(ctx, err)
			select {
			case tried <- struct{}{}:
			default:
			}
			timer.Reset(attemptInterval)
		}
	}()
	select {
	case <-a.opened:
	case <-tried:
	case <-time.After(firstAttempt):
		monitor.Fail(ctx, slow)
	case err := <-a.failure:
		a.cancel()
		return nil, err
	}
	return a, nil
}

// Get returns the value, or why it is not there.
func (v *Value[T]) Get() (value T, err error) {
	if opened := v.value.Load(); opened != nil {
		return *opened, nil
	}
	return value, fmt.Errorf("not opened since the start: %w", *v.err.Load())
}

// Run waits until the value is there or the context ends. It returns the error of an
// attempt that did not wrap [cause.ErrUnavailable].
func (v *Value[T]) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-v.opened:
		return nil
	case err := <-v.failure:
		return err
	}
}

// Stop ends the attempts, and returns the value if there is one.
func (v *Value[T]) Stop() (value T, ok bool) {
	v.cancel()
	<-v.ended
	if opened := v.value.Load(); opened != nil {
		return *opened, true
	}
	return value, false
}

// Opened returns a channel that is closed when the value is there.
func (v *Value[T]) Opened() <-chan struct{} { return v.opened }
