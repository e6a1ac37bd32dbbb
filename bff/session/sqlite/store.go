package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/rows"
)

var errClosed = errors.New("sqlite session store: closed")

const (
	// endsAt is when a session ends. It has an index.
	endsAt = "min(idle_expires, expires_at)"
	// live is the condition for a live session. Its parameter is the time.
	live = endsAt + " > ?"
)

// Create implements [session.Store].
func (s *Store) Create(ctx context.Context, r session.Record, replaces session.ID) (err error) {
	now := s.now()
	if !replaces.IsZero() {
		defer func() { s.publish(replaces, true, session.ReasonReplaced, err) }()
	}
	return s.transaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.StmtContext(ctx, s.makeRoom).ExecContext(ctx, replaces[:], r.ID[:], now.UnixMilli()); err != nil {
			return err
		}
		result, err := tx.StmtContext(ctx, s.insert).ExecContext(ctx, rows.Values(&r)...)
		return orElse(session.ErrExists, result, err)
	})
}

// Get implements [session.Store].
func (s *Store) Get(ctx context.Context, id session.ID) (session.Record, error) {
	now := s.now()
	if s.closed.Load() {
		return session.Record{}, errClosed
	}
	if s.peers.quiet(ctx, now, s.forget) {
		// Another process may have extended one that looks expired: the file decides.
		if r, ok := s.records.Get(id); ok && !r.Expired(now) {
			return r, nil
		}
	}
	stamp := s.records.Stamp(id)
	row := s.get.QueryRowContext(ctx, id[:], now.UnixMilli())
	var r session.Record
	if err := rows.Scan(row, &r, &r.Sealed); err != nil {
		return session.Record{}, outage(rows.NotFound(err))
	}
	s.records.Put(id, r, stamp)
	return r, nil
}

// Touch implements [session.Store].
func (s *Store) Touch(ctx context.Context, id session.ID, lastSeen,
	idleExpires time.Time) (err error) {
	defer func() { s.publish(id, false, 0, err) }()
	return s.exec(ctx, `UPDATE sessions SET
		idle_expires = CASE WHEN last_seen_at < ?2 THEN ?3 ELSE idle_expires END,
		last_seen_at = max(last_seen_at, ?2)
		WHERE id = ?1 AND min(idle_expires, expires_at) > ?4`,
		id[:], lastSeen.UnixMilli(), idleExpires.UnixMilli(), s.now().UnixMilli())
}

// Lock implements [session.Store].
func (s *Store) Lock(ctx context.Context, id session.ID,
	lease time.Duration) (f session.Fence, err error) {
	// The last holder may have been another process.
	defer s.records.Drop(id)
	err = s.withLock(ctx, id, func(tx *sql.Tx, newest session.Fence, until, now time.Time) error {
		if now.Before(until) {
			return &session.LockedError{Until: until}
		}
		f = newest + 1
		_, err := tx.ExecContext(ctx,
			"UPDATE sessions SET fence = ?, locked_until = ? WHERE id = ?",
			int64(f), now.Add(lease).UnixMilli(), id[:])
		return err
	})
	if err != nil {
		return 0, err
	}
	return f, nil
}

// Renew implements [session.Store].
func (s *Store) Renew(ctx context.Context, id session.ID, f session.Fence,
	lease time.Duration) error {
	return s.fenced(ctx, id, f, true, "locked_until = ?", s.now().Add(lease).UnixMilli())
}

// Write implements [session.Store].
func (s *Store) Write(ctx context.Context, id session.ID, f session.Fence,
	sealed []byte) (err error) {
	defer func() { s.publish(id, false, 0, err) }()
	return s.fenced(ctx, id, f, false, "sealed = ?, locked_until = 0", rows.NotNil(sealed))
}

// Unlock implements [session.Store].
func (s *Store) Unlock(ctx context.Context, id session.ID, f session.Fence) error {
	return s.fenced(ctx, id, f, false, "locked_until = 0")
}

// fenced changes a live session if the fence is the newest granted and, with held, the lock was not
// released.
func (s *Store) fenced(ctx context.Context, id session.ID, f session.Fence, held bool, set string,
	args ...any) error {
	return s.withLock(ctx, id, func(tx *sql.Tx, newest session.Fence, until, _ time.Time) error {
		if f == 0 || f != newest || held && until.UnixMilli() == 0 { // 0: released
			return session.ErrFenced
		}
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET "+set+" WHERE id = ?",
			append(args, id[:])...)
		return err
	})
}

// withLock runs do with the state of a live session's lock, in a write transaction.
func (s *Store) withLock(ctx context.Context, id session.ID,
	do func(tx *sql.Tx, newest session.Fence, until, now time.Time) error) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		now := s.now()
		var fence, until int64
		err := tx.QueryRowContext(ctx,
			"SELECT fence, locked_until FROM sessions WHERE id = ? AND "+live, id[:], now.UnixMilli()).
			Scan(&fence, &until)
		if err != nil {
			return rows.NotFound(err)
		}
		return do(tx, session.Fence(fence), time.UnixMilli(until).UTC(), now)
	})
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID, why session.Reason) (err error) {
	defer func() { s.publish(id, true, why, err) }()
	return s.exec(ctx, "DELETE FROM sessions WHERE id = ? AND "+live, id[:], s.now().UnixMilli())
}

