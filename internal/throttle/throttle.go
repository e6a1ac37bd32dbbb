// Package throttle owns how often a recurring event is logged. It leaves what is
// logged to the caller.
package throttle

import (
	"sync"
	"time"
)

// A Log admits one event per interval and counts the others. It is safe for concurrent
// use. Make it with [Every].
type Log struct {
	interval time.Duration

	mu   sync.Mutex
	next time.Time
	held int
}

// Every returns a Log for one event per interval.
func Every(interval time.Duration) *Log { return &Log{interval: interval} }

// Next reports whether to log an event, and how many events were omitted since the last
// one that was logged.
func (l *Log) Next() (ok bool, held int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.held++
		return false, 0
	}
	l.next = now.Add(l.interval)
	held, l.held = l.held, 0
	return true, held
}
