package account

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
)

const (
	// touchPause is how long after a failed write no use of sessions is
	// recorded, so that requests do not wait for a store that takes no writes.
	touchPause = time.Second
	// endTimeout bounds a call of the store outside a request.
	endTimeout = 10 * time.Second
)

// LookupConfig configures a Lookup. All fields are required.
type LookupConfig struct {
	Sessions *session.Manager
	// Expired reports whether the API would refuse an access token because of
	// its age.
	Expired func(session.Tokens) bool
	Now     func() time.Time
	Logger  *slog.Logger
	// Audit records sessions that have expired; nil for none.
	Audit *auditlog.Recorder
}

// A Lookup finds the sessions of requests and reports their ends. It is safe
// for concurrent use.
type Lookup struct {
	cfg         LookupConfig
	pausedUntil atomic.Int64 // Unix nanoseconds
}

// NewLookup returns a Lookup.
func NewLookup(cfg LookupConfig) *Lookup {
	return &Lookup{cfg: cfg}
}

// Current returns the session of a request without extending it. The error is
// session.ErrNotFound for a request without one. A session whose access token
// has expired and cannot be renewed has ended: its user must sign in again.
func (l *Lookup) Current(r *http.Request) (*session.Session, error) {
	s, err := l.cfg.Sessions.Find(r.Context(), r)
	if err != nil {
		return nil, err
	}
	if s.Data.Tokens.Refresh == "" && l.cfg.Expired(s.Data.Tokens) {
		// The session has ended whether the store records it or not.
		if err := l.expire(r.Context(), s); err != nil {
			l.cfg.Logger.DebugContext(r.Context(), "expired session not removed", "session", s, "err", err)
		}
		return nil, session.ErrNotFound
	}
	accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String(accesslog.SessionKey, s.Handle()))
	return s, nil
}

// expire ends a session whose access token has expired. It is no error if it has ended
// already.
func (l *Lookup) expire(ctx context.Context, s *session.Session) error {
	err := l.cfg.Sessions.EndByID(ctx, s.ID, session.ReasonExpired)
	if errors.Is(err, session.ErrNotFound) {
		return nil
	}
	if err == nil {
		l.cfg.Audit.Record(ctx, audit.Event{
			Action: audit.SessionEnded, Cause: audit.Expired, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(),
		})
	}
	return err
}

// Used is Current, and records that the session is in use. It succeeds although
// the store does not take the record.
func (l *Lookup) Used(r *http.Request) (*session.Session, error) {
	s, err := l.Current(r)
	if err != nil || l.cfg.Now().UnixNano() < l.pausedUntil.Load() {
		return s, err
	}
	s, err = l.cfg.Sessions.Use(r.Context(), s)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, err
	case err != nil && r.Context().Err() == nil:
		l.pausedUntil.Store(l.cfg.Now().Add(touchPause).UnixNano()) // the sessions log the outage
	}
	return s, nil
}

// OnEnd calls f when the session ends: at this node or another, by logout or by
// time. f may be called twice. stop ends that and frees what it takes.
func (l *Lookup) OnEnd(s *session.Session, f func()) (stop func()) {
	changes, stop := l.cfg.Sessions.Watch(s)
	stopTimer := l.endWithToken(s, f)
	go func() {
		defer stopTimer()
		for c := range changes {
			if c.Ended {
				f()
				return
			}
		}
	}()
	return stop
}

// endWithToken ends a session when its access token expires, if that cannot be
// renewed, and then calls f.
func (l *Lookup) endWithToken(s *session.Session, f func()) (stop func()) {
	t := s.Data.Tokens
	if t.Refresh != "" || t.ExpiresAt.IsZero() {
		return func() {}
	}
	timer := time.AfterFunc(t.ExpiresAt.Sub(l.cfg.Now()), func() {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		if err := l.expire(ctx, s); err != nil {
			l.cfg.Logger.DebugContext(ctx, "expired session not ended; its next request will end it", "session", s, "err", err)
		}
		f()
	})
	return func() { timer.Stop() }
}
