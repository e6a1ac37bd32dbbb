// Package inflight owns the count of work that goes on without a request: refreshes, code exchanges and revocations whose
// result must be stored although the browser has gone. What the work is, and how long it may take, is left to its owner.
package inflight

import (
	"context"
	"sync"
)

// A Group is work under way. The zero value is ready for use, by several goroutines at once.
type Group struct {
	mu    sync.Mutex
	count int
	idle  chan struct{} // made by a waiter; closed when count falls to zero
}

// Begin counts work that the caller does itself, until it calls end. More calls of end do nothing.
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

// Go does work in a goroutine of its own.
func (g *Group) Go(work func()) {
	end := g.Begin()
	go func() {
		defer end()
		work()
	}()
}

// Wait returns when nothing is under way, also if more was begun meanwhile, or when the context ends. It returns how much
// was left then, 0 if nothing.
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
