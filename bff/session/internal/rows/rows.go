// Package rows owns what the SQL stores have in common: how sessions and notes are laid out in
// columns, and the statements that are the same in SQLite and PostgreSQL. Connections, transactions
// and locks are left to the stores.
package rows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Columns are the columns of a session except sealed, in the order of [Scan] and [Values].
const Columns = "id, issuer, subject, sid, created_at, last_seen_at, idle_expires, expires_at, user_agent, address"

const noteColumns = "kind, key, value, due_at, expires_at"

// A Scanner is a row.
type Scanner interface{ Scan(dest ...any) error }

// Rows are the rows of an answer, as *sql.Rows and pgx.Rows have them.
type Rows interface {
	Scanner
	Next() bool
	Err() error
}

// Scan reads a session from Columns, and more from those that follow.
func Scan(row Scanner, r *session.Record, more ...any) error {
	var key []byte
	var created, seen, idle, end int64
	dest := append([]any{&key, &r.Issuer, &r.Subject, &r.SID, &created, &seen, &idle, &end,
		&r.UserAgent, &r.Address}, more...)
	err := row.Scan(dest...)
	if err != nil {
		return err
	}
	if r.ID, err = ID(key); err != nil {
		return err
	}
	r.CreatedAt, r.LastSeenAt = time.UnixMilli(created).UTC(), time.UnixMilli(seen).UTC()
	r.IdleExpiresAt, r.ExpiresAt = time.UnixMilli(idle).UTC(), time.UnixMilli(end).UTC()
	return nil
}

// Values are the values of Columns and of sealed.
func Values(r *session.Record) []any {
	return []any{
		r.ID[:], r.Issuer, r.Subject, r.SID, r.CreatedAt.UnixMilli(), r.LastSeenAt.UnixMilli(),
		r.IdleExpiresAt.UnixMilli(), r.ExpiresAt.UnixMilli(), r.UserAgent, r.Address, NotNil(r.Sealed),
	}
}

// ID returns the ID in the column id.
func ID(key []byte) (session.ID, error) {
	if len(key) != len(session.ID{}) {
		return session.ID{}, fmt.Errorf("session key of %d bytes", len(key))
	}
	return session.ID(key), nil
}

// NotFound returns ErrNotFound for a statement without rows, by either driver.
func NotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return session.ErrNotFound
	}
	return err
}

// NotNil returns b, or an empty slice for nil, which would be stored as NULL.
func NotNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Storable reports whether PostgreSQL can store the texts. It refuses a query for others, and a
// browser may ask for any.
func Storable(texts ...string) bool {
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return false
		}
	}
	return true
}

// A Mode says what a statement does and whether it may run twice, after a lost connection.
type Mode int

// The modes.
const (
	Read       Mode = iota
	Repeatable      // writes
	Once            // writes, and must not run twice
)

// Tables implements the part of a store that is the same in SQLite and PostgreSQL.
type Tables struct {
	// Sessions and Notes are the names of the tables, and EndsAt is the expression for when a
	// session ends.
	Sessions, Notes, EndsAt string
	// Query runs a statement, whose parameters are $1, $2 and so on, and calls read with the rows,
	// once for each attempt.
	Query func(ctx context.Context, mode Mode, read func(Rows) error, statement string, args ...any) error
	// Now is the clock.
	Now func() time.Time
}

// ListBySubject implements [session.Index].
func (t *Tables) ListBySubject(ctx context.Context, issuer,
	subject string) ([]session.Record, error) {
	if !Storable(issuer, subject) {
		return nil, nil
	}
	return t.list(ctx, "issuer = $1 AND subject = $2 AND "+t.EndsAt+" > $3 ORDER BY created_at DESC, id",
		issuer, subject, t.Now().UnixMilli())
}

// List implements [session.Store].
func (t *Tables) List(ctx context.Context, cursor string,
	limit int) ([]session.Record, string, error) {
	last, err := session.ParseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	// One more than asked for tells whether there is another page.
	page, err := t.list(ctx, "id > $1 AND "+t.EndsAt+" > $2 ORDER BY id LIMIT $3", last[:],
		t.Now().UnixMilli(), limit+1)
	if err != nil || len(page) <= limit {
		return page, "", err
	}
	page = page[:limit]
	return page, session.Cursor(page[limit-1].ID), nil
}

