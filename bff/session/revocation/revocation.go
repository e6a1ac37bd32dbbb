// Package revocation owns the revocation of a subject, or of one session of the provider. It is one operation with three
// effects: access tokens are denied, logins in progress are barred, sessions are ended. All processes of a session store take
// part, servers without a bff too. Who may ask for it, and how a denial reaches the servers, is left to the caller.
package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A Target is what is revoked: the session of the provider that SessionID names, or, where that is empty, everything of the
// subject.
type Target struct {
	Issuer, Subject string
	// SessionID is the claim "sid".
	SessionID string
	// DecidedAt is when it was decided: the claim "iat" of a logout token, otherwise the time of the call. A
	// person who has authenticated later has signed in again, which is not barred.
	DecidedAt time.Time
	// KeepTokens leaves access tokens alone: for a session that goes on and whose token cannot be replaced.
	KeepTokens bool
}

// Store is a session store that keeps notes.
type Store interface {
	session.Store
	session.NoteStore
}

// Config describes a Revoker. Store is required.
type Config struct {
	// Store keeps the sessions, and the order of logins and revocations.
	Store Store
	// Deny refuses the access tokens of a target; nil where access tokens cannot be revoked.
	Deny func(context.Context, Target) error
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// A Revoker revokes, and judges the logins that are in progress. It is safe for concurrent use.
type Revoker struct {
	store   session.Store
	index   session.Index
	deny    func(context.Context, Target) error
	logouts recentLogouts
}

// New returns a Revoker.
func New(cfg Config) *Revoker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Deny == nil {
		cfg.Deny = func(context.Context, Target) error { return nil }
	}
	return &Revoker{store: cfg.Store, index: session.IndexOf(cfg.Store), deny: cfg.Deny, logouts: recentLogouts{store: cfg.Store, now: cfg.Now}}
}

// Revoke revokes a target and returns the sessions that it has ended. All three effects are attempted; after an error the
// caller may try again.
func (r *Revoker) Revoke(ctx context.Context, t Target, why session.Reason) ([]session.ID, error) {
	return r.revoke(ctx, t, func() ([]session.ID, error) {
		if t.SessionID != "" {
			return r.index.DeleteBySID(ctx, t.Issuer, t.SessionID, why)
		}
		return r.index.DeleteBySubject(ctx, t.Issuer, t.Subject, why)
	})
}

// RevokeOthers revokes everything of a subject except one session, whose access token has to be renewed afterwards.
func (r *Revoker) RevokeOthers(ctx context.Context, t Target, except session.ID, why session.Reason) ([]session.ID, error) {
	return r.revoke(ctx, t, func() (ended []session.ID, err error) {
		records, err := r.index.ListBySubject(ctx, t.Issuer, t.Subject)
		for i := range records {
			if id := records[i].ID; id != except {
				switch one := r.store.Delete(ctx, id, why); {
				case one == nil:
					ended = append(ended, id)
				case !errors.Is(one, session.ErrNotFound): // otherwise it has ended meanwhile
					err = errors.Join(err, one)
				}
			}
		}
		return ended, err
	})
}

// revoke does things in the order in which none is passed by. Tokens come first: a session that has ended while its token
// still works is worse than the other way about. Logins are barred before sessions are ended: one that completes in between
// is found by one or the other.
func (r *Revoker) revoke(ctx context.Context, t Target, end func() ([]session.ID, error)) ([]session.ID, error) {
	var denied error
	if !t.KeepTokens {
		denied = r.deny(ctx, t)
	}
	barred := r.logouts.add(ctx, t)
	ended, err := end()
	return ended, errors.Join(denied, barred, err)
}

// Begin returns the number of a login that begins now. Revocations that come later have higher numbers.
func (r *Revoker) Begin(ctx context.Context) (int64, error) { return r.logouts.next(ctx) }

// A Login is one that has completed and whose session was created.
type Login struct {
	Issuer, Subject, SessionID string
	// Number is what Begin returned when it began, 0 if unknown.
	Number int64
	// Started is when it began: not longer ago than 15 minutes. Without a Number it decides whether a revocation came later.
	Started time.Time
	// AuthTime is when the person authenticated, zero if unknown.
	AuthTime time.Time
}

// Barred reports whether a revocation has overtaken the login. It is to be asked after the session was created.
func (r *Revoker) Barred(ctx context.Context, l Login) (bool, error) {
	targets := []Target{{Issuer: l.Issuer, Subject: l.Subject}}
	if l.SessionID != "" {
		targets = append(targets, Target{Issuer: l.Issuer, SessionID: l.SessionID})
	}
	for _, t := range targets {
		if barred, err := r.logouts.bar(ctx, t, l); barred || err != nil {
			return barred, err
		}
	}
	return false, nil
}
