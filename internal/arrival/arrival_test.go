package arrival_test

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

type clock struct{ now time.Time }

func TestLimiter(t *testing.T) {
	t.Parallel()
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := arrival.New(100, func() time.Time { return c.now })
	var given []string
	begin := func(name string, size int64) *arrival.Request {
		return l.Begin(size, func() { given = append(given, name) })
	}
	slow := begin("slow", 60)
	other := begin("other", 30)
	if slow == nil || other == nil {
		t.Fatal("two requests that fit were refused")
	}
	if r := begin("early", 20); r != nil || len(given) > 0 {
		t.Errorf("within the first second: got %v, given up %v; want a refusal, none given up", r, given)
	}
	if slow.Grow(20) {
		t.Error("a request grew beyond the limit at the cost of a younger one")
	}
	if !slow.Grow(10) {
		t.Error("a request did not grow to exactly the limit")
	}
	c.now = c.now.Add(time.Second)
	fresh := begin("fresh", 20)
	if fresh == nil || len(given) != 1 || given[0] != "slow" {
		t.Fatalf("after a second: got %v, given up %v; want the oldest given up", fresh, given)
	}
	if slow.Grow(1) || slow.Arrived() {
		t.Error("a request that was given up went on")
	}
	if !other.Arrived() || other.Arrived() {
		t.Error("a request arrives once")
	}
	if !fresh.Grow(80) { // all that is left
		t.Error("what has arrived is still counted")
	}
	c.now = c.now.Add(time.Second)
	if r := begin("large", 101); r != nil {
		t.Error("a request above the limit was let in")
	}
	if !fresh.Arrived() {
		t.Error("a request was given up for one that does not fit alone")
	}
	if whole := begin("whole", 100); whole == nil || len(given) != 1 {
		t.Errorf("all is free again: got %v, given up %v", whole, given)
	}
}

// BenchmarkArrival is what a request pays that arrives at once.
func BenchmarkArrival(b *testing.B) {
	l := arrival.New(1<<20, time.Now)
	giveUp := func() {}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Begin(1024, giveUp).Arrived()
		}
	})
}