func (t *Tables) list(ctx context.Context, where string, args ...any) ([]session.Record, error) {
	return collect(ctx, t, Read, func(row Scanner) (r session.Record, err error) {
		err = Scan(row, &r)
		return r, err
	}, "SELECT "+Columns+" FROM "+t.Sessions+" WHERE "+where, args...)
}

// collect runs a statement and returns what scan makes of its rows.
func collect[T any](ctx context.Context, t *Tables, mode Mode, scan func(Scanner) (T, error),
	statement string, args ...any) (all []T, err error) {
	err = t.Query(ctx, mode, func(rows Rows) error {
		all = nil
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		return rows.Err()
	}, statement, args...)
	return all, err
}

// AddNote implements [session.NoteStore].
func (t *Tables) AddNote(ctx context.Context, n session.Note) (added bool, err error) {
	made, err := collect(ctx, t, Once, scanNumber, t.insert(`($1, $2, $3, $4, $5) ON CONFLICT (kind, key)
		DO UPDATE SET value = $3, count = 0, due_at = $4, expires_at = $5 WHERE old.expires_at <= $6 RETURNING 1`),
		append(noteValues(n), t.Now().UnixMilli())...)
	return len(made) > 0 && err == nil, err
}

// PutNote implements [session.NoteStore].
func (t *Tables) PutNote(ctx context.Context, n session.Note) error {
	_, err := collect(ctx, t, Repeatable, scanNumber, t.insert(`($1, $2, $3, $4, $5) ON CONFLICT (kind, key)
		DO UPDATE SET value = $3, count = 0, due_at = $4, expires_at = $5`), noteValues(n)...)
	return err
}

// CountNote implements [session.NoteStore].
func (t *Tables) CountNote(ctx context.Context, kind, key string,
	expires time.Time) (int64, error) {
	return one(collect(ctx, t, Once, scanNumber,
		`INSERT INTO `+t.Notes+` AS old (kind, key, value, count, expires_at) VALUES ($1, $2, $3, 1, $4)
		ON CONFLICT (kind, key) DO UPDATE SET
			count = CASE WHEN old.expires_at <= $5 THEN 1 ELSE old.count + 1 END,
			expires_at = CASE WHEN old.expires_at <= $5 THEN $4 ELSE old.expires_at END
		RETURNING count`, kind, key, []byte{}, expires.UnixMilli(), t.Now().UnixMilli()))
}

// GetNote implements [session.NoteStore].
func (t *Tables) GetNote(ctx context.Context, kind, key string) (session.Note, error) {
	return one(collect(ctx, t, Read, scanNote,
		"SELECT "+noteColumns+" FROM "+t.Notes+" WHERE kind = $1 AND key = $2 AND expires_at > $3",
		kind, key, t.Now().UnixMilli()))
}

// TakeNote implements [session.NoteStore].
func (t *Tables) TakeNote(ctx context.Context, kind, key string) (session.Note, error) {
	return one(collect(ctx, t, Once, scanNote,
		"DELETE FROM "+t.Notes+" WHERE kind = $1 AND key = $2 AND expires_at > $3 RETURNING "+noteColumns,
		kind, key, t.Now().UnixMilli()))
}

// DueNotes implements [session.NoteStore].
func (t *Tables) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	return collect(ctx, t, Read, scanNote, "SELECT "+noteColumns+" FROM "+t.Notes+`
		WHERE kind = $1 AND due_at > 0 AND due_at <= $2 AND expires_at > $2 ORDER BY due_at, key LIMIT $3`,
		kind, t.Now().UnixMilli(), limit)
}

func (t *Tables) insert(values string) string {
	return "INSERT INTO " + t.Notes + " AS old (" + noteColumns + ") VALUES " + values
}

// one returns the only row, or ErrNotFound.
func one[T any](all []T, err error) (T, error) {
	if err == nil && len(all) == 0 {
		err = session.ErrNotFound
	}
	if err != nil {
		return *new(T), err
	}
	return all[0], nil
}

func noteValues(n session.Note) []any {
	due := int64(0)
	if !n.DueAt.IsZero() {
		due = n.DueAt.UnixMilli()
	}
	return []any{n.Kind, n.Key, NotNil(n.Value), due, n.ExpiresAt.UnixMilli()}
}

func scanNumber(row Scanner) (n int64, err error) {
	err = row.Scan(&n)
	return n, err
}

func scanNote(row Scanner) (n session.Note, err error) {
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
