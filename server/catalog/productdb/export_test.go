package productdb

import "database/sql"

// SQL is the text that a query becomes.
func (q Query) SQL() (string, []any) { return q.sql() }

// Pool is where the database is read from.
func (db *DB) Pool() *sql.DB { return db.reads }

// WritePool is where it is written.
func (db *DB) WritePool() *sql.DB { return db.writes }
