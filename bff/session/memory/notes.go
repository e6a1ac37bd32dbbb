package memory

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// errFull refuses a note rather than forgetting another: a forgotten one could be a logout token that was used, and would
// then pass again.
var errFull = errors.New("memory session store: full of notes that have not expired")

type noteName struct{ kind, key string }

type note struct {
	session.Note
	count int64
}

// notes go by name alone; the few that are due are looked for among all. The zero value is empty.
type notes struct {
	byName map[noteName]note
	// swept is when the expired ones were last removed.
	swept time.Time
}

func (n *notes) find(name noteName, now time.Time) (note, bool) {
	found, ok := n.byName[name]
	return found, ok && now.Before(found.ExpiresAt)
}

func (n *notes) put(add note, limit int, now time.Time) error {
	name := noteName{add.Kind, add.Key}
	if _, there := n.byName[name]; !there && len(n.byName) >= limit {
		// Not at every call, or a full store would be a slow one.
		if now.Sub(n.swept) >= time.Second || now.Before(n.swept) {
			n.removeExpired(now)
		}
		if len(n.byName) >= limit {
			return errFull
		}
	}
	if n.byName == nil {
		n.byName = make(map[noteName]note)
	}
	add.Value = slices.Clone(add.Value)
	n.byName[name] = add
	return nil
}

func (n *notes) removeExpired(now time.Time) {
	n.swept = now
	for name, note := range n.byName {
		if !now.Before(note.ExpiresAt) {
			delete(n.byName, name)
		}
	}
}

// withNotes runs do alone.
func (s *Store) withNotes(ctx context.Context, do func(now time.Time) error) error {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	return do(now)
}

// AddNote implements [session.NoteStore].
func (s *Store) AddNote(ctx context.Context, n session.Note) (added bool, err error) {
	err = s.withNotes(ctx, func(now time.Time) error {
		if _, there := s.notes.find(noteName{n.Kind, n.Key}, now); there {
			return nil
		}
		added = true
		return s.notes.put(note{Note: n}, s.max, now)
	})
	return added && err == nil, err
}

// PutNote implements [session.NoteStore].
func (s *Store) PutNote(ctx context.Context, n session.Note) error {
	return s.withNotes(ctx, func(now time.Time) error { return s.notes.put(note{Note: n}, s.max, now) })
}

// CountNote implements [session.NoteStore].
func (s *Store) CountNote(ctx context.Context, kind, key string, expires time.Time) (count int64, err error) {
	err = s.withNotes(ctx, func(now time.Time) error {
		n, there := s.notes.find(noteName{kind, key}, now)
		if !there {
			n = note{Note: session.Note{Kind: kind, Key: key, ExpiresAt: expires}}
		}
		n.count++
		count = n.count
		return s.notes.put(n, s.max, now)
	})
	return count, err
}

// GetNote implements [session.NoteStore].
func (s *Store) GetNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	err = s.withNotes(ctx, func(now time.Time) error {
		found, there := s.notes.find(noteName{kind, key}, now)
		if !there {
			return session.ErrNotFound
		}
		n = found.Note
		n.Value = slices.Clone(n.Value)
		return nil
	})
	return n, err
}

// TakeNote implements [session.NoteStore].
func (s *Store) TakeNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	err = s.withNotes(ctx, func(now time.Time) error {
		name := noteName{kind, key}
		found, there := s.notes.find(name, now)
		if !there {
			return session.ErrNotFound
		}
		delete(s.notes.byName, name)
		n = found.Note
		return nil
	})
	return n, err
}

// DueNotes implements [session.NoteStore].
func (s *Store) DueNotes(ctx context.Context, kind string, limit int) (due []session.Note, err error) {
	err = s.withNotes(ctx, func(now time.Time) error {
		for name, n := range s.notes.byName {
			if name.kind == kind && !n.DueAt.IsZero() && !n.DueAt.After(now) && now.Before(n.ExpiresAt) {
				due = append(due, n.Note)
			}
		}
		slices.SortFunc(due, func(a, b session.Note) int {
			return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Key, b.Key))
		})
		due = due[:min(limit, len(due))]
		for i := range due {
			due[i].Value = slices.Clone(due[i].Value)
		}
		return nil
	})
	return due, err
}
