// Package cache owns a bounded map from session IDs to values read from a store. A slow reader
// cannot put back a value that was dropped while it read. When a value must be dropped is left to
// the caller.
package cache

import "sync"

// shards reduce contention. The keys are hashes, so that any byte selects a shard evenly.
const shards = 16

// Cache is a cache made by [New]. It is safe for concurrent use.
type Cache[V any] struct {
	shards [shards]shard[V]
}

// shard has two generations of entries. A full young generation becomes the old one, whose entries
// are dropped unless they were used since. This approximates "least recently used" at the price of
// a map look-up.
type shard[V any] struct {
	mu         sync.RWMutex
	young, old map[[32]byte]V
	room       int
	// drops counts removals. A value read before a drop is not put after it.
	drops uint64
}

// Stamp is a moment in the life of a cache; see [Cache.Put].
type Stamp uint64

// New returns a cache of about size entries.
func New[V any](size int) *Cache[V] {
	c := &Cache[V]{}
	for i := range c.shards {
		c.shards[i].room = max(size/(2*shards), 1)
		c.shards[i].young = make(map[[32]byte]V)
	}
	return c
}

func (c *Cache[V]) shard(key [32]byte) *shard[V] { return &c.shards[key[31]%shards] }

// Get returns the value of a key.
func (c *Cache[V]) Get(key [32]byte) (V, bool) {
	s := c.shard(key)
	s.mu.RLock()
	v, ok := s.young[key]
	if ok {
		s.mu.RUnlock()
		return v, true
	}
	_, ok = s.old[key]
	s.mu.RUnlock()
	if !ok {
		return v, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// It may have been dropped between the two locks.
	if v, ok = s.old[key]; ok {
		delete(s.old, key)
		s.add(key, v)
		return v, true
	}
	v, ok = s.young[key]
	return v, ok
}

// Stamp must be called before the store is read. Its result is given to Put with the value.
func (c *Cache[V]) Stamp(key [32]byte) Stamp {
	s := c.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stamp(s.drops)
}

// Put stores a value that was read after the stamp was taken, unless an entry of its shard was
// dropped since: then the value may be older than the change that caused the drop.
func (c *Cache[V]) Put(key [32]byte, v V, at Stamp) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if Stamp(s.drops) != at {
		return
	}
	delete(s.old, key)
	s.add(key, v)
}

func (s *shard[V]) add(key [32]byte, v V) {
	if _, ok := s.young[key]; !ok && len(s.young) >= s.room {
		s.old, s.young = s.young, make(map[[32]byte]V, s.room)
	}
	s.young[key] = v
}

// Drop removes a value.
func (c *Cache[V]) Drop(key [32]byte) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops++
	delete(s.young, key)
	delete(s.old, key)
}

// Clear removes all values.
func (c *Cache[V]) Clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.drops++
		clear(s.young)
		clear(s.old)
		s.mu.Unlock()
	}
}

// Len returns the number of values.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}
