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

// Statements are all that a page of the query may run, by what they are for.
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

// Bound sets how many products a page looks at, and how many it sorts.
func (db *DB) Bound(walk, found int) { db.maxWalk, db.maxFound = walk, found }

// The bounds.
const (
	MaxWalk  = maxWalk
	MaxFound = maxFound
)

// Pool is where the database is read from.
func (db *DB) Pool() *sql.DB { return db.reads }

// WritePool is where it is written.
func (db *DB) WritePool() *sql.DB { return db.writes }
