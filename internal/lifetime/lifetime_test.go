package lifetime

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func begin(parent context.Context, deadline time.Time) *Context {
	c := new(Context)
	c.Begin(parent, deadline)
	return c
}

// TestEnds ends a context in each way, before and after its channel has been asked for, and
// compares it with what package context does.
func TestEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(parent context.CancelFunc, own func()){
		"parent":           func(parent context.CancelFunc, _ func()) { parent() },
		"own":              func(_ context.CancelFunc, own func()) { own() },
		"deadline":         func(context.CancelFunc, func()) { time.Sleep(time.Hour) },
		"deadline and own": func(_ context.CancelFunc, own func()) { time.Sleep(time.Hour); own() },
	} {
		for _, early := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				deadline := time.Now().Add(time.Minute)
				c := begin(parent, deadline)
				want, cancelWant := context.WithDeadline(parent, deadline)
				defer cancelWant()
				var child context.Context
				derive := func() {
					derived, cancel := context.WithCancel(c)
					t.Cleanup(cancel)
					child = derived
				}
				if early {
					derive()
				}
				if c.Err() != nil {
					t.Fatalf("%s: Err = %v before the end", name, c.Err())
				}
				end(cancel, func() { c.End(); cancelWant() })
				synctest.Wait()
				if !early {
					derive()
				}
				<-c.Done()
				<-child.Done()
				for what, err := range map[string]error{"Err": c.Err(), "Cause": context.Cause(c), "Err of a derived context": child.Err()} {
					if !errors.Is(err, want.Err()) {
						t.Errorf("%s, channel early %v: %s = %v, want %v", name, early, what, err, want.Err())
					}
				}
			})
		}
	}
}

// TestErrStays asks for the channel after the deadline and after the parent has ended.
func TestErrStays(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	c := begin(parent, time.Now().Add(-time.Second))
	first := c.Err()
	cancel()
	<-c.Done()
	if got := c.Err(); first != context.DeadlineExceeded || got != first {
		t.Errorf("Err = %v, later %v, want %v", first, got, context.DeadlineExceeded)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	now := time.Now()
	parent, cancel := context.WithDeadline(t.Context(), now.Add(time.Minute))
	defer cancel()
	for _, test := range []struct{ own, want time.Time }{
		{time.Time{}, now.Add(time.Minute)},
		{now.Add(time.Second), now.Add(time.Second)},
		{now.Add(time.Hour), now.Add(time.Minute)},
	} {
		if got, ok := begin(parent, test.own).Deadline(); !ok || !got.Equal(test.want) {
			t.Errorf("own deadline %v: Deadline = %v, %v, want %v", test.own, got, ok, test.want)
		}
		if test.own.IsZero() {
			continue
		}
		later := begin(parent, time.Time{})
		later.Bound(test.own)
		if got, ok := later.Deadline(); !ok || !got.Equal(test.want) {
			t.Errorf("bound %v: Deadline = %v, %v, want %v", test.own, got, ok, test.want)
		}
	}
	if got, ok := begin(t.Context(), time.Time{}).Deadline(); ok {
		t.Errorf("Deadline = %v, want none", got)
	}
}

type key struct{}

// TestValues finds values of the parent.
func TestValues(t *testing.T) {
	t.Parallel()
	c := begin(context.WithValue(t.Context(), key{}, "value"), time.Time{})
	if got := c.Value(key{}); got != "value" {
		t.Errorf("Value = %v, want that of the parent", got)
	}
}

// TestNoGoroutines derives contexts, which must not start a goroutine each.
func TestNoGoroutines(t *testing.T) {
	if own == nil {
		t.Error("the key of package context was not found")
	}
	before := runtime.NumGoroutine()
	c := begin(t.Context(), time.Now().Add(time.Hour))
	for range 20 {
		_, cancel := context.WithCancel(c)
		defer cancel()
	}
	if n := runtime.NumGoroutine() - before; n > 5 {
		t.Errorf("20 contexts started %d goroutines", n)
	}
	c.End()
}

// TestAllocations counts what a context costs whose channel is not asked for.
func TestAllocations(t *testing.T) {
	parent, deadline := t.Context(), time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(100, func() {
		c := begin(parent, deadline)
		_ = c.Err()
		c.End()
	}); n > 1 {
		t.Errorf("%v allocations, want that of the context", n)
	}
}

// TestConcurrent uses a context from several goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for range 50 {
		c := begin(t.Context(), time.Now().Add(time.Hour))
		var all sync.WaitGroup
		for _, use := range []func(){
			c.End, func() { <-c.Done() }, func() { _ = c.Err() },
			func() { child, cancel := context.WithCancel(c); <-child.Done(); cancel() },
			func() { context.AfterFunc(c, func() {}) },
		} {
			all.Go(use)
		}
		all.Wait()
	}
}
