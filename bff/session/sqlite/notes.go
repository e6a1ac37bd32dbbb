package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// AddNote implements [session.NoteStore].
func (s *Store) AddNote(ctx context.Context, n session.Note) (bool, error) {
	err := s.exec(ctx, `INSERT INTO session_notes (kind, key, value, due_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT DO UPDATE SET value = ?3, count = 0, due_at = ?4, expires_at = ?5 WHERE expires_at <= ?6`,
		n.Kind, n.Key, notNil(n.Value), millis(n.DueAt), n.ExpiresAt.UnixMilli(), s.now().UnixMilli())
	if errors.Is(err, session.ErrNotFound) { // no row changed
		return false, nil
	}
	return err == nil, err
}

// PutNote implements [session.NoteStore].
func (s *Store) PutNote(ctx context.Context, n session.Note) error {
	return s.exec(ctx, `INSERT INTO session_notes (kind, key, value, due_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT DO UPDATE SET value = ?3, count = 0, due_at = ?4, expires_at = ?5`,
		n.Kind, n.Key, notNil(n.Value), millis(n.DueAt), n.ExpiresAt.UnixMilli())
}

// CountNote implements [session.NoteStore].
func (s *Store) CountNote(ctx context.Context, kind, key string, expires time.Time) (count int64, err error) {
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO session_notes (kind, key, value, count, expires_at) VALUES (?1, ?2, x'', 1, ?3)
			ON CONFLICT DO UPDATE SET
				count = CASE WHEN expires_at <= ?4 THEN 1 ELSE count + 1 END,
				expires_at = CASE WHEN expires_at <= ?4 THEN ?3 ELSE expires_at END
			RETURNING count`, kind, key, expires.UnixMilli(), s.now().UnixMilli()).Scan(&count)
	})
	return count, err
}

const noteColumns = "kind, key, value, due_at, expires_at"

// GetNote implements [session.NoteStore].
func (s *Store) GetNote(ctx context.Context, kind, key string) (session.Note, error) {
	n, err := scanNote(s.reads.QueryRowContext(ctx, "SELECT "+noteColumns+" FROM session_notes WHERE kind = ? AND key = ? AND expires_at > ?",
		kind, key, s.now().UnixMilli()))
	return n, outage(notFound(err))
}

// TakeNote implements [session.NoteStore].
func (s *Store) TakeNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		n, err = scanNote(tx.QueryRowContext(ctx, "DELETE FROM session_notes WHERE kind = ? AND key = ? AND expires_at > ? RETURNING "+noteColumns,
			kind, key, s.now().UnixMilli()))
		return notFound(err)
	})
	return n, err
}

// DueNotes implements [session.NoteStore].
func (s *Store) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT "+noteColumns+` FROM session_notes
		WHERE kind = ?1 AND due_at > 0 AND due_at <= ?2 AND expires_at > ?2 ORDER BY due_at, key LIMIT ?3`, kind, s.now().UnixMilli(), limit)
	if err != nil {
		return nil, outage(err)
	}
	defer rows.Close()
	var due []session.Note
	for rows.Next() {
		n, err := scanNote(rows)
		if err != nil {
			return nil, outage(err)
		}
		due = append(due, n)
	}
	if err := rows.Err(); err != nil {
		return nil, outage(err)
	}
	return due, nil
}

func scanNote(row scanner) (n session.Note, err error) {
	var due, expires int64
	if err := row.Scan(&n.Kind, &n.Key, &n.Value, &due, &expires); err != nil {
		return session.Note{}, err
	}
	if due != 0 {
		n.DueAt = time.UnixMilli(due).UTC()
	}
	n.ExpiresAt = time.UnixMilli(expires).UTC()
	return n, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
