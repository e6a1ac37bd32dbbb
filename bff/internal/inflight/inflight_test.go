package inflight_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
)

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g inflight.Group
		began := time.Now()
		if left := g.Wait(t.Context()); left != 0 || time.Since(began) != 0 {
			t.Errorf("with nothing under way: %d left after %v, want 0 at once", left, time.Since(began))
		}
		// Work that begins more work is waited for as a whole.
		g.Go(func() {
			time.Sleep(time.Second)
			g.Go(func() { time.Sleep(2 * time.Second) })
		})
		if left := g.Wait(t.Context()); left != 0 || time.Since(began) != 3*time.Second {
			t.Errorf("%d left after %v, want 0 after 3s", left, time.Since(began))
		}
		end := g.Begin()
		bounded, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if left := g.Wait(bounded); left != 1 {
			t.Errorf("%d left when the time was up, want 1", left)
		}
		end()
		end()
		g.Go(func() {})
		if left := g.Wait(t.Context()); left != 0 {
			t.Errorf("%d left, want 0", left)
		}
	})
}
