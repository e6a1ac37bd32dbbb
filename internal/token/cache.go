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

// cache remembers verified tokens by all their bytes: a shorter key, or one of claims, has let one token pass for another
// (GHSA-rp9m-7r4c-75qg). The last 342 characters, which are the signature of a 2048-bit key, are kept and compared as they
// are; of what comes before them, all that somebody could gain by changing, the SHA-256 is. (Hashing the signature too takes
// a third longer, at 0.9 µs a kilobyte; keeping the rest too would fill the memory with bearer tokens that work.)
//
// It is a table of small sets, each a shard by itself; a token may lie in either of two sets that its hash names, and is put
// where there is more room, which keeps the table usable until it is nearly full. So its size is fixed, a look-up costs the
// same however full it is, readers neither lock nor (but for one flag) write, and writers meet only in the set that they
// write to.
type cache[P any] struct {
	sets []set[P]
	ways int // slots of a set in use; fewer than there are only in a cache smaller than one set
}

const (
	ways   = 16  // the tags fill a cache line
	tailed = 342 // characters compared as they are; no token that short can be good
)

// fingerprint tells a token from every other. It is as good as the token for telling, and no good for using.
type fingerprint struct {
	hash [sha256.Size]byte // of all but the tail
	tail string
}

// take makes the fingerprint of raw, and says whether raw may be in the cache at all. The tail is a part of raw.
func (f *fingerprint) take(raw string) bool {
	n := len(raw) - tailed
	if n <= 0 || len(raw) > maxAccess {
		return false
	}
	f.hash = sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), n)) // read only; a conversion would copy
	f.tail = raw[n:]
	return true
}

// set is one shard. A tag tells which slot to look at without following its pointer; it may lag behind the slot, which
// costs a miss at worst, since the whole fingerprint is compared afterwards.
type set[P any] struct {
	tags  [ways]atomic.Uint32
	slots [ways]atomic.Pointer[entry[P]]
	hand  atomic.Uint32
}

// entry is one verified token. Nothing in it changes but used.
// What a hit reads lies together: at 100,000 entries each further line of memory costs more than all comparing.
type entry[P any] struct {
	hash       [sha256.Size]byte
	key        *oidc.Key   // the entry is valid until this is withdrawn
	used       atomic.Bool // since the hand last came by
	until      time.Time   // exp with the skew
	tail       [tailed]byte
	revocation RevocationKey
	value      P
}

func (e *entry[P]) is(f *fingerprint) bool {
	return e.hash == f.hash && string(e.tail[:]) == f.tail
}

// spent says that nobody will be served by e any more.
func (e *entry[P]) spent(now time.Time) bool {
	return e == nil || e.key.Withdrawn() || !now.Before(e.until)
}

// newCache makes a cache for at most size entries; none when size is not positive.
func newCache[P any](size int) *cache[P] {
	if size <= 0 {
		return &cache[P]{}
	}
	return &cache[P]{sets: make([]set[P], max(1, size/ways)), ways: min(size, ways)}
}

// places returns the two sets that may hold a token (one set twice, if there is but one), and its tag. SHA-256 spreads evenly,
// and nobody who cannot sign puts anything in: no seed is needed.
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
			if !e.used.Load() { // a store at every hit would make all processors fight for the line
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// put adds e, which f is of, in the place of an entry of the same token, or of none, or of one that can no longer be of use, or else of one
// that was not used since the hand last came by.
func (c *cache[P]) put(f *fingerprint, e *entry[P], now time.Time) {
	if len(c.sets) == 0 {
		return
	}
	s, other, tag := c.places(f)
	if other.room(c.ways, now) > s.room(c.ways, now) {
		s = other
	}
	// A few tries: another writer may take the slot first. Not remembering a token is no harm.
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
