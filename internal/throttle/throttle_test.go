package throttle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

func TestNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := throttle.Every(time.Minute)
		for _, want := range []struct {
			after time.Duration
			ok    bool
			held  int
		}{{0, true, 0}, {0, false, 0}, {59 * time.Second, false, 0}, {time.Second, true, 2}, {time.Hour, true, 0}} {
			time.Sleep(want.after)
			if ok, held := log.Next(); ok != want.ok || held != want.held {
				t.Errorf("after %v: Next() = %t, %d, want %t, %d", want.after, ok, held, want.ok, want.held)
			}
		}
	})
}
