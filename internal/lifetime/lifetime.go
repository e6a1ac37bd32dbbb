// Package lifetime owns the end of a request's context: cancellation and deadline without the
// channel, the timer and the entry at the parent that package context makes for each context, and
// that most requests never use. It leaves the values of the context to the part that embeds it.
//
// A part allocates one struct for each request, which embeds a Context and has the values. It is
// never used again for another request, because a service may keep the context of a call after the
// call: the values of one user would become those of another.
package lifetime

import (
	"context"
	"sync"
	"time"
)

// A Context is canceled with its parent, at its deadline, or by End. It makes what package context
// needs for that when Done or a derived context asks for it. A struct that embeds it and has values
// has a method Value, which passes other keys on to Context.Value. Begin must be called before it
// is used. All other methods are safe for concurrent use.
type Context struct {
	parent   context.Context
	deadline time.Time // zero for none

	mu     sync.Mutex
	err    error           // once the context has ended
	cause  error           // of the end, if real was nil
	real   context.Context // nil until it is asked for
	cancel context.CancelFunc
}

var _ context.Context = (*Context)(nil)

// Begin begins the lifetime. It ends at deadline, if that is not zero, and at that of parent.
func (c *Context) Begin(parent context.Context, deadline time.Time) {
	c.parent, c.deadline = parent, deadline
	if own, ok := parent.Deadline(); ok {
		c.Bound(own)
	}
}

// Bound makes the lifetime end at deadline, if not before. It is called before the context is used
// for more than its values.
func (c *Context) Bound(deadline time.Time) {
	if c.deadline.IsZero() || deadline.Before(c.deadline) {
		c.deadline = deadline
	}
}

// End cancels the context. The caller of Begin calls it when the work has ended.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cancel != nil:
		c.cancel() // if its deadline was first, it keeps that error
	case c.ended() == nil:
		c.err, c.cause = context.Canceled, context.Canceled
	}
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} { return c.derived().Done() }

// Err implements context.Context.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended()
}

// ended returns why the context has ended, nil if it has not. It is called with the lock held.
func (c *Context) ended() error {
	switch {
	case c.err != nil:
	case c.real != nil:
		c.err = c.real.Err()
	case c.parent.Err() != nil:
		c.err, c.cause = c.parent.Err(), context.Cause(c.parent)
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		c.err, c.cause = context.DeadlineExceeded, context.DeadlineExceeded
	}
	return c.err
}

// Value returns a value of the parent.
func (c *Context) Value(key any) any {
	if IsOwn(key) {
		return c.derived().Value(key) // package context cancels derived contexts directly
	}
	return c.parent.Value(key)
}

// derived returns the context of package context with the same end.
func (c *Context) derived() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
	case c.ended() != nil:
		ended, cancel := context.WithCancelCause(context.Background())
		cancel(c.cause)
		c.real = ended
	case c.deadline.IsZero():
		c.real, c.cancel = context.WithCancel(c.parent)
	default:
		c.real, c.cancel = context.WithDeadline(c.parent, c.deadline)
	}
	return c.real
}

// AfterFunc lets package context follow c without a goroutine, even if IsOwn fails.
func (c *Context) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.derived(), f) }

// IsOwn reports whether package context looks up the parent of a new context by this key. A context
// that hides the values of a Context passes the key on.
func IsOwn(key any) bool { return key == own }

// own is the private key of package context. It is found by observing a look-up; if that fails,
// derived contexts work and cost more.
var own = func() any {
	var observed observer
	_, cancel := context.WithCancel(&observed)
	cancel()
	return observed.key
}()

// An observer is a context that records the key of a look-up.
type observer struct {
	context.Context
	key any
}

func (o *observer) Done() <-chan struct{}        { return make(chan struct{}) }
func (o *observer) Err() error                   { return nil }
func (o *observer) Value(key any) any            { o.key = key; return nil }
func (o *observer) AfterFunc(func()) func() bool { return func() bool { return true } }
