package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Watch implements [session.Store]. What this process does is told as it happens. Of another process no more is known than
// that it has written something, which is found out within 300 ms and told as an event without an ID.
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
				cancel(fmt.Errorf("sqlite session store: watching for other processes: %w", err))
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

// tell drops what is remembered of a session that a call may have changed, and only then tells of it: who hears of it will
// ask. It is also told of a call that failed, as its commit may have been made all the same.
func (s *Store) tell(id session.ID, ended bool, why session.Reason, err error) {
	s.records.Drop(id)
	switch {
	case err == nil:
		s.events.Publish(session.Event{ID: id, Ended: ended, Reason: why})
	case !session.IsAnswer(err):
		s.events.Publish(session.Event{ID: id})
	}
}

// forget drops what is remembered: another process has written.
func (s *Store) forget() {
	s.records.Clear()
	s.events.Publish(session.Event{})
}
