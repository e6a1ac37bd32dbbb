package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Note is something small that the processes of a store share for a while, beside the sessions: that a logout token was
// used, that logins of somebody are barred, what is still to be revoked. Times are UTC and exact to the millisecond.
type Note struct {
	// Kind and Key name it together. A kind is a word of ours; a key is opaque to a store.
	Kind, Key string
	Value     []byte
	// DueAt is when somebody has to act on it, zero if nobody has to.
	DueAt time.Time
	// ExpiresAt is when it goes away by itself.
	ExpiresAt time.Time
}

// NoteStore is implemented by a [Store] that keeps notes, by the same rules: an expired note is not found, and a context
// that has ended is an error other than [ErrNotFound]. No answer comes from a cache: all processes see a write at once. A
// store shared by several processes must implement it, and so must every store of a bff; one of a single process can embed
// [LocalNotes].
type NoteStore interface {
	// AddNote stores a note unless there is one of its name, and tells whether it did: of all callers one gets true.
	AddNote(ctx context.Context, n Note) (added bool, err error)
	// PutNote stores a note in the place of one of its name.
	PutNote(ctx context.Context, n Note) error
	// CountNote counts up from 1 under a name and returns the number. It starts anew when expires, as it was given to the
	// first call, has passed.
	CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error)
	// GetNote returns a note, or ErrNotFound.
	GetNote(ctx context.Context, kind, key string) (Note, error)
	// TakeNote removes a note and returns it, or ErrNotFound: of all callers one gets it.
	TakeNote(ctx context.Context, kind, key string) (Note, error)
	// DueNotes returns notes of a kind that are due, those that have been for longest first, at most limit of them.
	DueNotes(ctx context.Context, kind string, limit int) ([]Note, error)
}

// Notes are what the processes of a store tell each other of one kind; see [Manager.Notes].
type Notes struct {
	m    *Manager
	kind string
}

// Notes returns the notes of a kind, which is a short word. Keys are hashed before a store sees them, and values sealed
// under a secret alone (there is no cookie to seal them under): a stolen store shows neither. A note that this node cannot
// open stays in the store: [ErrSealedElsewhere] while another live node can, and [ErrNotFound] otherwise. They go by the
// store's clock.
func (m *Manager) Notes(kind string) Notes { return Notes{m, kind} }

const notePurpose = "note"

// key is the name of a note in the store.
func (n Notes) key(key string) string {
	h := sha256.New()
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(n.kind)))
	h.Write(size[:])
	io.WriteString(h, n.kind)
	io.WriteString(h, key)
	return hex.EncodeToString(h.Sum(nil))
}

func (n Notes) note(key string, value []byte, due, expires time.Time) (Note, error) {
	name := n.key(key)
	sealed, err := n.m.keys.Seal(notePurpose, []byte(name), value)
	if err != nil {
		return Note{}, err
	}
	if !due.IsZero() {
		due = due.UTC().Truncate(time.Millisecond)
	}
	return Note{Kind: n.kind, Key: name, Value: sealed, DueAt: due, ExpiresAt: expires.UTC().Truncate(time.Millisecond)}, nil
}

func (n Notes) open(ctx context.Context, note Note) ([]byte, error) {
	value, err := n.m.keys.Open(notePurpose, []byte(note.Key), note.Value)
	if err == nil {
		return value, nil
	}
	return nil, cmp.Or(n.m.Elsewhere(ctx, note.Value), ErrNotFound)
}

func (n Notes) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session store: %s a note (%s): %w", doing, n.kind, err)
}

// Add stores a value unless there is one under the key, and tells whether it did: of all callers in all processes, one is
// the first.
func (n Notes) Add(ctx context.Context, key string, value []byte, expires time.Time) (first bool, err error) {
	note, err := n.note(key, value, time.Time{}, expires)
	if err != nil {
		return false, err
	}
	first, err = n.m.notes.AddNote(ctx, note)
	return first, n.failed("add", err)
}

// Put stores a value in the place of what is there. With a time at which it is due (not zero), [Notes.TakeDue] finds it
// from then on.
func (n Notes) Put(ctx context.Context, key string, value []byte, due, expires time.Time) error {
	note, err := n.note(key, value, due, expires)
	if err != nil {
		return err
	}
	return n.failed("put", n.m.notes.PutNote(ctx, note))
}

// Get returns a value, or [ErrNotFound].
func (n Notes) Get(ctx context.Context, key string) ([]byte, error) {
	note, err := n.m.notes.GetNote(ctx, n.kind, n.key(key))
	if err != nil {
		return nil, n.failed("get", err)
	}
	value, err := n.open(ctx, note)
	return value, n.failed("get", err)
}

// Take removes a value and returns it, or [ErrNotFound]: of all callers in all processes one gets it.
func (n Notes) Take(ctx context.Context, key string) ([]byte, error) {
	note, err := n.m.notes.GetNote(ctx, n.kind, n.key(key))
	if err != nil {
		return nil, n.failed("take", err)
	}
	return n.take(ctx, note)
}

// take removes a note, as it was read, and returns its value.
func (n Notes) take(ctx context.Context, note Note) ([]byte, error) {
	if _, err := n.open(ctx, note); err != nil {
		return nil, n.failed("take", err) // it is for a node that can open it
	}
	note, err := n.m.notes.TakeNote(ctx, n.kind, note.Key)
	if err != nil {
		return nil, n.failed("take", err)
	}
	value, err := n.open(ctx, note)
	if err != nil { // another has replaced it in between
		_, put := n.m.notes.AddNote(ctx, note)
		return nil, n.failed("take", errors.Join(err, put))
	}
	return value, nil
}

// maxDue bounds how many notes are looked at for some that can be opened.
const maxDue = 1024

// TakeDue removes what is due and returns it, at most limit values, fewer or none if other processes are taking too. Who
// gets a value has to act on it: it is nowhere else any more. With an error come the values that were taken before it. What
// this node cannot open is passed over.
func (n Notes) TakeDue(ctx context.Context, limit int) ([][]byte, error) {
	var values [][]byte
	for look := limit; ; look *= 4 {
		notes, err := n.m.notes.DueNotes(ctx, n.kind, look)
		if err != nil {
			return values, n.failed("find", err)
		}
		for _, note := range notes {
			if len(values) == limit {
				return values, nil
			}
			value, err := n.take(ctx, note)
			switch {
			case err == nil:
				values = append(values, value)
			case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrSealedElsewhere):
				return values, err
			}
		}
		if len(notes) < look || look >= maxDue || len(values) > 0 {
			return values, nil
		}
	}
}
