package server

import (
	"sync"
	"sync/atomic"
)

// calls counts the calls under way in process, and knows whether more are
// welcome.
type calls struct {
	state atomic.Int64 // the number, and the bit leaving
	none  chan struct{}
	once  sync.Once
}

const leaving = 1 << 62

func newCalls() *calls { return &calls{none: make(chan struct{})} }

func (c *calls) begin() error {
	if c.state.Add(1)&leaving != 0 {
		c.end()
		return errLeaving
	}
	return nil
}

func (c *calls) end() {
	if c.state.Add(-1) == leaving {
		c.once.Do(func() { close(c.none) })
	}
}

// leave takes no more calls. The channel that it returns is closed when none
// is under way.
func (c *calls) leave() <-chan struct{} {
	if c.state.Or(leaving)&^leaving == 0 {
		c.once.Do(func() { close(c.none) })
	}
	return c.none
}
