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
	// remembered is how long a logout is relevant: longer than any login takes.
	remembered = 20 * time.Minute
	// clockSkew is how far the clocks of two nodes may differ.
	clockSkew = time.Minute
	// maxLogouts is how many logouts of one target and period are told apart. Those beyond it take the place of the last one.
	maxLogouts = 32
)

// sequenceEnds is when the sequence begins anew: never, in practice.
var sequenceEnds = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// recentLogouts are the revocations of the last minutes, for logins that have no session yet which could be ended: the
// code may have been redeemed at one node while another learns of the logout. Their order is the store's, not that of
// clocks. They are not sealed, since a server that revokes has no secret, and hold times alone.
type recentLogouts struct {
	store session.NoteStore
	now   func() time.Time
}

// A logout is what the store keeps of one.
type logout struct {
	Number    int64 `json:"n"`
	Arrived   int64 `json:"a"` // seconds, by our clock
	DecidedAt int64 `json:"d"` // seconds, by the clock of the party that decided
}

// next returns the next number of the sequence.
func (l recentLogouts) next(ctx context.Context) (int64, error) {
	return l.store.CountNote(ctx, noteKind, "sequence", sequenceEnds)
}

// key names a target, without showing a subject.
func (t Target) key() string {
	h := sha256.New()
	what, name := "sub", t.Subject
	if t.SessionID != "" {
		what, name = "sid", t.SessionID
	}
	for _, s := range [...]string{what, t.Issuer, name} {
		fmt.Fprintf(h, "%d:", len(s))
		_, _ = io.WriteString(h, s) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// add stores a logout beside the others of its target, none of which it replaces: a token that was long on its way, and is
// older than another, bars other logins than that one. Each takes the first free place of its period, and those of a period
// expire together, so that there is no gap behind which one would be overlooked.
func (l recentLogouts) add(ctx context.Context, t Target) error {
	number, err := l.next(ctx)
	if err != nil {
		return err
	}
	now := l.now()
	value, err := json.Marshal(logout{Number: number, Arrived: now.Unix(), DecidedAt: t.DecidedAt.Unix()})
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

// A period is one of those of the length remembered, counted from 1970.
type period int64

func periodOf(t time.Time) period { return period(t.Unix() / int64(remembered/time.Second)) }

func (p period) end() time.Time {
	return time.Unix((int64(p)+1)*int64(remembered/time.Second), 0).UTC()
}

func (p period) slot(key string, i int) string { return fmt.Sprintf("%s.%d.%d", key, p, i) }

// bar reports whether one of a target's logouts bars the login, which has lasted no longer than remembered.
func (l recentLogouts) bar(ctx context.Context, t Target, login Login) (bool, error) {
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
				return false, fmt.Errorf("revocation: read a logout: %w", err)
			}
			if out.bars(login) {
				return true, nil
			}
		}
	}
	return false, nil
}

// bars reports whether a logout came after the login had begun, unless the person has authenticated since.
func (out logout) bars(login Login) bool {
	before := login.Number < out.Number
	if login.Number == 0 {
		before = login.Started.Unix() <= out.Arrived
	}
	return before && (login.AuthTime.IsZero() || login.AuthTime.Unix() <= out.DecidedAt)
}
