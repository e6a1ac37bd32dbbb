// Package lazyctx owns contexts that can be cancelled and have a deadline, and make a timer, a
// channel and an entry in their parent only when something waits for their end. Most calls wait for
// nothing that ends early. It leaves values to the types that embed a Context.
//
// A handler may keep its context, and contexts derived from it, after it has returned. A Context and
// what contains one is therefore never used again for another request, in a pool or otherwise.
package lazyctx

import (
	"context"
	"sync"
	"time"
)

// A Context behaves as that of context.WithDeadline, or context.WithCancel, with one difference:
// the end of its time or its parent counts when it is noticed, by Err or because something waits.
// If it is cancelled before that, it was cancelled. A Context is ready to use after Begin, must not
// be copied, and is safe for concurrent use.
type Context struct {
	parent   context.Context
	deadline time.Time // its own, zero for none

	mu         sync.Mutex
	std        context.Context // ends with this context; nil until something waits
	cancel     context.CancelFunc
	err, cause error // of an end before something waited
}

var _ context.Context = (*Context)(nil)

// Begin sets the parent and the deadline, zero for none. It is called once, before all other
// methods.
func (c *Context) Begin(parent context.Context, deadline time.Time) {
	c.parent, c.deadline = parent, deadline
}

// Cancel ends the context, unless it has ended.
func (c *Context) Cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.std != nil:
		c.cancel()
	case c.err == nil:
		c.err, c.cause = context.Canceled, context.Canceled
	}
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) {
	deadline, ok := c.parent.Deadline()
	if !c.deadline.IsZero() && (!ok || c.deadline.Before(deadline)) {
		return c.deadline, true
	}
	return deadline, ok
}

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} { return c.standard().Done() }

// Err implements context.Context.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case c.std != nil:
		return c.std.Err()
	default:
		if err := c.parent.Err(); err != nil {
			c.err, c.cause = err, context.Cause(c.parent)
		} else if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
			c.err, c.cause = context.DeadlineExceeded, context.DeadlineExceeded
		}
	}
	return c.err
}

// Value implements context.Context. A type with values of its own asks for those of this context,
// and for every key that [IsKey] reports.
func (c *Context) Value(key any) any {
	if IsKey(key) {
		return c.standard().Value(key)
	}
	return c.parent.Value(key)
}

// standard returns a context of package context that ends with c. If c has ended, the error is
// that of c.
func (c *Context) standard() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.std != nil:
	case c.err != nil:
		ended, cancel := context.WithCancelCause(context.Background())
		cancel(c.cause)
		c.std, c.cancel = ended, func() {}
	case c.deadline.IsZero():
		c.std, c.cancel = context.WithCancel(c.parent)
	default:
		c.std, c.cancel = context.WithDeadline(c.parent, c.deadline)
	}
	return c.std
}

// IsKey reports whether package context looks up the context to cancel a new one with under this
// key. A context that does not pass it on needs a goroutine for each that is derived from it.
func IsKey(key any) bool { return key == ancestor }

// ancestor is a private key of package context, found by observing a look-up. If that fails,
// derived contexts need a goroutine.
var ancestor = func() any {
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

func (o *observer) Done() <-chan struct{} { return make(chan struct{}) }
func (o *observer) Err() error            { return nil }
func (o *observer) Value(key any) any     { o.key = key; return nil }
func (o *observer) AfterFunc(func()) func() bool {
	return func() bool { return true }
}
