package fanout_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/fanout"
)

var errBroken = errors.New("the feed is broken")

// A slow watcher delays no other, uses bounded memory, and is sent an event with the zero ID for
// what it missed.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	var hub fanout.Hub
	var seen []session.Event
	err := hub.Watch(t.Context(), func(e session.Event) {
		if seen = append(seen, e); len(seen) == 1 { // the feed is established, and the watcher is slow
			for i := range 3000 {
				hub.Publish(session.Event{ID: session.ID{0: 1, 1: byte(i), 2: byte(i >> 8)}})
			}
			hub.Publish(session.Event{ID: session.ID{0: 2}, Ended: true})
			hub.Break(errBroken)
		}
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("Watch: %v, want the break", err)
	}
	if len(seen) > 1500 {
		t.Errorf("%d events were kept for a watcher that did not read", len(seen))
	}
	if last := seen[len(seen)-1]; last.ID != (session.ID{0: 2}) || !last.Ended {
		t.Errorf("the last event is %+v, want the last that was published", last)
	}
	lost := false
	for _, e := range seen[1:] {
		lost = lost || e.ID.IsZero()
	}
	if !lost {
		t.Error("no event with the zero ID")
	}
}

func TestBreakAndMend(t *testing.T) {
	t.Parallel()
	var hub fanout.Hub
	hub.Break(errBroken)
	if err := hub.Watch(t.Context(), func(session.Event) { t.Error("a broken feed sent an event") }); !errors.Is(err, errBroken) {
		t.Errorf("Watch: %v, want the break", err)
	}
	hub.Mend()
	ctx, cancel := context.WithCancel(t.Context())
	if err := hub.Watch(ctx, func(session.Event) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v, want that the context has ended", err)
	}
}
