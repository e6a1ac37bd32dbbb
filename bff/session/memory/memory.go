// Package memory owns a session store in the memory of the process. It is bounded, and its sessions
// end with the process. What a session is, and the rules of a store, are left to package session.
package memory

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/fanout"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// DefaultMaxSessions is used when Config.MaxSessions is 0. At about 6 KB a session it is 600 MB.
const DefaultMaxSessions = 100_000

// Config configures a Store; the zero value is usable.
type Config struct {
	// MaxSessions bounds the number of sessions, and that of notes. A login beyond it ends the
	// session that would expire first, which usually is the one unused for longest: of the same
	// user, so that no user ends the sessions of others, or of all if the user has none. Default:
	// DefaultMaxSessions.
	MaxSessions int
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

var errClosed = errors.New("memory session store: closed")

// Store implements [session.Store] and all optional parts that one process needs. It is safe for
// concurrent use. Create removes expired sessions, so that the store does not grow without
// DeleteExpired.
type Store struct {
	now func() time.Time
	max int

	mu       sync.RWMutex
	closed   bool
	sessions map[session.ID]*entry
	// bySubject and bySID hold no empty sets.
	bySubject map[name]map[session.ID]*entry
	bySID     map[name]map[session.ID]*entry
	// byExpiry is a heap with the session that expires first at its head.
	byExpiry expiryHeap

	localNotes

	events fanout.Hub
}

var _ interface {
	session.Store
	session.Index
	session.NoteStore
	session.Watcher
	session.Sweeper
	session.Local
} = (*Store)(nil)

type localNotes = session.LocalNotes

// name is a subject or a sid of an issuer.
type name struct{ issuer, value string }

type entry struct {
	record session.Record
	fence  session.Fence
	// lockedUntil is the end of the lease, zero if the lock is not held.
	lockedUntil time.Time
	// place is the index in the heap.
	place int
}

// Validate returns what is wrong with the values of cfg.
func (cfg Config) Validate() error {
	return invalid.NotNegative("MaxSessions", cfg.MaxSessions, "a positive number", DefaultMaxSessions)
}

// New returns an empty store. Its errors are those of [Config.Validate].
func New(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("memory", err)
	}
	s := &Store{
		now:       cfg.Now,
		max:       cmp.Or(cfg.MaxSessions, DefaultMaxSessions),
		sessions:  make(map[session.ID]*entry),
		bySubject: make(map[name]map[session.ID]*entry),
		bySID:     make(map[name]map[session.ID]*entry),
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.localNotes.Max, s.localNotes.Now = s.max, s.now
	return s, nil
}

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	r.Sealed = slices.Clone(r.Sealed)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.removeExpired(now)
	if _, ok := s.sessions[r.ID]; ok {
		return session.ErrExists
	}
	if old, ok := s.sessions[replaces]; ok {
		s.end(old, session.ReasonReplaced)
	}
	if len(s.sessions) >= s.max {
		s.end(s.firstToEnd(name{r.Issuer, r.Subject}), session.ReasonEvicted)
	}
	e := &entry{record: r}
	s.sessions[r.ID] = e
	index(s.bySubject, name{r.Issuer, r.Subject}, e)
	if r.SID != "" {
		index(s.bySID, name{r.Issuer, r.SID}, e)
	}
	heap.Push(&s.byExpiry, e)
	return nil
}

// firstToEnd returns the session of a subject that would expire first; that of all if it has none.
func (s *Store) firstToEnd(subject name) *entry {
	var first *entry
	for _, e := range s.bySubject[subject] {
		if first == nil || e.record.End().Before(first.record.End()) {
			first = e
		}
	}
	return cmp.Or(first, s.byExpiry[0])
}

// Get implements [session.Store].
func (s *Store) Get(ctx context.Context, id session.ID) (session.Record, error) {
	now := s.now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, err := s.find(ctx, id, now)
	if err != nil {
		return session.Record{}, err
	}
	return e.record, nil
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	return s.change(ctx, id, func(e *entry, _ time.Time) error {
		if lastSeen.After(e.record.LastSeenAt) {
			e.record.LastSeenAt, e.record.IdleExpiresAt = lastSeen, idleExpires
			heap.Fix(&s.byExpiry, e.place)
			s.events.Publish(session.Event{ID: id})
		}
		return nil
	})
}

// Lock implements [session.Store].
func (s *Store) Lock(ctx context.Context, id session.ID,
	lease time.Duration) (f session.Fence, err error) {
	err = s.change(ctx, id, func(e *entry, now time.Time) error {
		if now.Before(e.lockedUntil) {
			return &session.LockedError{Until: e.lockedUntil}
		}
		e.fence++
		e.lockedUntil = now.Add(lease)
		f = e.fence
		return nil
	})
	return f, err
}

// Renew implements [session.Store].
func (s *Store) Renew(ctx context.Context, id session.ID, f session.Fence,
	lease time.Duration) error {
	return s.change(ctx, id, func(e *entry, now time.Time) error {
		if f == 0 || f != e.fence || e.lockedUntil.IsZero() {
			return session.ErrFenced
		}
		e.lockedUntil = now.Add(lease)
		return nil
	})
}

