// Package arrival owns the bound on the memory of requests that have not arrived completely. A client
// that sends a part of a request and then nothing holds that memory until a timeout; thousands of such
// clients must not hold more than a fixed total. It leaves what a request is, how long it may take and
// what the client gets to the caller.
package arrival

import (
	"container/list"
	"sync"
	"time"
)

// grace is how long a request cannot be given up for another. Requests of well-connected clients
// arrive in milliseconds, so under attack those of the attacker are given up.
const grace = time.Second

// A Limiter is shared by all requests of a port. It is safe for concurrent use.
type Limiter struct {
	max int64
	now func() time.Time

	mu       sync.Mutex
	held     int64
	arriving list.List // of *Request, oldest first
}

// New returns a limiter for limit bytes in total. now is the clock.
func New(limit int64, now func() time.Time) *Limiter {
	return &Limiter{max: limit, now: now}
}

// A Request is a request that has not arrived completely.
type Request struct {
	limiter *Limiter
	giveUp  func()
	began   time.Time
	held    int64
	place   *list.Element // nil when it has arrived or was given up
}

// Begin counts a request that holds size bytes. giveUp is called at most once, when the memory is
// needed for a newer request; it must not block and must not call the limiter. Begin returns nil if
// there is no room and all arriving requests are younger than a second.
func (l *Limiter) Begin(size int64, giveUp func()) *Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Request{limiter: l, giveUp: giveUp, began: l.now()}
	if !l.room(r, size) {
		return nil
	}
	r.place = l.arriving.PushBack(r)
	l.take(r, size)
	return r
}

// Grow counts size more bytes. It returns false if there is no room for them or the request was given
// up; the caller then ends the request.
func (r *Request) Grow(size int64) bool {
	l := r.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.place == nil || !l.room(r, size) {
		return false
	}
	l.take(r, size)
	return true
}

// Arrived releases what the request held, and reports whether it arrived before it was given up.
func (r *Request) Arrived() bool {
	l := r.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.place == nil {
		return false
	}
	l.remove(r)
	return true
}

// room gives up the oldest requests until r has room for size more bytes.
func (l *Limiter) room(r *Request, size int64) bool {
	if r.held+size > l.max { // too large even without other requests
		return false
	}
	for l.held+size > l.max {
		front := l.arriving.Front()
		if front == nil {
			return false
		}
		oldest := front.Value.(*Request)
		if oldest == r || l.now().Sub(oldest.began) < grace {
			return false
		}
		l.remove(oldest)
		oldest.giveUp()
	}
	return true
}

func (l *Limiter) take(r *Request, size int64) {
	r.held += size
	l.held += size
}

func (l *Limiter) remove(r *Request) {
	l.arriving.Remove(r.place)
	r.place = nil
	l.held -= r.held
	r.held = 0
}
