package bff

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// barLifetime is how long a logout bars the logins that were under way: longer
// than any of them can take.
const barLifetime = attemptLifetime + 5*time.Minute

// barSkew is how far the provider's clock, by which a logout is dated, may be
// behind ours, by which a login is: as much as tokens are forgiven.
const barSkew = time.Minute

// bars are the logouts that the provider has told of, for the logins that have
// no session yet which could be ended: a code may have been redeemed at one
// node while another hears of the logout. All nodes share them.
type bars struct {
	notes session.Notes
	now   func() time.Time
}

func sidKey(issuer, sid string) string     { return "sid\x00" + issuer + "\x00" + sid }
func subjectKey(issuer, sub string) string { return "sub\x00" + issuer + "\x00" + sub }

// put bars the logins of the provider's session, or else those of the person,
// that began before the logout. It comes before sessions are ended: a login
// that is finished in between is found by one or the other.
//
// A session's are told by our own clock, at which attempts begin. A person's
// are told by the token's, which may have been on its way for long: who has
// signed in again since is not to be barred.
func (p bars) put(ctx context.Context, logout *token.Claims) error {
	key, at := subjectKey(logout.Issuer, logout.Subject), logout.IssuedAt
	if logout.SessionID != "" {
		key, at = sidKey(logout.Issuer, logout.SessionID), p.now()
	}
	seconds := at.Unix()
	if before, err := p.get(ctx, key); err == nil { // an older word that comes late takes nothing back
		seconds = max(seconds, before)
	}
	value := strconv.AppendInt(nil, seconds, 10)
	return p.notes.Put(ctx, key, value, time.Time{}, p.now().Add(barLifetime))
}

var errBarred = errors.New("the provider has signed the person out meanwhile")

// check returns errBarred for a login that a logout has overtaken. It comes
// after its session was created.
func (p bars) check(ctx context.Context, a *attempt, id *token.Claims) error {
	if id.SessionID != "" {
		switch at, err := p.get(ctx, sidKey(id.Issuer, id.SessionID)); {
		case err != nil:
			return err
		case a.Started <= at:
			return errBarred
		}
	}
	began := a.Started
	if !id.AuthTime.IsZero() { // which tells by the provider's own clock: who has authenticated since may come in
		began -= int64(barSkew / time.Second)
	}
	switch at, err := p.get(ctx, subjectKey(id.Issuer, id.Subject)); {
	case err != nil:
		return err
	case began <= at && id.AuthTime.Unix() <= at:
		return errBarred
	}
	return nil
}

// get returns when, in seconds, the latest logout was; some time long ago if
// there was none.
func (p bars) get(ctx context.Context, key string) (int64, error) {
	value, err := p.notes.Get(ctx, key)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return math.MinInt64, nil
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errStore, err)
	}
	at, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: a bar that is unreadable", errStore)
	}
	return at, nil
}
