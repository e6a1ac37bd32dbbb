package productdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
)

// Kind is the kind of a change.
type Kind int

// The kinds of changes.
const (
	Created Kind = 1
	Updated Kind = 2
	Deleted Kind = 3
)

// A Change is an entry of the log. Sequence numbers count up from 1 without gaps, in the order of
// the commits.
type Change struct {
	Sequence int64
	Kind     Kind
	Product  Product // after the change; of a deletion, before it
}

// ErrForgotten means that the requested changes are no longer in the log, or never were.
var ErrForgotten = errors.New("productdb: those changes are not in the log")

type change struct {
	kind    Kind
	product Product
}

// pruneEvery is the number of changes between two removals of outdated rows.
const pruneEvery = 100

// log takes the next sequence number and records the change. The row with the number stays locked
// until the transaction ends, so that no later number is committed before.
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

// LastChange returns the sequence number of the latest change, 0 before the first.
func (db *DB) LastChange(ctx context.Context) (sequence int64, err error) {
	err = db.read(ctx, func(ctx context.Context) (err error) {
		sequence, err = db.lastChange(ctx)
		return err
	})
	return sequence, err
}

func (db *DB) lastChange(ctx context.Context) (sequence int64, err error) {
	err = db.reads.QueryRowContext(ctx, `SELECT last_change FROM catalog_state WHERE id = 1`).Scan(&sequence)
	return sequence, err
}

// Changes returns at most limit changes after the given one, oldest first. It waits until there is
// one. It returns ErrForgotten if some of them are no longer in the log.
func (db *DB) Changes(ctx context.Context, after int64, limit int) ([]Change, error) {
	db.feed.watchers.Add(1)
	defer db.feed.watchers.Add(-1)
	for {
		moved := db.feed.changed.Wait() // before the query, so that no change is missed
		var changes []Change
		err := db.read(ctx, func(ctx context.Context) (err error) {
			changes, err = db.changes(ctx, after, limit)
			return err
		})
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
	// There is no later change: the given one is the latest, or is not in this log.
	last, err := db.lastChange(ctx)
	if err == nil && last < after {
		err = ErrForgotten
	}
	return nil, err
}

// feed wakes the watchers: at once after changes of this process, and by polling the database,
// while there are watchers, for changes of other processes.
type feed struct {
	changed  broadcast.Signal
	watchers atomic.Int64
	mu       sync.Mutex // guards latest
	latest   int64
	cancel   context.CancelFunc
	polling  sync.WaitGroup
}

func (f *feed) start(interval time.Duration, last func(context.Context) (int64, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.polling.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if f.watchers.Load() == 0 {
				continue
			}
			// Polling goes on while the database is down; watchers have their own deadlines.
			if sequence, err := last(ctx); err == nil {
				f.moved(sequence)
			}
		}
	})
}

func (f *feed) stop() {
	if f.cancel != nil {
		f.cancel()
		f.polling.Wait()
	}
}

func (f *feed) moved(sequence int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sequence > f.latest {
		f.latest = sequence
		f.changed.Send()
	}
}
