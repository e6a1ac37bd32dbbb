package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/rows"
)

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, r session.Record, replaces session.ID) error {
	now := s.now().UnixMilli()
	defer s.forget(r.ID)
	defer s.forget(replaces)
	return s.do(ctx, false, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			// An expired session with the ID is replaced.
			made, err := tx.Exec(ctx, `INSERT INTO gatehouse_sessions AS old (`+rows.Columns+`, sealed)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
				ON CONFLICT (id) DO UPDATE SET issuer = $2, subject = $3, sid = $4, created_at = $5, last_seen_at = $6, idle_expires = $7,
					expires_at = $8, user_agent = $9, address = $10, sealed = $11, fence = 0, locked_until = 0
				WHERE old.ends_at <= $12`,
				append(rows.Values(&r), now)...)
			if err != nil {
				return err
			}
			if made.RowsAffected() == 0 {
				return session.ErrExists
			}
			if replaces.IsZero() {
				return nil
			}
			_, err = tx.Exec(ctx, `WITH ended AS (DELETE FROM gatehouse_sessions WHERE id = $1 RETURNING id)
				SELECT `+toldEnded(session.ReasonReplaced)+` FROM ended`, replaces[:])
			return err
		})
	})
}

// Get implements [session.Store].
func (s *Store) Get(ctx context.Context, id session.ID) (session.Record, error) {
	if s.closed.Load() {
		return session.Record{}, errClosed
	}
	if s.feed.current() {
		// Another process may have extended one that looks expired: the database decides.
		if r, ok := s.records.Get(id); ok && !r.Expired(s.now()) {
			return r, nil
		}
	}
	return s.await(ctx, id)
}

// await reads a session, once for all concurrent callers. The read does not end with the context of
// the first caller, since others may wait for it.
func (s *Store) await(ctx context.Context, id session.ID) (session.Record, error) {
	read := s.reads.DoChan(string(id[:]), func() (any, error) { return s.read(context.WithoutCancel(ctx), id) })
	select {
	case <-ctx.Done():
		return session.Record{}, outage(ctx.Err())
	case answer := <-read:
		if answer.Err != nil {
			return session.Record{}, answer.Err
		}
		return answer.Val.(session.Record), nil
	}
}

func (s *Store) read(ctx context.Context, id session.ID) (r session.Record, err error) {
	stamp := s.records.Stamp(id)
	err = s.do(ctx, true, func(ctx context.Context) error {
		row := s.pool.QueryRow(ctx,
			"SELECT "+rows.Columns+", sealed FROM gatehouse_sessions WHERE id = $1 AND ends_at > $2",
			id[:], s.now().UnixMilli())
		return rows.NotFound(rows.Scan(row, &r, &r.Sealed))
	})
	if err != nil {
		return session.Record{}, err
	}
	s.records.Put(id, r, stamp)
	return r, nil
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) error {
	defer s.forget(id)
	return s.exec(ctx, true, session.ErrNotFound, nil, `WITH
			live AS (SELECT id FROM gatehouse_sessions WHERE id = $1 AND ends_at > $4 FOR UPDATE),
			moved AS (UPDATE gatehouse_sessions AS s SET last_seen_at = $2, idle_expires = $3
				FROM live WHERE s.id = live.id AND s.last_seen_at < $2 RETURNING s.id),
			told AS MATERIALIZED (SELECT `+toldChanged+` FROM moved)
		SELECT (SELECT count(*) FROM live), (SELECT count(*) FROM told)`,
		id[:], lastSeen.UnixMilli(), idleExpires.UnixMilli(), s.now().UnixMilli())
}

// Lock implements [session.Store].
func (s *Store) Lock(ctx context.Context, id session.ID,
	lease time.Duration) (f session.Fence, err error) {
	// The last holder may have been another process.
	defer s.forget(id)
	now := s.now()
	err = s.do(ctx, false, func(ctx context.Context) error {
		var fence *int64
		var until int64
		// The row is locked until the statement ends.
		err := s.pool.QueryRow(ctx, `WITH
				found AS (SELECT id, locked_until FROM gatehouse_sessions WHERE id = $1 AND ends_at > $2 FOR UPDATE),
				granted AS (UPDATE gatehouse_sessions AS s SET fence = fence + 1, locked_until = $3
					FROM found WHERE s.id = found.id AND found.locked_until <= $2 RETURNING s.fence)
			SELECT (SELECT fence FROM granted), locked_until FROM found`,
			id[:], now.UnixMilli(), now.Add(lease).UnixMilli()).Scan(&fence, &until)
		if err != nil {
			return rows.NotFound(err)
		}
		if fence == nil {
			return &session.LockedError{Until: time.UnixMilli(until).UTC()}
		}
		f = session.Fence(*fence)
		return nil
	})
	return f, err
}

// Renew implements [session.Store].
func (s *Store) Renew(ctx context.Context, id session.ID, f session.Fence,
	lease time.Duration) error {
	return s.fenced(ctx, id, f, "locked_until = $4", "s.locked_until > 0", "1",
		s.now().Add(lease).UnixMilli())
}

// Write implements [session.Store].
func (s *Store) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) error {
	defer s.forget(id)
	return s.fenced(ctx, id, f, "sealed = $4, locked_until = 0", "true", toldChanged,
		rows.NotNil(sealed))
}

// Unlock implements [session.Store].
func (s *Store) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	return s.fenced(ctx, id, f, "locked_until = 0", "true", "1")
}

