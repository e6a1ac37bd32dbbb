package cache_test

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
)

func key(i int) (k [32]byte) {
	binary.BigEndian.PutUint64(k[:], uint64(i))
	k[31] = byte(i)
	return k
}

func put(c *cache.Cache[int], i int) { c.Put(key(i), i, c.Stamp(key(i))) }

func TestGet(t *testing.T) {
	t.Parallel()
	c := cache.New[int](100)
	if _, ok := c.Get(key(1)); ok {
		t.Error("an empty cache has a value")
	}
	put(c, 1)
	c.Put(key(1), 11, c.Stamp(key(1)))
	if v, ok := c.Get(key(1)); !ok || v != 11 {
		t.Errorf("Get = %d, %t, want the latest", v, ok)
	}
	c.Drop(key(1))
	if _, ok := c.Get(key(1)); ok {
		t.Error("a dropped value is found")
	}
	put(c, 2)
	c.Clear()
	if _, ok := c.Get(key(2)); ok || c.Len() != 0 {
		t.Error("a cleared value is found")
	}
}

func TestIsBounded(t *testing.T) {
	t.Parallel()
	const size = 320
	c := cache.New[int](size)
	for i := range 100 * size {
		put(c, i)
		if i%7 == 0 {
			c.Get(key(i / 2))
		}
		if n := c.Len(); n > size {
			t.Fatalf("%d values after %d, want at most %d", n, i, size)
		}
	}
}

func TestKeepsUsedValues(t *testing.T) {
	t.Parallel()
	c := cache.New[int](320)
	put(c, 0)
	for i := range 10_000 {
		put(c, i+1)
		if _, ok := c.Get(key(0)); !ok {
			t.Fatalf("a used value was dropped after %d others", i)
		}
	}
	if _, ok := c.Get(key(1)); ok {
		t.Error("an unused value was kept")
	}
}

// A slow reader must not put back a value that was dropped while it read, which would undo a
// logout.
func TestSlowReaderPutsNothingBack(t *testing.T) {
	t.Parallel()
	for name, drop := range map[string]func(*cache.Cache[int]){
		"Drop":  func(c *cache.Cache[int]) { c.Drop(key(1)) },
		"Clear": func(c *cache.Cache[int]) { c.Clear() },
	} {
		c := cache.New[int](100)
		stamp := c.Stamp(key(1))
		drop(c)
		c.Put(key(1), 1, stamp)
		if _, ok := c.Get(key(1)); ok {
			t.Errorf("%s: a value read before it is found", name)
		}
		put(c, 1)
		if _, ok := c.Get(key(1)); !ok {
			t.Errorf("%s: a value read after it is not found", name)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := cache.New[int](64)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 2000 {
				k := (i * (worker + 1)) % 200
				switch i % 5 {
				case 0:
					c.Drop(key(k))
				case 1, 2:
					put(c, k)
				default:
					if v, ok := c.Get(key(k)); ok && v != k {
						t.Errorf("Get(%d) = %d", k, v)
					}
				}
			}
			c.Clear()
		})
	}
	all.Wait()
}
