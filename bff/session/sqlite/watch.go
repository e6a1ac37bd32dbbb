package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Watch implements [session.Watcher]. Changes by this process are reported at once. A write by
// another process is detected within 300 ms and reported as an event with the zero ID.
func (s *Store) Watch(ctx context.Context, event func(session.Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		tick := time.NewTicker(freshFor)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := s.peers.look(ctx, s.now(), s.forget); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("sqlite session store: watch for other processes: %w", err))
				return
			}
		}
	}()
	defer func() { cancel(nil); <-looked }()
	err := s.events.Watch(ctx, event)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// publish drops a session that a call may have changed from the cache, and then publishes an event,
// since watchers read the session. A call that failed is published too, as its commit may have been
// made.
func (s *Store) publish(id session.ID, ended bool, why session.Reason, err error) {
	s.records.Drop(id)
	switch {
	case err == nil:
		s.events.Publish(session.Event{ID: id, Ended: ended, Reason: why})
	case !session.IsAnswer(err):
		s.events.Publish(session.Event{ID: id})
	}
}

// forget clears the cache, because another process has written.
func (s *Store) forget() {
	s.records.Clear()
	s.events.Publish(session.Event{})
}
