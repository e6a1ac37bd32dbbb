package sqlite

import (
	"context"
	"database/sql"
	"sync/atomic"
	"time"
)

// freshFor is how long what the process remembers is believed without asking whether another process has written.
const freshFor = 300 * time.Millisecond

// peers knows whether another process has changed the file. SQLite counts that for each connection: PRAGMA data_version
// changes with every commit but the connection's own, and all our commits are made on one connection.
type peers struct {
	// turn is taken by putting a token in: whoever did may use the connection. A mutex would not heed a caller's context.
	turn    chan struct{}
	db      *sql.DB
	version int64
	// checked is when the version was last looked at, in nanoseconds since 1970.
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

// quiet tells whether what is remembered may be believed now, having had it forgotten if another process has written since
// the last look. It never waits: if the connection is taken by a write of ours or by another look, the answer is no, and
// the caller reads the file, which is slower by some microseconds and always right.
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

// look does the same for those who must know and may wait.
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

// writing runs a write of ours when its turn comes, during which nobody looks.
func (p *peers) writing(ctx context.Context, do func() error) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		return do()
	case <-ctx.Done():
		return outage(ctx.Err())
	}
}
