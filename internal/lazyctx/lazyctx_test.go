package lazyctx_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/lazyctx"
)

type key struct{}

var errGone = errors.New("gone")

// lazy makes a context of this package.
func lazy(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	c := new(lazyctx.Context)
	c.Begin(parent, deadline)
	return c, c.Cancel
}

// standard makes one of package context.
func standard(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
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
func play(script string, withDeadline bool, begin func(context.Context, time.Time) (context.Context, context.CancelFunc)) []string {
	parent, cancelParent := context.WithCancelCause(context.WithValue(context.Background(), key{}, "parent"))
	defer cancelParent(nil)
	var at time.Time
	if withDeadline {
		at = time.Now().Add(3 * time.Second)
	}
	s := &subject{cancelParent: cancelParent}
	s.ctx, s.cancel = begin(parent, at)
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
func TestLikeStandard(t *testing.T) {
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
				want, got := play(script, withDeadline, standard), play(script, withDeadline, lazy)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("steps %q, deadline %t (-package context, +lazyctx):\n%s", script, withDeadline, diff)
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
				return true
			}
			if ended = true; step == 'c' {
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

// The deadline is the earlier one of parent and context.
func TestDeadline(t *testing.T) {
	t.Parallel()
	soon, late := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for _, of := range [][2]time.Time{{soon, late}, {late, soon}, {soon, {}}} {
		parent, stop := context.WithDeadline(t.Context(), of[0])
		defer stop()
		ctx, cancel := lazy(parent, of[1])
		defer cancel()
		if at, ok := ctx.Deadline(); !ok || !at.Equal(soon) {
			t.Errorf("of %v: %v, %t", of, at, ok)
		}
	}
}

// Contexts that are derived need no goroutine, and a call without them makes one object.
func TestCost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := lazy(t.Context(), time.Now().Add(time.Hour))
		before := runtime.NumGoroutine()
		for range 100 {
			_, stop := context.WithCancel(context.WithValue(ctx, key{}, 1))
			defer stop()
		}
		if n := runtime.NumGoroutine() - before; n > 50 { // others run in this process
			t.Errorf("100 contexts have %d goroutines", n)
		}
		cancel()
	})
}

// All methods may be called at the same time.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	for range 50 {
		ctx, cancel := lazy(t.Context(), time.Now().Add(time.Hour))
		var all sync.WaitGroup
		for range 4 {
			all.Go(cancel)
			all.Go(func() { _ = ctx.Err() })
			all.Go(func() {
				child, stop := context.WithCancel(ctx)
				defer stop()
				<-child.Done()
				if !errors.Is(child.Err(), context.Canceled) || !errors.Is(ctx.Err(), context.Canceled) {
					t.Errorf("errors %v, %v", child.Err(), ctx.Err())
				}
			})
		}
		all.Wait()
	}
}

func BenchmarkUnawaited(b *testing.B) {
	at := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := lazy(b.Context(), at)
		_ = ctx.Err()
		cancel()
	}
}
