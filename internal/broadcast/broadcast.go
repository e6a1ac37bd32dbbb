// Package broadcast owns a signal that any number of goroutines can wait for.
// What the signal means is left to its users.
package broadcast

import "sync"

// A Signal wakes all goroutines that wait for it. The zero value is ready; it
// is safe for concurrent use.
type Signal struct {
	mu   sync.Mutex
	next chan struct{} // nil while nothing waits
}

// Wait returns a channel that the next Send closes.
func (s *Signal) Wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// Send wakes all goroutines that wait.
func (s *Signal) Send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
