// Package fanout owns telling those who watch a store, within one process, what happened in it, without ever making the
// store wait for them. Hearing of what other processes do is left to the stores.
package fanout

import (
	"context"
	"sync"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// maxQueue is how many events wait for a slow watcher before they become one that says "anything may have happened".
const maxQueue = 1024

// Hub has the watchers of a store. The zero value has none, and its feed stands.
type Hub struct {
	mu       sync.Mutex
	broken   error
	watchers map[*watcher]struct{}
}

type watcher struct {
	queue []session.Event
	// broken is why there will be no more.
	broken error
	// wake has room for one, so that nobody waits to put something in.
	wake chan struct{}
}

// Publish tells every watcher of events.
func (h *Hub) Publish(events ...session.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.queue = append(w.queue, events...); len(w.queue) > maxQueue {
			w.queue = []session.Event{{}}
		}
		w.notify()
	}
}

// Break ends every Watch, and those to come, with the error.
func (h *Hub) Break(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = err
	for w := range h.watchers {
		w.broken = err
		w.notify()
	}
	h.watchers = nil
}

// Mend lets watchers in again.
func (h *Hub) Mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = nil
}

func (w *watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch is [session.Store.Watch].
func (h *Hub) Watch(ctx context.Context, event func(session.Event)) error {
	w := &watcher{queue: []session.Event{{}}, wake: make(chan struct{}, 1)}
	if err := h.join(w); err != nil {
		return err
	}
	defer h.leave(w)
	for {
		events, err := h.next(w)
		if err != nil {
			return err
		}
		for _, e := range events {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			event(e)
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
	}
}

func (h *Hub) join(w *watcher) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return h.broken
	}
	if h.watchers == nil {
		h.watchers = make(map[*watcher]struct{})
	}
	h.watchers[w] = struct{}{}
	return nil
}

func (h *Hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// next takes what waits for a watcher, or says why there will be no more. What came before a break is still told.
func (h *Hub) next(w *watcher) ([]session.Event, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := w.queue
	w.queue = nil
	if len(events) == 0 {
		return nil, w.broken
	}
	return events, nil
}
