// Package revocation owns the revocation of a subject, or of one session at the provider. It is one
// operation with three effects: access tokens are denied, logins in progress are rejected, sessions
// are ended. All processes of a session store take part, servers without a bff too. Authorization,
// and how a denial reaches the servers, are left to the caller.
package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A Target is what is revoked: the provider's session SessionID, or, if that is empty, everything
// of the subject.
type Target struct {
	Issuer, Subject string
	// SessionID is the claim "sid".
	SessionID string
	// DecidedAt is when the revocation was decided: the claim "iat" of a logout token, otherwise
	// the time of the call. A login with a later authentication is not rejected.
	DecidedAt time.Time
	// KeepTokens does not deny access tokens, for a session that goes on and whose token cannot be
	// refreshed.
	KeepTokens bool
}

// Store is a session store with notes.
type Store interface {
	session.Store
	session.NoteStore
}

// Config configures a Revoker. Store is required.
type Config struct {
	// Store has the sessions, and the order of logins and revocations.
	Store Store
	// Deny denies the access tokens of a target; nil if access tokens cannot be revoked.
	Deny func(context.Context, Target) error
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// A Revoker revokes targets, and decides about logins in progress. It is safe for concurrent use.
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
	return &Revoker{store: cfg.Store, index: session.IndexOf(cfg.Store), deny: cfg.Deny,
		logouts: recentLogouts{store: cfg.Store, now: cfg.Now}}
}

// Revoke revokes a target and returns the sessions that it ended. All three effects are attempted;
// after an error the caller may repeat it.
func (r *Revoker) Revoke(ctx context.Context, t Target, why session.Reason) ([]session.ID, error) {
	return r.revoke(ctx, t, func() ([]session.ID, error) {
		if t.SessionID != "" {
			return r.index.DeleteBySID(ctx, t.Issuer, t.SessionID, why)
		}
		return r.index.DeleteBySubject(ctx, t.Issuer, t.Subject, why)
	})
}

// RevokeOthers revokes everything of a subject except one session, whose access token must be
// refreshed afterwards.
func (r *Revoker) RevokeOthers(ctx context.Context, t Target, except session.ID,
	why session.Reason) ([]session.ID, error) {
	return r.revoke(ctx, t, func() (ended []session.ID, err error) {
		records, err := r.index.ListBySubject(ctx, t.Issuer, t.Subject)
		for i := range records {
			if id := records[i].ID; id != except {
				switch one := r.store.Delete(ctx, id, why); {
				case one == nil:
					ended = append(ended, id)
				case !errors.Is(one, session.ErrNotFound): // not ended meanwhile
					err = errors.Join(err, one)
				}
			}
		}
		return ended, err
	})
}

// revoke denies tokens first, since a token that works after its session has ended is worse than
// the reverse. It records the logout before it ends sessions: a login that completes in between is
// found by one or the other.
func (r *Revoker) revoke(ctx context.Context, t Target, end func() ([]session.ID,
	error)) ([]session.ID, error) {
	var denied error
	if !t.KeepTokens {
		denied = r.deny(ctx, t)
	}
	recorded := r.logouts.add(ctx, t)
	ended, err := end()
	return ended, errors.Join(denied, recorded, err)
}

// Begin returns the number of a login that begins now. Later revocations have higher numbers.
func (r *Revoker) Begin(ctx context.Context) (int64, error) { return r.logouts.next(ctx) }

// A Login is a completed login whose session was created.
type Login struct {
	Issuer, Subject, SessionID string
	// Number is the result of Begin, 0 if unknown.
	Number int64
	// Started is when the login began, at most 15 minutes ago. Without a Number it decides whether
	// a revocation came later.
	Started time.Time
	// AuthTime is when the user authenticated, zero if unknown.
	AuthTime time.Time
}

// Revoked reports whether a revocation came after the login began. Call it after the session was
// created.
func (r *Revoker) Revoked(ctx context.Context, l Login) (bool, error) {
	targets := []Target{{Issuer: l.Issuer, Subject: l.Subject}}
	if l.SessionID != "" {
		targets = append(targets, Target{Issuer: l.Issuer, SessionID: l.SessionID})
	}
	for _, t := range targets {
		if revoked, err := r.logouts.after(ctx, t, l); revoked || err != nil {
			return revoked, err
		}
	}
	return false, nil
}
