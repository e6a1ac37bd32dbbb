package bff

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A Revocation names access tokens to refuse from now on: the one with TokenID,
// or those of the provider's session SessionID, or those of Subject that were
// issued until At. The first of the three that is not empty counts.
type Revocation struct {
	// Issuer is the provider, the claim "iss" of the tokens.
	Issuer string
	// TokenID is the claim "jti" of one token.
	TokenID string
	// SessionID is the claim "sid" of the tokens of one session.
	SessionID string
	// Subject is the claim "sub" of the tokens of one user. Tokens issued after
	// At stay valid.
	Subject string
	At      time.Time
	// Until is when the last of the tokens expires by itself; zero if that is
	// not known.
	Until time.Time
}

// A Denylist refuses access tokens. Those of server/authn/denylist implement it.
type Denylist interface {
	DenyToken(ctx context.Context, issuer, jti string, until time.Time) error
	DenySession(ctx context.Context, issuer, sid string, until time.Time) error
	DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error
}

// DenyIn returns a function for Config.Revoke that puts each revocation into a
// denylist, by the first of TokenID, SessionID and Subject that is not empty. It
// returns nil, which is no denylist, if list is nil. A list that holds a nil
// pointer is not nil.
func DenyIn(list Denylist) func(context.Context, Revocation) error {
	if list == nil {
		return nil
	}
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

var errNoTokenID = errors.New("the access token has no jti by which it could be refused; have the provider add one")

// A denier hands revocations to Config.Revoke.
type denier struct {
	revoke func(context.Context, Revocation) error // nil if access tokens cannot be revoked
	logger *slog.Logger
}

// session denies the access tokens of a session that has ended. An error is
// logged: the logout goes on. A token for another audience need not have a jti.
func (d denier) session(ctx context.Context, s *session.Session) {
	_ = d.deny(ctx, Revocation{Issuer: s.Issuer, TokenID: token.ID(s.Data.Tokens.Access), Until: s.Data.Tokens.ExpiresAt})
	for _, t := range s.Data.Routes {
		if id := token.ID(t.Access); id != "" {
			_ = d.deny(ctx, Revocation{Issuer: s.Issuer, TokenID: id, Until: t.ExpiresAt})
		}
	}
}

// target denies the access tokens of a revocation's target.
func (d denier) target(ctx context.Context, t revocation.Target) error {
	return d.deny(ctx, Revocation{Issuer: t.Issuer, SessionID: t.SessionID, Subject: t.Subject, At: t.DecidedAt})
}

func (d denier) deny(ctx context.Context, r Revocation) error {
	if d.revoke == nil {
		return nil
	}
	err := errNoTokenID
	if r.TokenID != "" || r.SessionID != "" || r.Subject != "" {
		err = d.revoke(ctx, r)
	}
	if err != nil {
		d.logger.ErrorContext(ctx, "access tokens not revoked; they are valid until they expire", "err", err)
	}
	return err
}