// DeleteBySID implements [session.Index].
func (s *Store) DeleteBySID(ctx context.Context, issuer, sid string,
	why session.Reason) ([]session.ID, error) {
	// sid <> '' excludes sessions without a sid, and lets SQLite use the partial index.
	return s.deleteWhere(ctx, why, "issuer = ? AND sid = ? AND sid <> ''", issuer, sid)
}

// DeleteBySubject implements [session.Index].
func (s *Store) DeleteBySubject(ctx context.Context, issuer, subject string,
	why session.Reason) ([]session.ID, error) {
	return s.deleteWhere(ctx, why, "issuer = ? AND subject = ?", issuer, subject)
}

func (s *Store) deleteWhere(ctx context.Context, why session.Reason, where string,
	args ...any) (ended []session.ID, err error) {
	now := s.now().UnixMilli()
	var ids []session.ID
	defer func() {
		for _, id := range ids {
			s.publish(id, true, why, err)
		}
	}()
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		deleted, err := tx.QueryContext(ctx,
			"DELETE FROM sessions WHERE "+where+" RETURNING id, "+endsAt, args...)
		if err != nil {
			return err
		}
		defer deleted.Close()
		for deleted.Next() {
			var key []byte
			var end int64
			if err := deleted.Scan(&key, &end); err != nil {
				return err
			}
			id, err := rows.ID(key)
			if err != nil {
				return err
			}
			ids = append(ids, id)
			if end > now {
				ended = append(ended, id)
			}
		}
		return deleted.Err()
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// batch bounds how long a sweep makes other writers wait.
const batch = 500

// DeleteExpired implements [session.Sweeper].
func (s *Store) DeleteExpired(ctx context.Context) (int, error) {
	if err := s.exec(ctx, "DELETE FROM session_notes WHERE expires_at <= ?", s.now().UnixMilli()); err != nil && !session.IsAnswer(err) {
		return 0, err
	}
	total := 0
	for {
		var n int64
		err := s.transaction(ctx, func(tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx,
				"DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE min(idle_expires, expires_at) <= ? LIMIT ?)",
				s.now().UnixMilli(), batch)
			if err != nil {
				return err
			}
			n, err = result.RowsAffected()
			return err
		})
		if err != nil {
			return total, err
		}
		total += int(n)
		if n < batch {
			return total, nil
		}
	}
}

// transaction runs do in an immediate transaction: no other writer comes between its reads and
// writes.
func (s *Store) transaction(ctx context.Context, do func(tx *sql.Tx) error) error {
	return s.peers.writing(ctx, func() error {
		tx, err := s.writes.BeginTx(ctx, nil)
		if err != nil {
			return outage(err)
		}
		if err := do(tx); err != nil {
			_ = tx.Rollback()
			return outage(err)
		}
		return outage(tx.Commit())
	})
}

// query is [rows.Tables.Query].
func (s *Store) query(ctx context.Context, mode rows.Mode, read func(rows.Rows) error,
	statement string, args ...any) error {
	pool := s.writes
	if mode == rows.Read {
		pool = s.reads
	}
	prepared, err := s.prepared(ctx, pool, statement)
	if err != nil {
		return outage(err)
	}
	ask := func(stmt *sql.Stmt) error {
		answer, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer answer.Close()
		if err := read(answer); err != nil {
			return err
		}
		return answer.Err()
	}
	if mode == rows.Read {
		return outage(ask(prepared))
	}
	return s.transaction(ctx, func(tx *sql.Tx) error { return ask(tx.StmtContext(ctx, prepared)) })
}

// prepared returns a statement of [rows.Tables], whose texts are constants. A transaction holds the
// only connection that writes, so it is prepared before.
func (s *Store) prepared(ctx context.Context, pool *sql.DB, statement string) (*sql.Stmt, error) {
	if known, ok := s.statements.Load(statement); ok {
		return known.(*sql.Stmt), nil
	}
	stmt, err := pool.PrepareContext(ctx, strings.ReplaceAll(statement, "$", "?"))
	if err != nil {
		return nil, err
	}
	known, found := s.statements.LoadOrStore(statement, stmt)
	if found {
		_ = stmt.Close()
	}
	return known.(*sql.Stmt), nil
}

// exec runs a statement that changes one live session.
func (s *Store) exec(ctx context.Context, statement string, args ...any) error {
	return s.peers.writing(ctx, func() error {
		result, err := s.writes.ExecContext(ctx, statement, args...)
		return outage(orElse(session.ErrNotFound, result, err))
	})
}

// orElse returns the error of a statement, or none if it changed no row.
func orElse(none error, result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}

// outage adds where an error comes from, unless it is an answer.
func outage(err error) error {
	if err == nil || session.IsAnswer(err) {
		return err
	}
	return fmt.Errorf("sqlite session store: %w", err)
}