// fenced changes a live session if the fence is the newest granted and a condition holds.
func (s *Store) fenced(ctx context.Context, id session.ID, f session.Fence, set, where, told string,
	args ...any) error {
	return s.exec(ctx, true, session.ErrNotFound, session.ErrFenced, `WITH
			live AS (SELECT id FROM gatehouse_sessions WHERE id = $1 AND ends_at > $2 FOR UPDATE),
			written AS (UPDATE gatehouse_sessions AS s SET `+set+`
				FROM live WHERE s.id = live.id AND s.fence = $3 AND $3 > 0 AND `+where+` RETURNING s.id),
			told AS MATERIALIZED (SELECT `+told+` FROM written)
		SELECT (SELECT count(*) FROM live), (SELECT count(*) FROM told)`,
		append([]any{id[:], s.now().UnixMilli(), int64(f)}, args...)...)
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID, why session.Reason) error {
	defer s.forget(id)
	return s.exec(ctx, false, session.ErrNotFound, nil, `WITH
			ended AS (DELETE FROM gatehouse_sessions WHERE id = $1 AND ends_at > $2 RETURNING id),
			told AS MATERIALIZED (SELECT `+toldEnded(why)+` FROM ended)
		SELECT (SELECT count(*) FROM ended), (SELECT count(*) FROM told)`, id[:], s.now().UnixMilli())
}

// DeleteBySID implements [session.Index].
func (s *Store) DeleteBySID(ctx context.Context, issuer, sid string,
	why session.Reason) ([]session.ID, error) {
	// sid <> '' excludes sessions without a sid, and lets PostgreSQL use the partial index.
	return s.deleteWhere(ctx, why, "issuer = $1 AND sid = $2 AND sid <> ''", issuer, sid)
}

// DeleteBySubject implements [session.Index].
func (s *Store) DeleteBySubject(ctx context.Context, issuer, subject string,
	why session.Reason) ([]session.ID, error) {
	return s.deleteWhere(ctx, why, "issuer = $1 AND subject = $2", issuer, subject)
}

// deleteWhere locks rows in the order of keys, so that two calls for the same sessions do not
// deadlock.
func (s *Store) deleteWhere(ctx context.Context, why session.Reason, where, issuer,
	value string) (ended []session.ID, err error) {
	if !rows.Storable(issuer, value) {
		return nil, nil
	}
	err = s.do(ctx, false, func(ctx context.Context) error {
		deleted, err := s.pool.Query(ctx, `WITH
				meant AS (SELECT id FROM gatehouse_sessions WHERE `+where+` ORDER BY id FOR UPDATE),
				ended AS (DELETE FROM gatehouse_sessions WHERE id IN (SELECT id FROM meant) RETURNING id, ends_at)
			SELECT id, ends_at > $3, `+toldEnded(why)+`::text FROM ended`, issuer, value, s.now().UnixMilli())
		if err != nil {
			return err
		}
		ended, err = pgx.AppendRows([]session.ID(nil), deleted, func(row pgx.CollectableRow) (id session.ID, err error) {
			var key []byte
			var live bool
			var told string
			if err := row.Scan(&key, &live, &told); err != nil {
				return id, err
			}
			if id, err = rows.ID(key); err == nil {
				s.forget(id)
			}
			if !live {
				return session.ID{}, err
			}
			return id, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ended {
		s.forget(id)
	}
	return slices.DeleteFunc(ended, session.ID.IsZero), nil
}

// batch bounds how many rows a sweep locks at a time.
const batch = 500

// DeleteExpired implements [session.Sweeper].
func (s *Store) DeleteExpired(ctx context.Context) (int, error) {
	if err := s.exec(ctx, true, nil, nil, `WITH
			over AS (SELECT kind, key FROM gatehouse_session_notes WHERE expires_at <= $1 LIMIT 10000 FOR UPDATE SKIP LOCKED),
			gone AS (DELETE FROM gatehouse_session_notes n USING over WHERE n.kind = over.kind AND n.key = over.key RETURNING 1)
		SELECT (SELECT count(*) FROM over), (SELECT count(*) FROM gone)`, s.now().UnixMilli()); err != nil {
		return 0, err
	}
	for total := 0; ; {
		var n int64
		err := s.do(ctx, true, func(ctx context.Context) error {
			done, err := s.pool.Exec(ctx, `DELETE FROM gatehouse_sessions WHERE id IN
				(SELECT id FROM gatehouse_sessions WHERE ends_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.now().UnixMilli(), batch)
			n = done.RowsAffected()
			return err
		})
		if total += int(n); err != nil || n < batch {
			return total, err
		}
	}
}

// query is [rows.Tables.Query].
func (s *Store) query(ctx context.Context, mode rows.Mode, read func(rows.Rows) error,
	statement string, args ...any) error {
	return s.do(ctx, mode != rows.Once, func(ctx context.Context) error {
		answer, err := s.pool.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		defer answer.Close()
		return read(answer)
	})
}

// exec runs a statement that selects how many rows it found and how many of them it changed. It
// returns none if it found none, and unchanged if it changed none.
func (s *Store) exec(ctx context.Context, repeatable bool, none, unchanged error, statement string,
	args ...any) error {
	return s.do(ctx, repeatable, func(ctx context.Context) error {
		var found, changed int64
		err := s.pool.QueryRow(ctx, statement, args...).Scan(&found, &changed)
		switch {
		case err != nil:
			return err
		case found == 0:
			return none
		case changed == 0:
			return unchanged
		}
		return nil
	})
}
