package gatehouse

import (
	"context"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// A denier is what the server asks and the bff tells: which access tokens
// must not be good any more.
type denier interface {
	DenyToken(ctx context.Context, issuer, jti string, until time.Time) error
	DenySession(ctx context.Context, issuer, sid string, until time.Time) error
	DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error
	Revoked(ctx context.Context, key *authn.RevocationKey) error
	Changed() <-chan struct{}
	Run(ctx context.Context) error
	Ready() error
	Close()
}

// openDenylist opens what GATEHOUSE_DENYLIST names, which the validation has
// found to be one of these; nil for none.
func openDenylist(ctx context.Context, cfg config) (denier, error) {
	switch {
	case cfg.Denylist == "":
		return nil, nil
	case cfg.Denylist == "memory:":
		list, err := denylist.New(denylist.Config{})
		return local{list}, err
	}
	list, err := redis.Open(ctx, redis.Config{URL: cfg.Denylist, Logger: cfg.Logger.With("part", "denylist")})
	if err != nil {
		return nil, settingError("GATEHOUSE_DENYLIST", cfg.Denylist, err.Error(), "start it, or correct the address")
	}
	return list, nil
}

// denylistProblem says what is wrong with a GATEHOUSE_DENYLIST.
func denylistProblem(value string, parts partSet) (problem, remedy string) {
	switch {
	case value == "" || strings.HasPrefix(value, "redis://") || strings.HasPrefix(value, "rediss://"):
		return "", ""
	case value != "memory:":
		return "no such denylist", "give memory: or redis://HOST:PORT"
	case !(parts.BFF && parts.Server):
		return "memory: is of one process alone, and bff and server run apart", "give redis://HOST:PORT to both"
	}
	return "", ""
}

// revoke tells a denylist what the bff has learnt.
func revoke(list denier) func(context.Context, bff.Revocation) error {
	return func(ctx context.Context, r bff.Revocation) error {
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

// local is a denylist of this process, which asks nobody and so takes no
// context.
type local struct{ list *denylist.List }

func (l local) DenyToken(_ context.Context, issuer, jti string, until time.Time) error {
	return l.list.DenyToken(issuer, jti, until)
}

func (l local) DenySession(_ context.Context, issuer, sid string, until time.Time) error {
	return l.list.DenySession(issuer, sid, until)
}

func (l local) DenySubject(_ context.Context, issuer, sub string, at, until time.Time) error {
	return l.list.DenySubject(issuer, sub, at, until)
}

func (l local) Revoked(ctx context.Context, key *authn.RevocationKey) error {
	return l.list.Revoked(ctx, key)
}

func (l local) Changed() <-chan struct{} { return l.list.Changed() }

func (l local) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (l local) Ready() error { return nil }

func (l local) Close() {}