// Write implements [session.Store].
func (s *Store) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	sealed = slices.Clone(sealed)
	return s.fenced(ctx, id, f, func(e *entry) {
		e.record.Sealed = sealed
		s.events.Publish(session.Event{ID: id})
	})
}

// Unlock implements [session.Store].
func (s *Store) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	return s.fenced(ctx, id, f, func(*entry) {})
}

func (s *Store) fenced(ctx context.Context, id session.ID, f session.Fence, do func(*entry)) error {
	return s.change(ctx, id, func(e *entry, _ time.Time) error {
		if f == 0 || f != e.fence {
			return session.ErrFenced
		}
		do(e)
		e.lockedUntil = time.Time{}
		return nil
	})
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	return s.change(ctx, id, func(e *entry, _ time.Time) error {
		s.end(e, why)
		return nil
	})
}

// DeleteBySID implements [session.Index].
func (s *Store) DeleteBySID(ctx context.Context, issuer, sid string,
	why session.Reason) ([]session.ID, error) {
	return s.deleteIn(ctx, s.bySID, name{issuer, sid}, why)
}

// DeleteBySubject implements [session.Index].
func (s *Store) DeleteBySubject(ctx context.Context, issuer, subject string,
	why session.Reason) ([]session.ID, error) {
	return s.deleteIn(ctx, s.bySubject, name{issuer, subject}, why)
}

func (s *Store) deleteIn(ctx context.Context, by map[name]map[session.ID]*entry, n name,
	why session.Reason) ([]session.ID, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.removeExpired(now)
	var ids []session.ID
	for id, e := range by[n] {
		ids = append(ids, id)
		s.end(e, why)
	}
	return ids, nil
}

// ListBySubject implements [session.Index].
func (s *Store) ListBySubject(ctx context.Context, issuer,
	subject string) ([]session.Record, error) {
	now := s.now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	var records []session.Record
	for _, e := range s.bySubject[name{issuer, subject}] {
		if !e.record.Expired(now) {
			r := e.record
			r.Sealed = nil
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b session.Record) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return records, nil
}

// List implements [session.Store].
func (s *Store) List(ctx context.Context, cursor string,
	limit int) ([]session.Record, string, error) {
	last, err := session.ParseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	now := s.now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, "", err
	}
	var ids []session.ID
	for id, e := range s.sessions {
		if !e.record.Expired(now) && (cursor == "" || slices.Compare(id[:], last[:]) > 0) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b session.ID) int { return slices.Compare(a[:], b[:]) })
	next := ""
	if len(ids) > limit {
		ids = ids[:limit]
		next = session.Cursor(ids[limit-1])
	}
	page := make([]session.Record, len(ids))
	for i, id := range ids {
		page[i] = s.sessions[id].record
		page[i].Sealed = nil
	}
	return page, next, nil
}

// DeleteExpired implements [session.Sweeper]. Notes are removed by AddNote and PutNote.
func (s *Store) DeleteExpired(ctx context.Context) (int, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	return s.removeExpired(now), nil
}

// Watch implements [session.Watcher]. The feed breaks only when the store is closed.
func (s *Store) Watch(ctx context.Context, event func(session.Event)) error {
	return s.events.Watch(ctx, event)
}

// ProcessLocal implements [session.Local] and returns true.
func (s *Store) ProcessLocal() bool { return true }

// Close drops all sessions and notes. Later calls fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.sessions, s.bySubject, s.bySID, s.byExpiry = nil, nil, nil, nil
	s.events.Break(errClosed)
	s.CloseNotes()
	return nil
}

// change runs do on a live session under the mutex.
func (s *Store) change(ctx context.Context, id session.ID,
	do func(e *entry, now time.Time) error) error {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(ctx, id, now)
	if err != nil {
		return err
	}
	return do(e, now)
}

func (s *Store) find(ctx context.Context, id session.ID, now time.Time) (*entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	e, ok := s.sessions[id]
	if !ok || e.record.Expired(now) {
		return nil, session.ErrNotFound
	}
	return e, nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return errClosed
	}
	return ctx.Err()
}

func (s *Store) removeExpired(now time.Time) int {
	n := 0
	for len(s.byExpiry) > 0 && s.byExpiry[0].record.Expired(now) {
		s.remove(s.byExpiry[0])
		n++
	}
	return n
}

// end removes a live session and publishes its end.
func (s *Store) end(e *entry, why session.Reason) {
	s.remove(e)
	s.events.Publish(session.Event{ID: e.record.ID, Ended: true, Reason: why})
}

func (s *Store) remove(e *entry) {
	delete(s.sessions, e.record.ID)
	unindex(s.bySubject, name{e.record.Issuer, e.record.Subject}, e)
	if e.record.SID != "" {
		unindex(s.bySID, name{e.record.Issuer, e.record.SID}, e)
	}
	heap.Remove(&s.byExpiry, e.place)
}

func index(by map[name]map[session.ID]*entry, n name, e *entry) {
	if by[n] == nil {
		by[n] = make(map[session.ID]*entry, 1)
	}
	by[n][e.record.ID] = e
}

func unindex(by map[name]map[session.ID]*entry, n name, e *entry) {
	delete(by[n], e.record.ID)
	if len(by[n]) == 0 {
		delete(by, n)
	}
}
