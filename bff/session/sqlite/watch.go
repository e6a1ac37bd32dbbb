package sqlite

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Watch implements [session.Watcher]. Changes by this process are reported at once. A write by
// another process is detected within 300 ms and reported as an event with the zero ID.
func (s *Store) Watch(ctx context.Context, event func(session.Event)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.events.Watch(ctx, event) })
	group.Go(func() error {
		tick := time.NewTicker(freshFor)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if err := s.peers.look(ctx, s.now(), s.forget); err != nil {
				return fmt.Errorf("sqlite session store: watch for other processes: %w", err)
			}
		}
	})
	return group.Wait()
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
