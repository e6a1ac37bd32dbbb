package productdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Kind is what happened to a product.
type Kind int

// The kinds of changes.
const (
	Created Kind = 1
	Updated Kind = 2
	Deleted Kind = 3
)

// A Change is one entry of the log. Sequences count up from 1 without gaps, in
// the order of the commits.
type Change struct {
	Sequence int64
	Kind     Kind
	Product  Product // right after the change; of a deletion, right before
}

// ErrForgotten says that the changes asked for are no longer in the log, or
// never were.
var ErrForgotten = errors.New("productdb: those changes are not in the log")

type change struct {
	kind    Kind
	product Product
}

// pruneEvery is how many changes lie between two prunings of what is kept for
// a while only.
const pruneEvery = 100

// log takes the next number and writes the change down. The number's row stays
// locked until the transaction ends, so nobody commits a later one before.
func (db *DB) log(ctx context.Context, tx *sql.Tx, c change) (int64, error) {
	encoded, err := json.Marshal(c.product)
	if err != nil {
		return 0, err
	}
	var sequence int64
	err = tx.QueryRowContext(ctx, `UPDATE catalog_state SET last_change = last_change + 1 WHERE id = 1 RETURNING last_change`).Scan(&sequence)
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO product_changes (sequence, kind, product) VALUES ($1, $2, $3)`, sequence, int(c.kind), encoded)
	if err != nil || sequence%pruneEvery != 0 {
		return sequence, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM product_changes WHERE sequence <= $1`, sequence-db.keepChanges); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM product_requests WHERE created < $1`, db.now().Add(-KeepRequests).UnixMicro())
	return sequence, err
}

// LastChange is the sequence of the latest change, 0 before the first.
func (db *DB) LastChange(ctx context.Context) (sequence int64, err error) {
	err = db.reads.QueryRowContext(ctx, `SELECT last_change FROM catalog_state WHERE id = 1`).Scan(&sequence)
	return sequence, err
}

// Changes returns the changes after the given one, oldest first and limit at
// most, waiting until there is one. It returns ErrForgotten if some of them
// are no longer in the log.
func (db *DB) Changes(ctx context.Context, after int64, limit int) ([]Change, error) {
	leave := db.feed.enter()
	defer leave()
	for {
		moved := db.feed.signal() // before the look, so that nothing falls between
		changes, err := db.changes(ctx, after, limit)
		if err != nil || len(changes) > 0 {
			return changes, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-moved:
		}
	}
}

func (db *DB) changes(ctx context.Context, after int64, limit int) (changes []Change, err error) {
	rows, err := db.reads.QueryContext(ctx, `SELECT sequence, kind, product FROM product_changes
		WHERE sequence > $1 ORDER BY sequence LIMIT $2`, after, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Change
		var kind int
		var encoded []byte
		if err := rows.Scan(&c.Sequence, &kind, &encoded); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(encoded, &c.Product); err != nil {
			return nil, err
		}
		c.Kind = Kind(kind)
		if c.Sequence != after+int64(len(changes))+1 {
			return nil, ErrForgotten
		}
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil || len(changes) > 0 {
		return changes, err
	}
	// Nothing after it: because it is the latest, or of another history.
	last, err := db.LastChange(ctx)
	if err == nil && last < after {
		err = ErrForgotten
	}
	return nil, err
}

// feed wakes those who wait for changes: at once for those of this process,
// and by asking the database while anybody waits for those of others.
type feed struct {
	mu       sync.Mutex
	latest   int64
	waiting  chan struct{} // closed at the next change
	watchers int
	wanted   chan struct{} // tells the poller that somebody waits
	cancel   context.CancelFunc
	done     chan struct{}
}

func (f *feed) start(interval time.Duration, last func(context.Context) (int64, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.done = cancel, make(chan struct{})
	f.waiting, f.wanted = make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(f.done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			if !f.watched() {
				select {
				case <-ctx.Done():
					return
				case <-f.wanted:
				}
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// A database that is away for a while is asked again; whoever waits
			// finds out by their own call's deadline.
			if sequence, err := last(ctx); err == nil {
				f.moved(sequence)
			}
		}
	}()
}

func (f *feed) stop() {
	if f.cancel != nil {
		f.cancel()
		<-f.done
	}
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers > 0
}

func (f *feed) enter() (leave func()) {
	f.mu.Lock()
	f.watchers++
	f.mu.Unlock()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
	return func() {
		f.mu.Lock()
		f.watchers--
		f.mu.Unlock()
	}
}

func (f *feed) signal() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

func (f *feed) moved(sequence int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sequence > f.latest {
		f.latest = sequence
		close(f.waiting)
		f.waiting = make(chan struct{})
	}
}
