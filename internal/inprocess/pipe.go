package inprocess

import (
	"context"
	"io"
	"sync"
)

// window is how many bytes may be in transit before a sender waits for the receiver:
// the initial flow-control window of HTTP/2 and of grpc-go.
const window = 64 << 10

// A pipe carries the messages of a stream in one direction. The zero value is ready
// to use.
type pipe struct {
	mu      sync.Mutex
	queue   []packet
	size    int // bytes in queue
	closed  bool
	changed chan struct{} // closed at the next change; nil if nothing waits
}

// frame is the overhead of a message on the network. It bounds the number of empty
// messages in transit.
const frame = 5

// put waits for room in the window and appends a message. It returns io.EOF if the
// pipe is closed.
func (p *pipe) put(ctx context.Context, m packet) error {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return io.EOF
		}
		if p.size < window {
			p.queue = append(p.queue, m)
			p.size += len(m.raw) + frame
			p.change()
			p.mu.Unlock()
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// get waits for a message and removes it. It returns io.EOF if none will follow.
func (p *pipe) get(ctx context.Context) (packet, error) {
	for {
		p.mu.Lock()
		if len(p.queue) > 0 {
			m := p.queue[0]
			p.queue[0] = packet{}
			p.queue = p.queue[1:]
			p.size -= len(m.raw) + frame
			p.change()
			p.mu.Unlock()
			return m, nil
		}
		if p.closed {
			p.mu.Unlock()
			return packet{}, io.EOF
		}
		if err := p.wait(ctx); err != nil {
			return packet{}, err
		}
	}
}

// close refuses further messages. Those in transit arrive.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.change()
}

// change is called with the lock held.
func (p *pipe) change() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// wait is called with the lock held and releases it.
func (p *pipe) wait(ctx context.Context) error {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	changed := p.changed
	p.mu.Unlock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
