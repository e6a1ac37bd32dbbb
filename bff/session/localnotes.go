package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// DefaultMaxNotes is the bound of LocalNotes whose Max is zero.
const DefaultMaxNotes = 100_000

// A sweep looks at every note, so that even full LocalNotes sweep only this often.
const (
	sweepNotesEvery     = time.Minute
	sweepFullNotesEvery = time.Second
)

var (
	// errNotesFull refuses a note rather than dropping another: the dropped one could be a logout
	// token that was used, and would be accepted again.
	errNotesFull   = errors.New("session: local notes: full of notes that have not expired")
	errNotesClosed = errors.New("session: local notes: closed")
)

// LocalNotes is a [NoteStore] in the memory of the process. A store that belongs to a single
// process can embed it. The zero value is ready; the fields must not change once it is in use.
type LocalNotes struct {
	// Max bounds the number of notes; 0 means DefaultMaxNotes. AddNote, PutNote and CountNote fail
	// at the bound.
	Max int
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu     sync.Mutex
	byName map[noteName]localNote
	closed bool
	// swept is when the expired ones were last removed.
	swept time.Time
}

type noteName struct{ kind, key string }

type localNote struct {
	Note
	count int64
}

var _ NoteStore = (*LocalNotes)(nil)

// do runs f under the mutex, with the time.
func (n *LocalNotes) do(ctx context.Context, f func(now time.Time) error) error {
	now := time.Now
	if n.Now != nil {
		now = n.Now
	}
	at := now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errNotesClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f(at)
}

func (n *LocalNotes) find(name noteName, now time.Time) (localNote, bool) {
	found, ok := n.byName[name]
	return found, ok && now.Before(found.ExpiresAt)
}

func (n *LocalNotes) put(add localNote, now time.Time) error {
	name := noteName{add.Kind, add.Key}
	limit := cmp.Or(n.Max, DefaultMaxNotes)
	_, there := n.byName[name]
	full := !there && len(n.byName) >= limit
	every := sweepNotesEvery
	if full {
		every = sweepFullNotesEvery
	}
	if now.Sub(n.swept) >= every || now.Before(n.swept) {
		n.sweep(now)
		full = !there && len(n.byName) >= limit
	}
	if full {
		return errNotesFull
	}
	if n.byName == nil {
		n.byName = make(map[noteName]localNote)
	}
	add.Value = slices.Clone(add.Value)
	n.byName[name] = add
	return nil
}

func (n *LocalNotes) sweep(now time.Time) {
	n.swept = now
	for name, note := range n.byName {
		if !now.Before(note.ExpiresAt) {
			delete(n.byName, name)
		}
	}
}

// AddNote implements [NoteStore].
func (n *LocalNotes) AddNote(ctx context.Context, note Note) (added bool, err error) {
	err = n.do(ctx, func(now time.Time) error {
		if _, there := n.find(noteName{note.Kind, note.Key}, now); there {
			return nil
		}
		added = true
		return n.put(localNote{Note: note}, now)
	})
	return added && err == nil, err
}

// PutNote implements [NoteStore].
func (n *LocalNotes) PutNote(ctx context.Context, note Note) error {
	return n.do(ctx, func(now time.Time) error { return n.put(localNote{Note: note}, now) })
}

// CountNote implements [NoteStore].
func (n *LocalNotes) CountNote(ctx context.Context, kind, key string,
	expires time.Time) (count int64, err error) {
	err = n.do(ctx, func(now time.Time) error {
		note, there := n.find(noteName{kind, key}, now)
		if !there {
			note = localNote{Note: Note{Kind: kind, Key: key, ExpiresAt: expires}}
		}
		note.count++
		count = note.count
		return n.put(note, now)
	})
	return count, err
}

// GetNote implements [NoteStore].
func (n *LocalNotes) GetNote(ctx context.Context, kind, key string) (note Note, err error) {
	err = n.do(ctx, func(now time.Time) error {
		found, there := n.find(noteName{kind, key}, now)
		if !there {
			return ErrNotFound
		}
		note = found.Note
		note.Value = slices.Clone(note.Value)
		return nil
	})
	return note, err
}

// TakeNote implements [NoteStore].
func (n *LocalNotes) TakeNote(ctx context.Context, kind, key string) (note Note, err error) {
	err = n.do(ctx, func(now time.Time) error {
		name := noteName{kind, key}
		found, there := n.find(name, now)
		if !there {
			return ErrNotFound
		}
		delete(n.byName, name)
		note = found.Note
		return nil
	})
	return note, err
}

// DueNotes implements [NoteStore]. It looks at every note.
func (n *LocalNotes) DueNotes(ctx context.Context, kind string, limit int) (due []Note, err error) {
	err = n.do(ctx, func(now time.Time) error {
		for name, note := range n.byName {
			if name.kind == kind && !note.DueAt.IsZero() && !note.DueAt.After(now) && now.Before(note.ExpiresAt) {
				due = append(due, note.Note)
			}
		}
		slices.SortFunc(due, func(a, b Note) int {
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

// CloseNotes drops all notes. Later calls fail.
func (n *LocalNotes) CloseNotes() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byName, n.closed = nil, true
}
