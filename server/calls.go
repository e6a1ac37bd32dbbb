package server

import (
	"sync"
	"sync/atomic"
)

// calls counts the calls in process that are under way, until the server stops.
type calls struct {
	state atomic.Int64 // the number of calls, and the bit stopping
	none  chan struct{}
	once  sync.Once
}

const stopping = 1 << 62

func newCalls() *calls { return &calls{none: make(chan struct{})} }

// begin counts a call, or returns errStopping.
func (c *calls) begin() error {
	if c.state.Add(1)&stopping != 0 {
		c.end()
		return errStopping
	}
	return nil
}

func (c *calls) end() {
	if c.state.Add(-1) == stopping {
		c.once.Do(func() { close(c.none) })
	}
}

// stop refuses further calls. The channel that it returns is closed when no call
// is under way.
func (c *calls) stop() <-chan struct{} {
	if c.state.Or(stopping)&^stopping == 0 {
		c.once.Do(func() { close(c.none) })
	}
	return c.none
}
