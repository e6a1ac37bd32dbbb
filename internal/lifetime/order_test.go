package lifetime

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errGone = errors.New("gone")

// ofOwn makes a context of this package.
func ofOwn(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	c := begin(parent, deadline)
	return c, c.End
}

// ofPackage makes one of package context.
func ofPackage(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(parent)
	}
	return context.WithDeadline(parent, deadline)
}

// steps are what happens to a context with a deadline in 3 s, by name.
var steps = map[byte]func(*subject){
	'c': func(s *subject) { s.cancel() },
	'p': func(s *subject) { s.cancelParent(errGone) },
	't': func(*subject) { time.Sleep(2 * time.Second) },
	'e': func(s *subject) { s.note("err", s.ctx.Err()) },
	'u': func(s *subject) { s.note("cause", context.Cause(s.ctx)) },
	'd': func(s *subject) {
		select {
		case <-s.ctx.Done():
			s.note("done", s.ctx.Err())
		default:
			s.note("not done", nil)
		}
	},
	'k': func(s *subject) {
		context.AfterFunc(s.ctx, func() { s.after.Add(1) })
	},
	'w': func(s *subject) { // a deadline that is earlier, and one that is later
		for _, in := range []time.Duration{time.Second, time.Hour} {
			child, stop := context.WithTimeout(context.WithValue(s.ctx, key{}, "child"), in)
			s.children, s.stops = append(s.children, child), append(s.stops, stop)
		}
	},
}

// A subject is a context to which steps happen.
type subject struct {
	ctx          context.Context
	cancel       context.CancelFunc
	cancelParent context.CancelCauseFunc
	children     []context.Context
	stops        []context.CancelFunc
	after        atomic.Int64
	lines        []string
}

func (s *subject) note(what string, err error) {
	s.lines = append(s.lines, fmt.Sprint(what, " ", err))
}

// play applies the steps to a context, and returns what was seen of it.
func play(script string, withDeadline bool, of func(context.Context, time.Time) (context.Context, context.CancelFunc)) []string {
	parent, cancelParent := context.WithCancelCause(context.WithValue(context.Background(), key{}, "parent"))
	defer cancelParent(nil)
	var at time.Time
	if withDeadline {
		at = time.Now().Add(3 * time.Second)
	}
	s := &subject{cancelParent: cancelParent}
	s.ctx, s.cancel = of(parent, at)
	defer s.cancel()
	for i := range script {
		steps[script[i]](s)
		synctest.Wait()
	}
	deadline, ok := s.ctx.Deadline()
	s.lines = append(s.lines, fmt.Sprint(deadline.Equal(at), ok, s.ctx.Value(key{}), s.after.Load()))
	for _, child := range s.children {
		s.note("child", child.Err())
		s.note("child", context.Cause(child))
	}
	for _, stop := range s.stops {
		stop()
	}
	return s.lines
}

// A Context behaves as one of package context in every order of events, unless the first end was
// not noticed before the second.
func TestOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var scripts []string
		var grow func(string)
		grow = func(script string) {
			scripts = append(scripts, script)
			for step := range steps {
				if len(script) < 4 && !hidden(script+string(step)) {
					grow(script + string(step))
				}
			}
		}
		grow("")
		for _, script := range scripts {
			for _, withDeadline := range []bool{false, true} {
				want, got := play(script, withDeadline, ofPackage), play(script, withDeadline, ofOwn)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("steps %q, deadline %t (-package context, +lifetime):\n%s", script, withDeadline, diff)
				}
			}
		}
	})
}

// hidden reports whether a script has two ends, of which nothing has noticed the first before the
// second.
func hidden(script string) bool {
	ended, slept := false, 0
	for i := range script {
		switch step := script[i]; step {
		case 't', 'p', 'c':
			if step == 't' {
				slept++
			}
			if step == 't' && slept != 2 {
				continue
			}
			if ended {
				return step != 'c'
			}
			if ended = true; step == 'c' { // End notices
				return false
			}
		case 'e', 'u':
			if ended {
				return false
			}
		default: // something waits from now on
			return false
		}
	}
	return false
}
