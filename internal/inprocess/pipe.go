package inprocess

import (
	"context"
	"io"
	"sync"
)

// window is how many bytes may be on the way before a sender has to wait for
// the receiver: HTTP/2's initial flow-control window, which grpc-go starts
// with.
const window = 64 << 10

// A pipe carries the messages of a stream in one direction. The zero value is
// ready.
type pipe struct {
	mu      sync.Mutex
	queue   [][]byte
	size    int // bytes in queue
	closed  bool
	changed chan struct{} // closed at the next change; nil while nobody waits
}

// frame is what a message takes on the network besides itself, so that empty
// ones do not pile up without bound here.
const frame = 5

// put waits for room in the window and appends a message; io.EOF says that the
// pipe is closed.
func (p *pipe) put(ctx context.Context, m []byte) error {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return io.EOF
		}
		if p.size < window {
			p.queue = append(p.queue, m)
			p.size += len(m) + frame
			p.change()
			p.mu.Unlock()
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// get waits for a message and takes it; io.EOF says that none will follow.
func (p *pipe) get(ctx context.Context) ([]byte, error) {
	for {
		p.mu.Lock()
		if len(p.queue) > 0 {
			m := p.queue[0]
			p.queue[0] = nil
			p.queue = p.queue[1:]
			p.size -= len(m) + frame
			p.change()
			p.mu.Unlock()
			return m, nil
		}
		if p.closed {
			p.mu.Unlock()
			return nil, io.EOF
		}
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// close lets nothing more in. What is on the way arrives.
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

// wait is called with the lock held, and gives it up.
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
