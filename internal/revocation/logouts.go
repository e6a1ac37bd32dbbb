package revocation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	noteKind = "logout"
	// remembered is how long a logout is kept: longer than any login takes.
	remembered = 20 * time.Minute
	// clockSkew is how far the clocks of two nodes may differ.
	clockSkew = time.Minute
	// maxLogouts is how many logouts of a target and period are kept. Further ones replace the
	// last.
	maxLogouts = 32
)

// sequenceEnds is when the sequence starts again: never, in practice.
var sequenceEnds = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// recentLogouts are the revocations of the last minutes, for logins without a session that could be
// ended: one process may be redeeming the code while another receives the logout. The store orders
// them, not the clocks. They are not sealed, since a server that revokes has no secret, and contain
// only times.
type recentLogouts struct {
	store session.NoteStore
	now   func() time.Time
}

// A logout is the stored form of a revocation.
type logout struct {
	Number    int64 `json:"n"`
	Arrived   int64 `json:"a"` // seconds since 1970, by this process's clock
	DecidedAt int64 `json:"d"` // seconds since 1970, by the clock of the party that decided
}

// next returns the next number of the sequence.
func (l recentLogouts) next(ctx context.Context) (int64, error) {
	return l.store.CountNote(ctx, noteKind, "sequence", sequenceEnds)
}

// key returns the key of a target, which does not show a subject.
func (t Target) key() string {
	h := sha256.New()
	what, name := "sub", t.Subject
	if t.SessionID != "" {
		what, name = "sid", t.SessionID
	}
	for _, s := range [...]string{what, t.Issuer, name} {
		fmt.Fprintf(h, "%d:", len(s))
		_, _ = io.WriteString(h, s) // a hash returns no error
	}
	return hex.EncodeToString(h.Sum(nil))
}

// add stores a logout beside the others of its target. It replaces none: a delayed logout token,
// older than another, rejects other logins. Each takes the first free slot of its period, and the
// slots of a period expire together, so that a read which stops at a free slot misses none.
func (l recentLogouts) add(ctx context.Context, t Target) error {
	number, err := l.next(ctx)
	if err != nil {
		return err
	}
	now := l.now()
	value, err := json.Marshal(logout{Number: number, Arrived: now.Unix(),
		DecidedAt: t.DecidedAt.Unix()})
	if err != nil {
		return err
	}
	key, p := t.key(), periodOf(now)
	note := session.Note{Kind: noteKind, Value: value, ExpiresAt: p.end().Add(remembered)}
	for i := range maxLogouts {
		note.Key = p.slot(key, i)
		if added, err := l.store.AddNote(ctx, note); added || err != nil {
			return err
		}
	}
	return l.store.PutNote(ctx, note)
}

// A period is the number of an interval of the length remembered since 1970.
type period int64

func periodOf(t time.Time) period { return period(t.Unix() / int64(remembered/time.Second)) }

func (p period) end() time.Time {
	return time.Unix((int64(p)+1)*int64(remembered/time.Second), 0).UTC()
}

func (p period) slot(key string, i int) string { return fmt.Sprintf("%s.%d.%d", key, p, i) }

// after reports whether a logout of a target came after the login, which began at most remembered
// ago.
func (l recentLogouts) after(ctx context.Context, t Target, login Login) (bool, error) {
	key := t.key()
	for p := periodOf(login.Started.Add(-clockSkew)); p <= periodOf(l.now().Add(clockSkew)); p++ {
		for i := range maxLogouts {
			note, err := l.store.GetNote(ctx, noteKind, p.slot(key, i))
			if errors.Is(err, session.ErrNotFound) {
				break
			}
			if err != nil {
				return false, err
			}
			var out logout
			if err := json.Unmarshal(note.Value, &out); err != nil {
				return false, fmt.Errorf("revocation: decode logout: %w", err)
			}
			if out.after(login) {
				return true, nil
			}
		}
	}
	return false, nil
}

// after reports whether a logout came after the login began, and the user has not authenticated
// since.
func (out logout) after(login Login) bool {
	before := login.Number < out.Number
	if login.Number == 0 {
		before = login.Started.Unix() <= out.Arrived
	}
	return before && (login.AuthTime.IsZero() || login.AuthTime.Unix() <= out.DecidedAt)
}
