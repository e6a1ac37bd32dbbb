package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Touch records that the session is used, which extends its idle timeout. It writes if a twentieth
// of the idle timeout, or 5 minutes, have passed since the last write; during a write, other calls
// for the session return at once. It returns [ErrNotFound] if the session has ended, and updates s.
func (m *Manager) Touch(ctx context.Context, s *Session) error {
	used, err := m.Use(ctx, s)
	if err == nil && used != s {
		s.LastSeenAt, s.IdleExpiresAt = used.LastSeenAt, used.IdleExpiresAt
	}
	return err
}

// Use is Touch for a session that other requests may have too: it returns s, or a changed copy.
func (m *Manager) Use(ctx context.Context, s *Session) (*Session, error) {
	now := m.now()
	if now.Sub(s.LastSeenAt) < min(m.idle/touchParts, maxTouchInterval) {
		return s, nil
	}
	if _, busy := m.touching.LoadOrStore(s.ID, nil); busy {
		return s, nil
	}
	defer m.touching.Delete(s.ID)
	idle := earliest(now.Add(m.idle), s.ExpiresAt)
	if end := s.Data.Tokens.end(); end.After(now) {
		idle = earliest(idle, end)
	}
	err := m.store.Touch(ctx, s.ID, now, idle)
	note(ctx, m.writes, err)
	if err != nil {
		return s, storeError("touch", err)
	}
	used := *s
	used.LastSeenAt, used.IdleExpiresAt = now, idle
	return &used, nil
}

// TimeLeft returns how long the session lasts if it is not used, and how long at most. Neither is
// negative, and the first is not more than the second. It does not extend the session.
func (m *Manager) TimeLeft(s *Session) (idle, absolute time.Duration) {
	now := m.now()
	idleEnd, latest := s.Ends()
	return max(idleEnd.Sub(now), 0), max(latest.Sub(now), 0)
}

// End ends the session. It is no error if it has ended already.
func (m *Manager) End(ctx context.Context, s *Session, why Reason) error {
	err := m.EndByID(ctx, s.ID, why)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// EndByID ends a session that [Manager.List] has returned. It returns [ErrNotFound] if there was
// none.
func (m *Manager) EndByID(ctx context.Context, id ID, why Reason) error {
	// Dropped after an error too: then the next request asks the store.
	defer m.opened.Drop(id)
	return storeError("delete", m.store.Delete(ctx, id, why))
}

// EndBySID ends the sessions that the provider knows by a sid, with ReasonProvider, and returns
// them. The empty sid names none.
func (m *Manager) EndBySID(ctx context.Context, issuer, sid string) ([]ID, error) {
	ids, err := m.index.DeleteBySID(ctx, issuer, sid, ReasonProvider)
	return m.ended(ids), storeError("delete by sid", err)
}

// EndBySubject ends all sessions of a subject and returns them.
func (m *Manager) EndBySubject(ctx context.Context, issuer, subject string,
	why Reason) ([]ID, error) {
	ids, err := m.index.DeleteBySubject(ctx, issuer, subject, why)
	return m.ended(ids), storeError("delete by subject", err)
}

func (m *Manager) ended(ids []ID) []ID {
	for _, id := range ids {
		m.opened.Drop(id)
	}
	return ids
}

// List returns the sessions of a subject, newest first, without Sealed.
func (m *Manager) List(ctx context.Context, issuer, subject string) ([]Record, error) {
	records, err := m.index.ListBySubject(ctx, issuer, subject)
	return records, storeError("list", err)
}

// CookieValue returns the cookie value of a request, for [NewSession.Replaces], or "" if it is
// missing or malformed. It opens a session and must not be logged.
func (m *Manager) CookieValue(r *http.Request) string {
	value, ok, _ := m.jar.find(r)
	if !ok {
		return ""
	}
	return value.encode()
}

// Join announces this process to the others of its store, and seals from then on with the newest
// secret that all of them have. It returns a [*NoSharedSecretError] if they have none of its
// secrets. Call it before serving requests; otherwise [Manager.Run] does so. It is no error if the
// store does not answer: Run tries again.
func (m *Manager) Join(ctx context.Context) error { return m.nodes.join(ctx) }

// Run announces this process to the others of its store, removes expired sessions every
// 5 minutes, and follows the store's feed for [Manager.Watch], until the context ends. Then it
// returns nil; its only error is that of [Manager.Join]. Failures of the store are logged and
// retried. While the feed is broken, the store is asked about watched sessions.
func (m *Manager) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return m.nodes.run(running) })
	if feed, ok := m.store.(Watcher); ok {
		group.Go(func() error { m.hub.subscribe(running, feed); return nil })
	}
	group.Go(func() error { m.hub.run(running); return nil })
	if store, ok := m.store.(Sweeper); ok {
		group.Go(func() error { m.removeExpired(running, store); return nil })
	}
	return group.Wait()
}

// removeExpired sweeps until the context ends.
func (m *Manager) removeExpired(ctx context.Context, store Sweeper) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		n, err := store.DeleteExpired(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.log.LogAttrs(ctx, slog.LevelWarn, "expired sessions not removed",
				slog.String("err", err.Error()))
		case n > 0:
			m.log.LogAttrs(ctx, slog.LevelInfo, "expired sessions removed", slog.Int("sessions", n))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
