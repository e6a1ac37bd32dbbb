package introspect

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// shards reduce contention between processors.
const shards = 16

// A hash identifies a token and cannot be used as one. It covers all of its bytes: with a
// shorter key one token has passed for another (GHSA-rp9m-7r4c-75qg).
type hash [sha256.Size]byte

// A cache keeps the values used last, bounded by their number and weight.
type cache[V any] struct {
	shards [shards]shard[V]
}

type shard[V any] struct {
	mu     sync.Mutex
	size   int // largest number of values
	bytes  int // largest weight of all values
	weight int
	items  map[hash]*list.Element
	order  list.List // of *item[V], the one used last in front
}

type item[V any] struct {
	hash   hash
	value  V
	weight int
}

// newCache returns a cache of at most size values, which weigh at most bytes together.
func newCache[V any](size, bytes int) *cache[V] {
	c := &cache[V]{}
	for i := range c.shards {
		c.shards[i] = shard[V]{size: max(1, size/shards), bytes: bytes / shards, items: map[hash]*list.Element{}}
	}
	return c
}

// The tokens of a flood have hashes that are spread over all shards.
func (c *cache[V]) shard(h *hash) *shard[V] { return &c.shards[h[0]%shards] }

func (c *cache[V]) get(h *hash) (value V, ok bool) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.items[*h]
	if e == nil {
		return value, false
	}
	s.order.MoveToFront(e)
	return e.Value.(*item[V]).value, true
}

// put keeps a value. One that is too heavy is not kept.
func (c *cache[V]) put(h *hash, value V, weight int) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.items[*h]; e != nil {
		s.remove(e)
	}
	if weight > s.bytes {
		return
	}
	s.items[*h] = s.order.PushFront(&item[V]{*h, value, weight})
	s.weight += weight
	for s.order.Len() > s.size || s.weight > s.bytes {
		s.remove(s.order.Back())
	}
}

func (c *cache[V]) remove(h *hash) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.items[*h]; e != nil {
		s.remove(e)
	}
}

// remove is called with the lock held.
func (s *shard[V]) remove(e *list.Element) {
	it := s.order.Remove(e).(*item[V])
	s.weight -= it.weight
	delete(s.items, it.hash)
}
