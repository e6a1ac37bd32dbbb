// Package fanout owns the delivery of a store's events to its watchers within one process.
// Publishing never waits for a watcher. The events of other processes are left to the stores.
package fanout

import (
	"context"
	"slices"
	"sync"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
)

// maxQueue is how many events wait for a slow watcher. An event with the zero ID replaces older
// ones.
const maxQueue = 1024

// Hub is the feed of a store. The zero value is ready; it is safe for concurrent use.
type Hub struct {
	changed broadcast.Signal

	mu sync.Mutex
	// log are the newest events, of which the first has the number start.
	log   []session.Event
	start int
	// broken is why there is no feed, nil if there is one; lastErr is why the last of breaks
	// happened.
	broken, lastErr error
	breaks          int
}

// Publish sends events to every watcher.
func (h *Hub) Publish(events ...session.Event) {
	h.mu.Lock()
	h.log = append(h.log, events...)
	if extra := len(h.log) - maxQueue; extra > maxQueue {
		h.log = slices.Clone(h.log[extra:])
		h.start += extra
	}
	h.mu.Unlock()
	h.changed.Send()
}

// Break ends every Watch with the error, and every later one until Mend.
func (h *Hub) Break(err error) {
	h.mu.Lock()
	h.broken, h.lastErr = err, err
	h.breaks++
	h.mu.Unlock()
	h.changed.Send()
}

// Mend admits watchers again.
func (h *Hub) Mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = nil
}

// Watch implements [session.Watcher].
func (h *Hub) Watch(ctx context.Context, event func(session.Event)) error {
	h.mu.Lock()
	broken, breaks, next := h.broken, h.breaks, h.start+len(h.log)
	h.mu.Unlock()
	if broken != nil {
		return broken
	}
	for events := []session.Event{{}}; ; {
		for _, e := range events {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			event(e)
		}
		changed := h.changed.Wait()
		var err error
		events, err = h.take(&next, breaks)
		switch {
		case err != nil:
			return err
		case len(events) > 0:
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// take returns the events from number next on, or, if there are none, the error of a break since.
// An event from before the break is still delivered.
func (h *Hub) take(next *int, breaks int) ([]session.Event, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from, end := *next-h.start, h.start+len(h.log)
	*next = end
	switch {
	case len(h.log)-from > maxQueue:
		return append([]session.Event{{}}, h.log[len(h.log)-maxQueue:]...), nil
	case from < len(h.log):
		return slices.Clone(h.log[from:]), nil
	case breaks != h.breaks:
		return nil, h.lastErr
	}
	return nil, nil
}
