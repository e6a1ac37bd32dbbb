package denials

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// shards reduce contention between processors.
const shards = 64

// A Set is a bounded set of denials, which forgets each when it ends. It is safe
// for concurrent use.
type Set struct {
	max      int64
	lifetime time.Duration
	now      func() time.Time
	size     atomic.Int64             // of all denials
	kinds    [len(kinds)]atomic.Int64 // of those of one kind, to skip the sums of unused kinds
	shards   [shards]shard

	changed broadcast.Signal
}

type shard struct {
	mu      sync.RWMutex
	denials map[Name]Denial
	next    int64 // no denial here ends earlier; 0 when there is none
}

// NewSet returns an empty set of at most limit denials. The lifetime is that of
// tokens.
func NewSet(limit int, lifetime time.Duration, now func() time.Time) *Set {
	s := &Set{max: int64(limit), lifetime: lifetime, now: now}
	for i := range s.shards {
		s.shards[i].denials = map[Name]Denial{}
	}
	return s
}

// Entry returns a denial, which is not in the set yet. The zero time until means
// the lifetime of tokens from now or, of a subject, after at. A denial does not end
// before Leeway has passed: a transfer that is open may have a token that has expired.
func (s *Set) Entry(k Kind, issuer, value string, at, until time.Time) (Entry, error) {
	if issuer == "" || value == "" {
		return Entry{}, fmt.Errorf("deny issuer %q, %s %q: an empty one would deny tokens without the claim", issuer, k, value)
	}
	now := s.now()
	if k != Subject {
		at = now
	}
	if until.IsZero() {
		until = at.Add(s.lifetime)
	}
	if until.Before(now) {
		until = now
	}
	d := Denial{Until: ceilMilli(until.Add(Leeway))}
	if k == Subject {
		d.At = ceilMilli(at)
	}
	return Entry{NewName(k, issuer, value), d}, nil
}

// ceilMilli rounds up, so that no denial is shortened.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// Ended reports whether all tokens that a denial would refuse have expired.
func (s *Set) Ended(d Denial) bool { return d.Until <= s.now().UnixMilli() }

// Denies reports whether a token is denied. It does not allocate.
func (s *Set) Denies(key *authn.RevocationKey) bool {
	return s.size.Load() > 0 && (s.denies(Session, key.SessionID, key) ||
		s.denies(TokenID, key.ID, key) || s.denies(Subject, key.Subject, key))
}

func (s *Set) denies(k Kind, value string, key *authn.RevocationKey) bool {
	if value == "" || s.kinds[k.index()].Load() == 0 {
		return false
	}
	n := NewName(k, key.Issuer, value)
	sh := s.shard(n)
	sh.mu.RLock()
	d, ok := sh.denials[n]
	sh.mu.RUnlock()
	return ok && !s.Ended(d) && d.Covers(k, key.IssuedAt)
}

func (s *Set) shard(n Name) *shard { return &s.shards[n.sum[0]%shards] }

// Put adds a denial, or extends an existing one; it never shortens one. It reports
// whether there was room.
func (s *Set) Put(e Entry) bool {
	if s.Ended(e.Denial) {
		return true
	}
	defer s.changed.Send() // also without room, since another list may have the denial
	if s.tryPut(e) {
		return true
	}
	now := s.now().UnixMilli()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		s.forget(sh, now)
		sh.mu.Unlock()
	}
	return s.tryPut(e)
}

func (s *Set) tryPut(e Entry) bool {
	sh := s.shard(e.Name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.forget(sh, s.now().UnixMilli())
	d := e.Denial
	if have, ok := sh.denials[e.Name]; ok {
		d = d.merge(have)
	} else if s.size.Add(1) > s.max {
		s.size.Add(-1)
		return false
	} else {
		s.kinds[e.Name.Kind.index()].Add(1)
	}
	sh.denials[e.Name] = d
	if sh.next == 0 || d.Until < sh.next {
		sh.next = d.Until
	}
	return true
}

// forget removes ended denials. It scans the shard only if there are some.
func (s *Set) forget(sh *shard, now int64) {
	if sh.next == 0 || now < sh.next {
		return
	}
	sh.next = 0
	for n, d := range sh.denials {
		switch {
		case d.Until <= now:
			delete(sh.denials, n)
			s.size.Add(-1)
			s.kinds[n.Kind.index()].Add(-1)
		case sh.next == 0 || d.Until < sh.next:
			sh.next = d.Until
		}
	}
}

// Missing returns the denials that stored lacks or has for a shorter time.
func (s *Set) Missing(stored map[Name]Denial) []Entry {
	var out []Entry
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for n, d := range sh.denials {
			if have, ok := stored[n]; !s.Ended(d) && (!ok || have != have.merge(d)) {
				out = append(out, Entry{n, d})
			}
		}
		sh.mu.RUnlock()
	}
	return out
}

// Changed returns a channel that is closed at the next Put.
func (s *Set) Changed() <-chan struct{} { return s.changed.Wait() }

// Len returns the number of denials, some of which may have ended.
func (s *Set) Len() int { return int(s.size.Load()) }
