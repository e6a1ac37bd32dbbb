package sqlite

import (
	"context"
	"database/sql"
	"sync/atomic"
	"time"
)

// freshFor is how long the cache is used without asking whether another process has written.
const freshFor = 300 * time.Millisecond

// peers detects writes by other processes. PRAGMA data_version changes with every commit except the
// connection's own, and all commits of this process are made on one connection.
type peers struct {
	// turn holds a token while the connection is in use. Unlike a mutex, it can be waited for with
	// a context.
	turn    chan struct{}
	db      *sql.DB
	version int64
	// checked is when the version was last read, in nanoseconds since 1970.
	checked atomic.Int64
}

func (p *peers) init(ctx context.Context, writes *sql.DB, now time.Time) error {
	p.db = writes
	p.turn = make(chan struct{}, 1)
	if err := p.db.QueryRowContext(ctx, "PRAGMA data_version").Scan(&p.version); err != nil {
		return err
	}
	p.checked.Store(now.UnixNano())
	return nil
}

// quiet reports whether the cache is current, after calling forget if another process has written
// since the last check. It never waits: while the connection is in use it returns false, and the
// caller reads the file, which takes some microseconds more.
func (p *peers) quiet(ctx context.Context, now time.Time, forget func()) bool {
	if p.recent(now) {
		return true
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	default:
		return false
	}
	return p.recent(now) || p.compare(ctx, now, forget) == nil
}

// look is quiet for a caller that waits.
func (p *peers) look(ctx context.Context, now time.Time, forget func()) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		return p.compare(ctx, now, forget)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *peers) compare(ctx context.Context, now time.Time, forget func()) error {
	var version int64
	if err := p.db.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return err
	}
	if version != p.version {
		p.version = version
		forget()
	}
	p.checked.Store(now.UnixNano())
	return nil
}

func (p *peers) recent(now time.Time) bool {
	age := now.UnixNano() - p.checked.Load()
	return 0 <= age && age < int64(freshFor)
}

// writing runs a write, during which the version is not read.
func (p *peers) writing(ctx context.Context, do func() error) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		return do()
	case <-ctx.Done():
		return outage(ctx.Err())
	}
}
