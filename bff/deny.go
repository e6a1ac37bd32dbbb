package bff

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
)

// A Revocation names access tokens that must stop being good: one by its id,
// or those of a provider's session, or, where the provider named no session,
// those of a subject up to a moment. Exactly that order counts: what is empty
// is passed over.
type Revocation struct {
	Issuer string
	// TokenID is one token's "jti".
	TokenID string
	// SessionID is the provider's session, "sid".
	SessionID string
	// Subject is the person, "sub"; tokens that were issued after At stay
	// good.
	Subject string
	At      time.Time
	// Until is when the last of the tokens expires by itself; zero if nobody
	// here knows.
	Until time.Time
}

// A Denylist refuses access tokens. The lists of package denylist, in the
// server, are such.
type Denylist interface {
	DenyToken(ctx context.Context, issuer, jti string, until time.Time) error
	DenySession(ctx context.Context, issuer, sid string, until time.Time) error
	DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error
}

// DenyIn returns a function for Config.Revoke that puts each revocation into a
// denylist, by the first of TokenID, SessionID and Subject that is not empty.
func DenyIn(list Denylist) func(context.Context, Revocation) error {
	return func(ctx context.Context, r Revocation) error {
		switch {
		case r.TokenID != "":
			return list.DenyToken(ctx, r.Issuer, r.TokenID, r.Until)
		case r.SessionID != "":
			return list.DenySession(ctx, r.Issuer, r.SessionID, r.Until)
		default:
			return list.DenySubject(ctx, r.Issuer, r.Subject, r.At, r.Until)
		}
	}
}

// deny passes a revocation on. The logout that it belongs to goes on whatever
// comes of it.
func (b *BFF) deny(ctx context.Context, r Revocation) error {
	if b.denies == nil {
		return nil
	}
	err := errNameless
	if r.TokenID != "" || r.SessionID != "" || r.Subject != "" {
		err = b.denies(ctx, r)
	}
	if err != nil {
		b.logger.ErrorContext(ctx, "access tokens were not revoked; they are good until they expire", "cause", err)
	}
	return err
}

// denyTarget is deny, for a revocation.
func (b *BFF) denyTarget(ctx context.Context, t revocation.Target) error {
	return b.deny(ctx, Revocation{Issuer: t.Issuer, SessionID: t.SessionID, Subject: t.Subject, At: t.DecidedAt})
}

var errNameless = errors.New("the access token has no jti by which it could be refused; have the provider add one")
