package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const noteColumns = "kind, key, value, due_at, expires_at"

// AddNote implements [session.NoteStore].
func (s *Store) AddNote(ctx context.Context, n session.Note) (added bool, err error) {
	err = s.do(ctx, false, func(ctx context.Context) error {
		done, err := s.pool.Exec(ctx, `INSERT INTO gatehouse_session_notes AS old (`+noteColumns+`) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind, key) DO UPDATE SET value = $3, count = 0, due_at = $4, expires_at = $5 WHERE old.expires_at <= $6`,
			n.Kind, n.Key, notNil(n.Value), millis(n.DueAt), n.ExpiresAt.UnixMilli(), s.now().UnixMilli())
		added = done.RowsAffected() > 0
		return err
	})
	return added && err == nil, err
}

// PutNote implements [session.NoteStore].
func (s *Store) PutNote(ctx context.Context, n session.Note) error {
	return s.do(ctx, true, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `INSERT INTO gatehouse_session_notes (`+noteColumns+`) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind, key) DO UPDATE SET value = $3, count = 0, due_at = $4, expires_at = $5`,
			n.Kind, n.Key, notNil(n.Value), millis(n.DueAt), n.ExpiresAt.UnixMilli())
		return err
	})
}

// CountNote implements [session.NoteStore].
func (s *Store) CountNote(ctx context.Context, kind, key string, expires time.Time) (count int64, err error) {
	err = s.do(ctx, false, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `INSERT INTO gatehouse_session_notes AS old (kind, key, value, count, expires_at) VALUES ($1, $2, '', 1, $3)
			ON CONFLICT (kind, key) DO UPDATE SET
				count = CASE WHEN old.expires_at <= $4 THEN 1 ELSE old.count + 1 END,
				expires_at = CASE WHEN old.expires_at <= $4 THEN $3 ELSE old.expires_at END
			RETURNING count`, kind, key, expires.UnixMilli(), s.now().UnixMilli()).Scan(&count)
	})
	return count, err
}

// GetNote implements [session.NoteStore].
func (s *Store) GetNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	err = s.do(ctx, true, func(ctx context.Context) error {
		n, err = scanNote(s.pool.QueryRow(ctx, "SELECT "+noteColumns+" FROM gatehouse_session_notes WHERE kind = $1 AND key = $2 AND expires_at > $3",
			kind, key, s.now().UnixMilli()))
		return notFound(err)
	})
	return n, err
}

// TakeNote implements [session.NoteStore].
func (s *Store) TakeNote(ctx context.Context, kind, key string) (n session.Note, err error) {
	err = s.do(ctx, false, func(ctx context.Context) error {
		n, err = scanNote(s.pool.QueryRow(ctx, "DELETE FROM gatehouse_session_notes WHERE kind = $1 AND key = $2 AND expires_at > $3 RETURNING "+noteColumns,
			kind, key, s.now().UnixMilli()))
		return notFound(err)
	})
	return n, err
}

// DueNotes implements [session.NoteStore].
func (s *Store) DueNotes(ctx context.Context, kind string, limit int) (due []session.Note, err error) {
	err = s.do(ctx, true, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, "SELECT "+noteColumns+` FROM gatehouse_session_notes
			WHERE kind = $1 AND due_at > 0 AND due_at <= $2 AND expires_at > $2 ORDER BY due_at, key LIMIT $3`, kind, s.now().UnixMilli(), limit)
		if err != nil {
			return err
		}
		due, err = pgx.AppendRows([]session.Note(nil), rows, func(row pgx.CollectableRow) (session.Note, error) { return scanNote(row) })
		return err
	})
	return due, err
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
