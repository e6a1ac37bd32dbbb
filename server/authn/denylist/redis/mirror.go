package redis

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// shards reduce contention between processors.
const shards = 64

// A mirror is the set of denials that this process knows. It has sums instead of
// the names of denylist.List, as Redis has, and can list them, to restore a Redis
// that lost its data.
type mirror struct {
	max    int64
	now    func() time.Time
	size   atomic.Int64
	kinds  [3]atomic.Int64 // by kind.index, to skip the sums of unused kinds
	shards [shards]shard

	changed broadcast.Signal
}

type shard struct {
	mu      sync.RWMutex
	denials map[name]denial
	next    int64 // no denial here ends earlier; 0 when there is none
}

func newMirror(limit int, now func() time.Time) *mirror {
	m := &mirror{max: int64(limit), now: now}
	for i := range m.shards {
		m.shards[i].denials = map[name]denial{}
	}
	return m
}

// denies does not allocate.
func (m *mirror) denies(key *authn.RevocationKey) bool {
	if m.size.Load() == 0 {
		return false
	}
	if key.SessionID != "" && m.kinds[session.index()].Load() > 0 {
		if _, ok := m.get(newName(session, key.Issuer, key.SessionID)); ok {
			return true
		}
	}
	if key.ID != "" && m.kinds[tokenID.index()].Load() > 0 {
		if _, ok := m.get(newName(tokenID, key.Issuer, key.ID)); ok {
			return true
		}
	}
	if key.Subject != "" && m.kinds[subject.index()].Load() > 0 {
		if d, ok := m.get(newName(subject, key.Issuer, key.Subject)); ok && d.covers(key.IssuedAt) {
			return true
		}
	}
	return false
}

// covers reports whether a subject's denial refuses a token issued then. The zero
// time, of a token without "iat", is before all others.
func (d denial) covers(issuedAt time.Time) bool { return issuedAt.UnixMilli() <= d.at }

func (m *mirror) get(n name) (denial, bool) {
	s := &m.shards[n.sum[0]%shards]
	s.mu.RLock()
	d, ok := s.denials[n]
	s.mu.RUnlock()
	return d, ok && m.now().UnixMilli() < d.until
}

// put adds a denial, or extends an existing one. It reports whether there was
// room.
func (m *mirror) put(n name, d denial) bool {
	now := m.now().UnixMilli()
	if d.until <= now {
		return true
	}
	defer m.changed.Send() // also without room: look-ups ask Redis, which has the denial
	if m.tryPut(n, d, now) {
		return true
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		m.forget(s, now)
		s.mu.Unlock()
	}
	return m.tryPut(n, d, now)
}

func (m *mirror) tryPut(n name, d denial, now int64) bool {
	s := &m.shards[n.sum[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	m.forget(s, now)
	if have, ok := s.denials[n]; ok {
		d = d.merge(have)
	} else if m.size.Add(1) > m.max {
		m.size.Add(-1)
		return false
	} else {
		m.kinds[n.kind.index()].Add(1)
	}
	s.denials[n] = d
	if s.next == 0 || d.until < s.next {
		s.next = d.until
	}
	return true
}

// forget removes ended denials. It scans the shard only if there are some.
func (m *mirror) forget(s *shard, now int64) {
	if s.next == 0 || now < s.next {
		return
	}
	s.next = 0
	for n, d := range s.denials {
		switch {
		case d.until <= now:
			delete(s.denials, n)
			m.size.Add(-1)
			m.kinds[n.kind.index()].Add(-1)
		case s.next == 0 || d.until < s.next:
			s.next = d.until
		}
	}
}

// missing returns the denials that stored lacks or has for a shorter time.
func (m *mirror) missing(stored map[name]denial) []entry {
	now := m.now().UnixMilli()
	var out []entry
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		for n, d := range s.denials {
			if have, ok := stored[n]; d.until > now && (!ok || have != have.merge(d)) {
				out = append(out, entry{n, d})
			}
		}
		s.mu.RUnlock()
	}
	return out
}

// An entry is a denial and its name.
type entry struct {
	name   name
	denial denial
}
