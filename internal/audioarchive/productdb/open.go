// Package productdb owns the stored products: their tables, in SQLite and in PostgreSQL with the
// same SQL, the queries, and the log of changes. It leaves authorization, validation and the API to
// package catalog.
package productdb

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/migrate"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
	"github.com/gatehouse-dev/gatehouse/internal/pgfiles"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
)

//go:embed migrations/*.sql
var migrations embed.FS

const migrationsTable = "catalog_migrations"

const (
	// maxConns limits the connections to PostgreSQL, which allows 100 for all clients by default.
	maxConns = 16
	// openTimeout limits connecting and migrating.
	openTimeout = 30 * time.Second

	defaultKeepChanges  = 100_000
	defaultPollInterval = 500 * time.Millisecond
)

// Config configures a database. URL is required.
type Config struct {
	// URL is "memory:", "sqlite:PATH" or "postgres://USER:PASSWORD@HOST/NAME",
	// with the parameters of libpq.
	URL string
	// KeepChanges is the number of changes that are kept for watchers that reconnect; 0 means
	// 100,000.
	KeepChanges int64
	// PollInterval is the interval at which the database is asked for changes of other processes
	// while there are watchers; 0 means half a second.
	PollInterval time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told when PostgreSQL stops answering and when it answers again; nil for none.
	Logger *slog.Logger
}

// A DB is the database of products. It is safe for concurrent use. Several processes may have the
// same database open.
type DB struct {
	// reads and writes are the same pool, except for a file of SQLite.
	reads, writes *sql.DB
	// anchor keeps a database in memory alive; nil for others.
	anchor *sql.Conn
	remote bool // PostgreSQL
	outage *outage.Monitor

	keepChanges int64
	// The limits of a page of a list.
	maxWalk, maxFound int
	now               func() time.Time
	tokenKey          []byte
	feed              feed
}

// Open opens or creates the database and migrates its tables. Its errors contain neither user nor
// password.
func Open(ctx context.Context, cfg Config) (_ *DB, err error) {
	db := &DB{keepChanges: cmp.Or(cfg.KeepChanges, defaultKeepChanges), maxWalk: maxWalk, maxFound: maxFound, now: cfg.Now,
		outage: outage.New(outage.Config{Name: "database", Logger: cfg.Logger, Settle: outageSettles})}
	if db.now == nil {
		db.now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			_ = db.Close()
			if pgcheck.Passing(err) {
				err = cause.Unavailable(err)
			}
		}
	}()
	dialect, err := db.connect(ctx, cfg.URL)
	if err != nil {
		return nil, err
	}
	if err := migrate.Up(ctx, dialect, db.writes, migrations, migrationsTable); err != nil {
		return nil, err
	}
	if err := db.loadTokenKey(ctx); err != nil {
		return nil, err
	}
	db.feed.start(cmp.Or(cfg.PollInterval, defaultPollInterval), db.LastChange)
	return db, nil
}

// connect opens the pools for the URL.
func (db *DB) connect(ctx context.Context, address string) (database.Dialect, error) {
	path, isFile := strings.CutPrefix(address, "sqlite:")
	switch {
	case address == "memory:":
		return goose.DialectSQLite3, db.openMemory(ctx)
	case isFile:
		return goose.DialectSQLite3, db.openFile(path)
	case strings.HasPrefix(address, "postgres://"), strings.HasPrefix(address, "postgresql://"):
		return goose.DialectPostgres, db.openPostgres(ctx, address)
	}
	return "", errors.New("no such database; give memory:, sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")
}

func (db *DB) openMemory(ctx context.Context) (err error) {
	dsn := "file:/" + rand.Text() + "?vfs=memdb&_txlock=immediate&_busy_timeout=5000"
	if db.writes, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	db.reads = db.writes
	if db.anchor, err = db.writes.Conn(ctx); err != nil { // it never holds a lock
		return err
	}
	db.writes.SetMaxOpenConns(2) // the anchor, and one for all callers: no locks to wait for
	return nil
}

func (db *DB) openFile(path string) (err error) {
	if err := prepareFile(path); err != nil {
		return err
	}
	db.reads, db.writes, err = sqlitefile.Open(path, 4)
	return err
}

// prepareFile reports what is wrong with the path, in place of SQLite's "unable to open database
// file (14)".
func prepareFile(path string) error {
	if path == "" || strings.Contains(path, ":memory:") {
		return errors.New("the path is missing; give sqlite:PATH, or memory: for products that end with the process")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist; make it, writable by the user that runs gatehouse", filepath.Dir(path))
	case err != nil:
		return fmt.Errorf("the file cannot be opened for writing; correct the path, or its permissions: %w", err)
	}
	return f.Close()
}

func (db *DB) openPostgres(ctx context.Context, address string) (err error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return pgcheck.Explain(err)
	}
	db.writes = stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(pgfiles.BeforeConnect(address)), stdlib.OptionAfterConnect(onlyIndexes))
	db.reads, db.remote = db.writes, true
	db.writes.SetMaxOpenConns(maxConns)
	db.writes.SetMaxIdleConns(maxConns)
	db.writes.SetConnMaxIdleTime(5 * time.Minute)
	if err := db.writes.PingContext(ctx); err != nil {
		return pgcheck.Explain(err)
	}
	return nil
}

// loadTokenKey reads the key with which page tokens are signed, and creates it in a new database.
// It is stored there so that all processes have the same one, and tokens of other databases are
// invalid.
func (db *DB) loadTokenKey(ctx context.Context) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if _, err := db.writes.ExecContext(ctx, `UPDATE catalog_state SET token_key = $1 WHERE id = 1 AND token_key IS NULL`, key); err != nil {
		return err
	}
	return db.writes.QueryRowContext(ctx, `SELECT token_key FROM catalog_state WHERE id = 1`).Scan(&db.tokenKey)
}

// TokenKey returns a secret of the database, 32 bytes, for signing tokens. The caller must not
// change it.
func (db *DB) TokenKey() []byte { return db.tokenKey }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read(ctx, db.reads.PingContext) }

// Close closes the database. Watchers receive no more changes.
func (db *DB) Close() error {
	db.feed.stop()
	var errs []error
	if db.anchor != nil {
		errs = append(errs, db.anchor.Close())
	}
	if db.writes != nil {
		errs = append(errs, db.writes.Close())
	}
	if db.reads != nil && db.reads != db.writes {
		errs = append(errs, db.reads.Close())
	}
	return errors.Join(errs...)
}
