// Package hook owns the calls of an application's functions: each within a limited time,
// only so many at once, and with its panic turned into an error. It leaves what the
// functions get, and what their errors become, to the parts.
package hook

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrTimeout means that a function has not returned in time. It may still run.
	ErrTimeout = errors.New("the hook has not returned in time")
	// ErrBusy means that as many calls as are allowed have not returned yet.
	ErrBusy = errors.New("too many calls of the hook have not returned")
)

// A PanicError is the panic of a function.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in the hook: %v", e.Value) }

// A Caller calls functions of the application. It is safe for concurrent use.
type Caller struct {
	timeout time.Duration
	calls   chan struct{} // those that have not returned
}

// NewCaller returns a Caller for at most this many calls at once. Those that did not
// return in time count.
func NewCaller(timeout time.Duration, most int) *Caller {
	return &Caller{timeout: timeout, calls: make(chan struct{}, most)}
}

// Call calls f, whose context ends after the timeout. It returns then, although f may ignore
// its context: f must not write to what its caller uses afterwards, unless Call returned its
// error.
func (c *Caller) Call(ctx context.Context, f func(context.Context) error) error {
	select {
	case c.calls <- struct{}{}:
	default:
		return ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- &PanicError{p, debug.Stack()}
			}
			<-c.calls
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done: // both are ready
			return err
		default:
			return fmt.Errorf("%w: %w", ErrTimeout, context.Cause(ctx))
		}
	}
}
