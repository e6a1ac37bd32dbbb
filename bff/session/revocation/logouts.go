package revocation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	noteKind = "logout"
	// remembered is how long a logout is relevant: longer than any login takes.
	remembered = 20 * time.Minute
	// maxLogouts is how many recent logouts are told apart for one target. Those beyond it take the place of the last one.
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
// older than another, bars other logins than that one. Notes outlast the count of them, so that there is no gap.
func (l recentLogouts) add(ctx context.Context, t Target) error {
	number, err := l.next(ctx)
	if err != nil {
		return err
	}
	now := l.now().UTC().Truncate(time.Millisecond)
	key := t.key()
	count, err := l.store.CountNote(ctx, noteKind, key, now.Add(remembered))
	if err != nil {
		return err
	}
	value, err := json.Marshal(logout{Number: number, Arrived: now.Unix(), DecidedAt: t.DecidedAt.Unix()})
	if err != nil {
		return err
	}
	return l.store.PutNote(ctx, session.Note{
		Kind: noteKind, Key: slot(key, min(count, maxLogouts)), Value: value, ExpiresAt: now.Add(2 * remembered),
	})
}

func slot(key string, i int64) string { return key + "." + strconv.FormatInt(i, 10) }

// bar reports whether one of a target's logouts came after the login had begun, unless the person has authenticated since.
func (l recentLogouts) bar(ctx context.Context, t Target, login Login) (bool, error) {
	key := t.key()
	for i := int64(1); i <= maxLogouts; i++ {
		note, err := l.store.GetNote(ctx, noteKind, slot(key, i))
		if errors.Is(err, session.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var out logout
		if err := json.Unmarshal(note.Value, &out); err != nil {
			return false, fmt.Errorf("revocation: read a logout: %w", err)
		}
		before := login.Number < out.Number
		if login.Number == 0 {
			before = login.Started.Unix() <= out.Arrived
		}
		if before && (login.AuthTime.IsZero() || login.AuthTime.Unix() <= out.DecidedAt) {
			return true, nil
		}
	}
	return false, nil
}
