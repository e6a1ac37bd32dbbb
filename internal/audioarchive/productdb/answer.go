package productdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
)

var (
	// ErrUnavailable means that the database does not answer at the moment. Nothing has changed in
	// it.
	ErrUnavailable = errors.New("the database does not answer")
	// ErrUncertain means that the database did not answer a commit, which may have happened.
	ErrUncertain = errors.New("the database did not answer a commit")
)

const (
	// answerWithin bounds a call of PostgreSQL, including a second attempt.
	answerWithin = 2 * time.Second
	// outageSettles is how long no call may fail before an outage counts as over.
	outageSettles = time.Second
)

// read runs do, which changes nothing, and again once if PostgreSQL lost the connection.
func (db *DB) read(ctx context.Context, do func(context.Context) error) error {
	return db.bounded(ctx, func(ctx context.Context) error {
		err := do(ctx)
		if err != nil && ctx.Err() == nil && db.remote && passing(err) {
			db.dropIdle()
			err = do(ctx)
		}
		return err
	})
}

// bounded runs do within answerWithin, if the database is PostgreSQL, and records whether it
// answers.
func (db *DB) bounded(ctx context.Context, do func(context.Context) error) error {
	if !db.remote {
		return do(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := do(limited)
	switch {
	case err == nil || !passing(err):
		db.outage.OK(ctx)
	case ctx.Err() == nil: // it is not the caller who has gone
		if !errors.Is(err, ErrUncertain) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, pgcheck.Explain(err))
		}
		db.outage.Fail(ctx, err)
	}
	return err
}

// passing reports whether an error is about the connection, or a server that starts or stops.
// database/sql returns ErrBadConn when it has tried all that it has.
func passing(err error) bool { return errors.Is(err, driver.ErrBadConn) || pgcheck.Passing(err) }

// dropIdle closes idle connections: after a restart of the server all are as dead as the one that
// was used.
func (db *DB) dropIdle() {
	db.reads.SetMaxIdleConns(0)
	db.reads.SetMaxIdleConns(maxConns)
}
