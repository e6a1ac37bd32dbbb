// Package sqlite owns a session store in one SQLite file. It survives a restart and needs no
// server. What a session is, and the rules of a store, are left to package session.
//
// The file belongs to one bff. A second process may open it for a time, as in an overlapping
// restart: both work, and each sees an end at the other within 300 ms. WAL needs shared memory, so
// the file must not be on a network file system. Commits survive a crash of the process; a crash of
// the machine may lose the last ones (synchronous=NORMAL).
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/fanout"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/rows"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/migrate"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
)

//go:embed migrations/*.sql
var migrations embed.FS

const migrationsTable = "session_migrations"

const defaultCacheSize = 8192

// Config configures a Store. Path is required.
type Config struct {
	// Path is the path of the database file. The file is created, readable by its owner only, if it
	// does not exist; its folder is not.
	Path string
	// CacheSize is how many sessions are cached in the process, each at a little more than its
	// stored size. Default: 8192.
	CacheSize int
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Store implements [session.Store] and all optional parts that one process needs. It is safe for
// concurrent use.
type Store struct {
	now           func() time.Time
	reads, writes *sql.DB // see sqlitefile.Open
	closed        atomic.Bool
	// get reads a session. makeRoom removes the one that a new one replaces, and an expired one with
	// its ID; insert stores it. statements has others, *sql.Stmt by their text.
	get, makeRoom, insert *sql.Stmt
	statements            sync.Map

	tables
	records *cache.Cache[session.Record]
	peers   peers
	events  fanout.Hub
}

type tables = rows.Tables

var _ interface {
	session.Store
	session.Index
	session.NoteStore
	session.Watcher
	session.Sweeper
	session.Local
} = (*Store)(nil)

// Validate returns everything that is wrong with the values of cfg, joined. It does not look at the
// file.
func (cfg Config) Validate() error {
	errs := []error{invalid.NotNegative("CacheSize", cfg.CacheSize, "a number of sessions",
		defaultCacheSize)}
	switch {
	case cfg.Path == "":
		errs = append(errs, invalid.Missing("Path", "give the path of a file"))
	case strings.Contains(cfg.Path, ":memory:"):
		errs = append(errs, invalid.Field("Path", cfg.Path, "is SQLite's name for memory",
			"use package memory for sessions that end with the process"))
	}
	return errors.Join(errs...)
}

// Open opens or creates the file and brings its schema up to date. Its errors are those of
// [Config.Validate] or name the path and what to do. The caller closes the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("sqlite", err)
	}
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("sqlite session store: open %s: %w", cfg.Path, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if err := prepareFile(cfg.Path); err != nil {
		return nil, err
	}
	s := &Store{now: cfg.Now, records: cache.New[session.Record](cmp.Or(cfg.CacheSize,
		defaultCacheSize))}
	if s.now == nil {
		s.now = time.Now
	}
	s.tables = tables{Sessions: "sessions", Notes: "session_notes", EndsAt: endsAt, Query: s.query,
		Now: s.now}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	readers := max(runtime.GOMAXPROCS(0), 4)
	s.reads, s.writes, err = sqlitefile.Open(cfg.Path, readers, "_pragma=secure_delete(fast)")
	if err != nil {
		return nil, err
	}
	if err := migrate.Up(ctx, goose.DialectSQLite3, s.writes, migrations, migrationsTable); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		stmt **sql.Stmt
		pool *sql.DB
		text string
	}{
		{&s.get, s.reads, "SELECT " + rows.Columns + ", sealed FROM sessions WHERE id = ? AND " + live},
		{&s.makeRoom, s.writes, "DELETE FROM sessions WHERE id = ? OR id = ? AND NOT " + live},
		{&s.insert, s.writes, "INSERT INTO sessions (" + rows.Columns + ", sealed) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"},
	} {
		if *p.stmt, err = p.pool.PrepareContext(ctx, p.text); err != nil {
			return nil, err
		}
	}
	if err := s.peers.init(ctx, s.writes, s.now()); err != nil {
		return nil, err
	}
	return s, nil
}

// prepareFile returns a better error than SQLite's "unable to open database file (14)", and makes
// the file readable by its owner only. SQLite gives its -wal and -shm files the same mode.
func prepareFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: make it, writable by the user of this process", filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the file cannot be written: give the user of this process write permission for it and its folder: %w", err)
	case err != nil:
		return fmt.Errorf("name a file on a writable disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return fmt.Errorf("other users may read the file, and its mode cannot be changed: chmod it to 600: %w", err)
		}
	}
	return nil
}

// ProcessLocal implements [session.Local] and returns true.
func (s *Store) ProcessLocal() bool { return true }

// Close closes the file. Later calls fail.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.records.Clear()
	s.events.Break(errClosed)
	var errs []error
	for _, db := range []*sql.DB{s.reads, s.writes} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
