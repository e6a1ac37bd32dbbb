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

// Note is a small value that the processes of a store share for a time: that a logout token was
// used, that a user was signed out, a refresh token to revoke. Times are in UTC and whole
// milliseconds.
type Note struct {
	// Kind and Key identify the note. A kind is a constant of the caller; a key is opaque to a
	// store.
	Kind, Key string
	// Value is opaque to a store.
	Value []byte
	// DueAt is when the note must be acted on, zero for never.
	DueAt time.Time
	// ExpiresAt is when the note is removed.
	ExpiresAt time.Time
}

// NoteStore is implemented by a [Store] that keeps notes, by the same rules: an expired note is not
// found, and a context that has ended is an error other than [ErrNotFound]. No answer comes from a
// cache: all processes see a write at once. A store shared by several processes must implement it,
// and so must every store of a bff; one of a single process can embed [LocalNotes].
type NoteStore interface {
	// AddNote stores a note unless there is one with its kind and key, and reports whether it did.
	// Of concurrent callers, one gets true.
	AddNote(ctx context.Context, n Note) (added bool, err error)
	// PutNote stores a note and replaces one with its kind and key.
	PutNote(ctx context.Context, n Note) error
	// CountNote increments the counter of a kind and key and returns it, 1 at the first call. The
	// counter starts again when the expiry given to its first call has passed.
	CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error)
	// GetNote returns a note, or ErrNotFound.
	GetNote(ctx context.Context, kind, key string) (Note, error)
	// TakeNote removes a note and returns it, or ErrNotFound. Of concurrent callers, one gets it.
	TakeNote(ctx context.Context, kind, key string) (Note, error)
	// DueNotes returns at most limit notes of a kind that are due, the longest due first.
	DueNotes(ctx context.Context, kind string, limit int) ([]Note, error)
}

// Notes are the notes of one kind, hashed and sealed; see [Manager.Notes].
type Notes struct {
	m    *Manager
	kind string
}

// Notes returns the notes of a kind, which is a short word. Keys are hashed and values sealed
// before a store gets them, so that a stolen store shows neither. Values are sealed under the
// secret alone, since no cookie belongs to them. A note that this process cannot open stays in the
// store; the error is [ErrSealedElsewhere] if another live one can, and otherwise [ErrNotFound].
// The store's clock decides what is due and what has expired.
func (m *Manager) Notes(kind string) Notes { return Notes{m, kind} }

const notePurpose = "note"

// key returns the key of a note in the store.
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
	return Note{Kind: n.kind, Key: name, Value: sealed, DueAt: due,
		ExpiresAt: expires.UTC().Truncate(time.Millisecond)}, nil
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
	return fmt.Errorf("session store: %s note of kind %q: %w", doing, n.kind, err)
}

// Add stores a value unless there is one under the key, and reports whether it did. Of concurrent
// callers in all processes, one gets true.
func (n Notes) Add(ctx context.Context, key string, value []byte,
	expires time.Time) (first bool, err error) {
	note, err := n.note(key, value, time.Time{}, expires)
	if err != nil {
		return false, err
	}
	first, err = n.m.notes.AddNote(ctx, note)
	return first, n.failed("add", err)
}

// Put stores a value and replaces that under the key. From due on, unless that is zero,
// [Notes.TakeDue] finds it.
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

// Take removes a value and returns it, or [ErrNotFound]. Of concurrent callers in all processes,
// one gets it.
func (n Notes) Take(ctx context.Context, key string) ([]byte, error) {
	note, err := n.m.notes.GetNote(ctx, n.kind, n.key(key))
	if err != nil {
		return nil, n.failed("take", err)
	}
	return n.take(ctx, note)
}

// take removes a note that was read and returns its value.
func (n Notes) take(ctx context.Context, note Note) ([]byte, error) {
	if _, err := n.open(ctx, note); err != nil {
		return nil, n.failed("take", err) // left to a process that can open it
	}
	note, err := n.m.notes.TakeNote(ctx, n.kind, note.Key)
	if err != nil {
		return nil, n.failed("take", err)
	}
	value, err := n.open(ctx, note)
	if err != nil { // replaced since it was read
		_, put := n.m.notes.AddNote(ctx, note)
		return nil, n.failed("take", errors.Join(err, put))
	}
	return value, nil
}

// maxDue bounds how many notes are read to find some that can be opened.
const maxDue = 1024

// TakeDue removes and returns at most limit values that are due, fewer or none if other processes
// take some. The caller must act on them: they are stored nowhere else. Values taken before an
// error are returned with it. Values that this process cannot open are left.
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
