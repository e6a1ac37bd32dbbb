package token

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A cache holds verified tokens. Its key covers all bytes of a token: with a
// shorter key, or one of claims, one token has passed for another
// (GHSA-rp9m-7r4c-75qg). The signature, of at most the 342 characters of a 2048-bit
// key, is compared literally, and what precedes it by its SHA-256. (Hashing the
// signature too takes a third longer; storing the rest literally would keep usable
// bearer tokens in memory.)
//
// The table consists of small sets. A token is in one of two sets given by its
// hash, and is stored in the emptier one, which keeps the table usable until it is
// nearly full. The size is fixed, a look-up costs the same at any fill level,
// readers do not lock, and writers contend only within a set.
type cache[P any] struct {
	sets []set[P]
	ways int // slots used of each set; fewer than ways only in a cache smaller than one set
}

const (
	ways      = 16  // the tags fill a cache line
	longTail  = 342 // characters compared literally, at most
	shortTail = 86  // those of an ES256 or EdDSA signature
)

// A fingerprint identifies a token and cannot be used as one.
type fingerprint struct {
	hash [sha256.Size]byte // of all but the tail
	tail string
}

// take sets f to the fingerprint of raw, and reports whether raw can be cached. The
// tail shares memory with raw.
func (f *fingerprint) take(raw string) bool {
	n := len(raw) - longTail
	if short := len(raw) - shortTail; short > 0 && raw[short-1] == '.' {
		n = short
	}
	if n <= 0 || len(raw) > maxAccess {
		return false
	}
	f.hash = sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), n)) // not modified; a conversion would copy
	f.tail = raw[n:]
	return true
}

// A set is a shard of the cache. Tags tell which slots to compare. A tag may be
// older than its slot, which at worst costs a miss, since the whole fingerprint is
// compared.
type set[P any] struct {
	tags  [ways]atomic.Uint32
	slots [ways]atomic.Pointer[entry[P]]
	hand  atomic.Uint32
}

// An entry is a verified token. It is immutable except for used. The fields that a
// hit reads are adjacent: at 100,000 entries a cache miss of the processor costs
// more than the comparison.
type entry[P any] struct {
	hash       [sha256.Size]byte
	key        *oidc.Key      // the entry is valid until this is withdrawn
	provider   *oidc.Provider // that has the key
	used       atomic.Bool    // since the hand last passed
	until      time.Time      // exp plus the skew
	tail       [longTail]byte
	tailed     uint16 // characters used of tail
	revocation RevocationKey
	value      P
}

func (e *entry[P]) is(f *fingerprint) bool {
	// With the lengths, since a valid token may begin with all of an invalid one.
	return e.hash == f.hash && string(e.tail[:e.tailed]) == f.tail
}

// spent reports whether e will not be returned any more.
func (e *entry[P]) spent(now time.Time) bool {
	return e == nil || e.key.Withdrawn() || !now.Before(e.until)
}

// newCache returns a cache of at most size entries; none if size is not positive.
func newCache[P any](size int) *cache[P] {
	if size <= 0 {
		return &cache[P]{}
	}
	return &cache[P]{sets: make([]set[P], max(1, size/ways)), ways: min(size, ways)}
}

// places returns the two sets that may hold a token, which are the same if there
// is one set only, and its tag. No seed is needed: only signed tokens are stored.
func (c *cache[P]) places(f *fingerprint) (a, b *set[P], tag uint32) {
	n := uint64(len(c.sets))
	i, _ := bits.Mul64(binary.LittleEndian.Uint64(f.hash[0:]), n)
	j, _ := bits.Mul64(binary.LittleEndian.Uint64(f.hash[8:]), n)
	return &c.sets[i], &c.sets[j], binary.LittleEndian.Uint32(f.hash[16:])
}

func (c *cache[P]) get(f *fingerprint) *entry[P] {
	if len(c.sets) == 0 {
		return nil
	}
	a, b, tag := c.places(f)
	if e := a.get(f, tag); e != nil {
		return e
	}
	return b.get(f, tag)
}

func (s *set[P]) get(f *fingerprint, tag uint32) *entry[P] {
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		if e := s.slots[i].Load(); e != nil && e.is(f) {
			if !e.used.Load() { // a store at every hit would make processors contend for the cache line
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// put stores e, the entry for f. It replaces an entry of the same token, an empty
// or spent one, or one that was not used since the hand last passed.
func (c *cache[P]) put(f *fingerprint, e *entry[P], now time.Time) {
	if len(c.sets) == 0 {
		return
	}
	s, other, tag := c.places(f)
	if other.room(c.ways, now) > s.room(c.ways, now) {
		s = other
	}
	// Another writer may take the slot first. A token that is not stored is verified
	// again.
	for range ways {
		i, old := s.victim(c.ways, f, now)
		if s.slots[i].CompareAndSwap(old, e) {
			s.tags[i].Store(tag)
			return
		}
	}
}

func (s *set[P]) room(n int, now time.Time) (room int) {
	for i := range n {
		if s.slots[i].Load().spent(now) {
			room++
		}
	}
	return room
}

func (s *set[P]) victim(n int, f *fingerprint, now time.Time) (int, *entry[P]) {
	free := -1
	var freed *entry[P]
	for i := range n {
		e := s.slots[i].Load()
		switch {
		case e != nil && e.is(f):
			return i, e
		case free < 0 && e.spent(now):
			free, freed = i, e
		}
	}
	if free >= 0 {
		return free, freed
	}
	for {
		i := int(s.hand.Add(1) % uint32(n))
		if e := s.slots[i].Load(); e == nil || !e.used.Swap(false) {
			return i, e
		}
	}
}
