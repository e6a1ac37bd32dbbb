package authn

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

const (
	// recheck is how often each open stream is asked about.
	recheck = time.Second
	// gather is how long after a revocation all streams are asked about, so
	// that many revocations in a row are one round.
	gather = 50 * time.Millisecond
)

// A watch ends open streams whose callers would be refused by now. One
// goroutine serves all streams of a verifier, and runs while there are any.
type watch struct {
	changed func() <-chan struct{}

	mu      sync.Mutex
	streams map[*watched]struct{}
	empty   chan struct{} // closed with the last stream; nil while there are none
}

// watched is an open stream.
type watched struct {
	still  func() *status.Status // why the caller would be refused; nil if not
	end    func(cause error)
	asking atomic.Bool
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
	ticker := time.NewTicker(recheck)
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
			case <-time.After(gather):
			}
		}
		changed = w.changed() // before the round, which may miss what comes during it
		w.round()
	}
}

// round asks about each stream in a goroutine of its own: a denylist on a
// network may take its time with one of them.
func (w *watch) round() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.streams {
		if s.asking.CompareAndSwap(false, true) {
			go func() {
				defer s.asking.Store(false)
				if st := s.still(); st != nil {
					s.end(&refused{st})
				}
			}()
		}
	}
}
