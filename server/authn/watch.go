package authn

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

const (
	// checkInterval is how often the token of each open stream is checked.
	checkInterval = time.Second
	// checkDelay is how long after a revocation all streams are checked, so that
	// several revocations in a row cause one round.
	checkDelay = 50 * time.Millisecond
)

// A watch ends open streams whose token is no longer accepted. One goroutine serves
// all streams of a verifier and runs while there are any.
type watch struct {
	changed func() <-chan struct{}

	mu      sync.Mutex
	streams map[*watched]struct{}
	empty   chan struct{} // closed with the last stream; nil while there are none
}

// watched is an open stream.
type watched struct {
	refusal  func() *status.Status // why a new call would be refused; nil if it would not
	end      func(cause error)
	checking atomic.Bool
}

func newWatch(changed func() <-chan struct{}) *watch {
	if changed == nil {
		changed = func() <-chan struct{} { return nil }
	}
	return &watch{changed: changed, streams: map[*watched]struct{}{}}
}

func (w *watch) add(s *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams[s] = struct{}{}
	if w.empty == nil {
		w.empty = make(chan struct{})
		go w.run(w.changed(), w.empty)
	}
}

func (w *watch) remove(s *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.streams, s)
	if len(w.streams) == 0 {
		close(w.empty)
		w.empty = nil
	}
}

func (w *watch) run(changed, empty <-chan struct{}) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-empty:
			return
		case <-ticker.C:
		case <-changed:
			select {
			case <-empty:
				return
			case <-time.After(checkDelay):
			}
		}
		changed = w.changed() // before the round, which may miss a revocation during it
		w.checkAll()
	}
}

// checkAll checks each stream in a goroutine of its own: a denylist on a network may
// be slow.
func (w *watch) checkAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.streams {
		if s.checking.CompareAndSwap(false, true) {
			go func() {
				defer s.checking.Store(false)
				if st := s.refusal(); st != nil {
					s.end(&refused{st})
				}
			}()
		}
	}
}
