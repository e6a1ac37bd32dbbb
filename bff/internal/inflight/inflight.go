// Package inflight owns the count of work without a request: refreshes, code
// exchanges and revocations whose result must be stored although the browser has
// closed the connection. It leaves the work and its limits to their owners.
package inflight

import (
	"context"
	"sync"
)

// A Group counts work under way. The zero value is ready for use. It is safe for concurrent use.
type Group struct {
	mu    sync.Mutex
	count int
	idle  chan struct{} // made by Wait; closed when count becomes zero
}

// Begin counts work of the caller until it calls end. Further calls of end do nothing.
func (g *Group) Begin() (end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.count--; g.count == 0 && g.idle != nil {
			close(g.idle)
			g.idle = nil
		}
	})
}

// Go does work in a new goroutine.
func (g *Group) Go(work func()) {
	end := g.Begin()
	go func() {
		defer end()
		work()
	}()
}

// Wait waits until no work is under way, work begun meanwhile included, or until
// the context ends. It returns how much is left.
func (g *Group) Wait(ctx context.Context) (left int) {
	for {
		g.mu.Lock()
		if g.count == 0 {
			g.mu.Unlock()
			return 0
		}
		if g.idle == nil {
			g.idle = make(chan struct{})
		}
		idle := g.idle
		left = g.count
		g.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return left
		}
	}
}
