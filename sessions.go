package gatehouse

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
	"github.com/gatehouse-dev/gatehouse/gateway"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/server/sessionadmin"
)

// sharesSessions reports whether the session store is one that several
// processes can open, so that a server by itself can look after sessions too.
func (cfg config) sharesSessions() bool {
	return cfg.SessionStore != "memory:" && !strings.HasPrefix(cfg.SessionStore, "sqlite:")
}

// exposedAdmin is the operator's service for the gateway.
var exposedAdmin = gateway.Expose(sessionadminv1.NewSessionAdminServiceClient, sessionadminv1.RegisterSessionAdminServiceHandlerClient, "gatehouse.sessionadmin.v1.SessionAdminService")

// registerAdmin registers the operator's service, which is of Gatehouse
// itself and so stands in no list.
func (p *parts) registerAdmin(cfg config, r grpc.ServiceRegistrar) {
	admin := sessionadmin.Config{Issuer: cfg.Issuer, Logger: cfg.Logger.With("part", "server")}
	if p.store != nil {
		admin.Sessions = newOperated(p.store, p.denylist)
	}
	sessionadminv1.RegisterSessionAdminServiceServer(r, sessionadmin.New(admin))
}

// operated is a session store as the operator's service wants it.
type operated struct {
	store   session.Store
	index   session.Index
	revoker *revocation.Revoker
	now     func() time.Time
}

// newOperated takes nil for no denylist.
func newOperated(store revocation.Store, denylist denier) *operated {
	cfg := revocation.Config{Store: store}
	if denylist != nil {
		cfg.Deny = func(ctx context.Context, t revocation.Target) error {
			return denylist.DenySubject(ctx, t.Issuer, t.Subject, t.DecidedAt, time.Time{})
		}
	}
	return &operated{store: store, index: session.IndexOf(store), revoker: revocation.New(cfg), now: time.Now}
}

var _ sessionadmin.Sessions = (*operated)(nil)

func (o *operated) List(ctx context.Context, cursor string, limit int) ([]sessionadmin.Session, string, error) {
	page, next, err := o.store.List(ctx, cursor, limit)
	if errors.Is(err, session.ErrCursor) {
		err = sessionadmin.ErrCursor
	}
	return seen(page), next, err
}

func (o *operated) OfSubject(ctx context.Context, issuer, subject string) ([]sessionadmin.Session, error) {
	records, err := o.index.ListBySubject(ctx, issuer, subject)
	return seen(records), err
}

func (o *operated) End(ctx context.Context, key sessionadmin.Key) (bool, error) {
	err := o.store.Delete(ctx, session.ID(key), session.ReasonOperator)
	if errors.Is(err, session.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// EndOfSubject revokes everything of the person, logins in progress too.
func (o *operated) EndOfSubject(ctx context.Context, issuer, subject string) (int, error) {
	ended, err := o.revoker.Revoke(ctx, revocation.Target{Issuer: issuer, Subject: subject, DecidedAt: o.now()}, session.ReasonOperator)
	return len(ended), err
}

func seen(records []session.Record) []sessionadmin.Session {
	sessions := make([]sessionadmin.Session, len(records))
	for i := range records {
		r := &records[i]
		sessions[i] = sessionadmin.Session{
			Key: sessionadmin.Key(r.ID), Handle: r.ID.String(),
			Issuer: r.Issuer, Subject: r.Subject, SID: r.SID,
			CreatedAt: r.CreatedAt, LastSeenAt: r.LastSeenAt, IdleExpiresAt: r.IdleExpiresAt, ExpiresAt: r.ExpiresAt,
			UserAgent: r.UserAgent, Address: r.Address,
		}
	}
	return sessions
}
