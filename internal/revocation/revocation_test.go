package revocation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// A faulty store fails to store some notes.
type faulty struct {
	sessiontest.Store
	left int // to fail
}

var errWrite = errors.New("no write")

func (f *faulty) fails() bool { f.left--; return f.left >= 0 }

func (f *faulty) PutNote(ctx context.Context, n session.Note) error {
	if f.fails() {
		return errWrite
	}
	return f.Store.PutNote(ctx, n)
}

func (f *faulty) AddNote(ctx context.Context, n session.Note) (bool, error) {
	if f.fails() {
		return false, errWrite
	}
	return f.Store.AddNote(ctx, n)
}

// A logout that was not stored, because the store or the process failed, does not hide a later one.
func TestLogoutBehindOneThatWasNotStored(t *testing.T) {
	t.Parallel()
	for _, lost := range []int{1, 2, 3} {
		store, err := memory.New(memory.Config{})
		if err != nil {
			t.Fatal(err)
		}
		r := revocation.New(revocation.Config{Store: &faulty{store, lost}})
		began, err := r.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target := revocation.Target{Issuer: "https://idp.example", Subject: "user-1", DecidedAt: time.Now()}
		for range lost {
			if _, err := r.Revoke(t.Context(), target, session.ReasonProvider); !errors.Is(err, errWrite) {
				t.Fatalf("Revoke: %v, want the store's error", err)
			}
		}
		if _, err := r.Revoke(t.Context(), target, session.ReasonProvider); err != nil {
			t.Fatal(err)
		}
		login := revocation.Login{Issuer: target.Issuer, Subject: target.Subject, Number: began, Started: time.Now()}
		if barred, err := r.Revoked(t.Context(), login); !barred || err != nil {
			t.Errorf("after %d logouts that were not stored: Barred = %t, %v, want true", lost, barred, err)
		}
	}
}

// Logouts are found after any number of earlier ones, for as long as a login may take.
func TestLogoutsAreFoundWhileALoginLasts(t *testing.T) {
	t.Parallel()
	// Across periods of notes, and with many logouts of a user.
	for _, began := range []time.Time{time.Unix(1_800_000_000, 0), time.Unix(1_800_000_000+1199, 0), time.Unix(1_800_000_000+700, 0)} {
		for _, logouts := range []int{1, 2, 40} {
			now := began
			clock := func() time.Time { return now }
			store, err := memory.New(memory.Config{Now: clock})
			if err != nil {
				t.Fatal(err)
			}
			r := revocation.New(revocation.Config{Store: store, Now: clock})
			number, err := r.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			target := revocation.Target{Issuer: "https://idp.example", SessionID: "sid-1", DecidedAt: began.Add(time.Hour)}
			for i := range logouts {
				now = began.Add(time.Duration(i+1) * 14 * time.Minute / time.Duration(logouts))
				if i < logouts-1 {
					target.DecidedAt = began.Add(-time.Hour) // of an older sign-in
				} else {
					target.DecidedAt = now
				}
				if _, err := r.Revoke(t.Context(), target, session.ReasonProvider); err != nil {
					t.Fatal(err)
				}
			}
			now = began.Add(15 * time.Minute)
			login := revocation.Login{
				Issuer: target.Issuer, Subject: "user-1", SessionID: "sid-1", Number: number, Started: began, AuthTime: began.Add(time.Second),
			}
			if barred, err := r.Revoked(t.Context(), login); !barred || err != nil {
				t.Errorf("%d logouts since %v: Barred = %t, %v, want true", logouts, began.UTC(), barred, err)
			}
			after, err := r.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			login.Number, login.Started, login.AuthTime = after, now, time.Time{}
			if barred, err := r.Revoked(t.Context(), login); barred || err != nil {
				t.Errorf("a login that began after %d logouts: Barred = %t, %v, want false", logouts, barred, err)
			}
		}
	}
}
