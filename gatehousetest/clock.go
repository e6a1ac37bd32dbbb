package gatehousetest

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A Clock goes at the speed of real time, and can be advanced. The zero value shows real time. It
// is safe for concurrent use.
type Clock struct{ ahead atomic.Int64 }

// Now returns the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance moves the clock forward. It panics if d is negative, because tokens and sessions rely on
// time that does not go back.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("gatehousetest: advance a clock by %v: time does not go back", d))
	}
	c.ahead.Add(int64(d))
}
