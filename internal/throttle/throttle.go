// Package throttle bounds how often a recurring event is logged.
package throttle

import (
	"sync"
	"time"
)

// A Log lets one event an interval through and counts those between. It is safe for concurrent use. Make it with [Every].
type Log struct {
	interval time.Duration

	mu   sync.Mutex
	next time.Time
	held int
}

// Every returns a Log for one event an interval.
func Every(interval time.Duration) *Log { return &Log{interval: interval} }

// Next reports whether an event is to be logged, and how many were not since the last one that was.
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
