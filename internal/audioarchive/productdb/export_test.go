package productdb

import (
	"context"
	"database/sql"
)

// A Statement is a text with its arguments.
type Statement struct {
	Text string
	Args []any
}

// Statements returns all statements that a page of the query may run, by purpose.
func (db *DB) Statements(ctx context.Context, q Query) (map[string]Statement, error) {
	all := map[string]Statement{}
	add := func(name string, s *statement) { all[name] = Statement{s.String(), s.args} }
	w := q.walk()
	if len(w.rest) == 0 {
		add("page", w.sql(nil))
		return all, nil
	}
	add("stop", w.stop(maxWalk))
	stop, err := db.position(ctx, q.Order, w.stop(maxWalk))
	if err != nil {
		return nil, err
	}
	add("walk", w.sql(stop))
	for i, group := range q.groups() {
		name := string(rune('a' + i))
		add("count "+name, q.count(group, maxFound+1))
		add("found "+name, q.found(group))
	}
	return all, nil
}

// Bound sets how many products a page reads, and how many it sorts.
func (db *DB) Bound(walk, found int) { db.maxWalk, db.maxFound = walk, found }

// The limits.
const (
	MaxWalk  = maxWalk
	MaxFound = maxFound
)

// Pool returns the pool for reading.
func (db *DB) Pool() *sql.DB { return db.reads }

// WritePool returns the pool for writing.
func (db *DB) WritePool() *sql.DB { return db.writes }
