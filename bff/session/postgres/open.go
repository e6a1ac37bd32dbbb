// Package postgres owns a session store in PostgreSQL for any number of bffs: its tables,
// notifications between processes, and a cache in each. What a session is, and the rules of a
// store, are left to package session.
//
// A process caches the sessions that it has read, and drops one as soon as another process changes
// it: a connection of its own listens for notifications (LISTEN), and a ping on that connection
// every 300 ms proves that none is outstanding. After 700 ms without an answer every request reads
// the database. A logout thus takes effect everywhere within 700 ms: without the connection
// requests read the database, and without the database they fail; no stale session is used.
//
// LISTEN needs a connection to the server itself, or through a pooler in session mode. Open tests
// it, and rejects a pooler in transaction mode, which delivers no notifications.
package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/fanout"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/rows"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/migrate"
	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
	"github.com/gatehouse-dev/gatehouse/internal/pgfiles"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// migrationsTable is not goose's default, so that another user of goose can share the database.
	migrationsTable = "gatehouse_session_migrations"
	// migrationsLock is the advisory lock of migrations: the bytes of "gateh".
	migrationsLock = 0x6761746568

	defaultCacheSize = 8192
	// defaultMaxConns bounds the connections to a server, whose own default bound is 100 for all
	// clients.
	defaultMaxConns = 10
	// answerWithin bounds a call, including the wait for a connection. The server's own bound is a
	// little shorter.
	answerWithin     = 2 * time.Second
	statementTimeout = "1800ms"
	connectTimeout   = 5 * time.Second
	// openWithin bounds connecting and migrating, which may wait for another process that migrates.
	openWithin = 60 * time.Second
)

// Config configures a Store. URL is required.
type Config struct {
	// URL is "postgres://USER:PASSWORD@HOST:PORT/NAME" with the parameters of libpq, and
	// pool_max_conns (default: 10). Files of sslrootcert, sslcert and sslkey are read again for each
	// connection. The store uses one connection more. With search_path the tables
	// are created in another schema.
	URL string
	// CacheSize is how many sessions are cached in the process, each at a little more than its
	// stored size. Default: 8192.
	CacheSize int
	// Now is the clock, by which sessions expire. The clocks of all processes should agree.
	// Default: time.Now.
	Now func() time.Time
	// Logger logs changes of the feed. Default: none.
	Logger *slog.Logger
}

// Store implements [session.Store] and all optional parts except [session.Local]. It is safe for
// concurrent use.
type Store struct {
	now  func() time.Time
	log  *slog.Logger
	pool *pgxpool.Pool
	tables
	records *cache.Cache[session.Record]
	// reads merges concurrent reads of a session.
	reads  singleflight.Group
	events fanout.Hub
	feed   feed
	// refused is when a new connection led to a server that accepts no writes, in nanoseconds since
	// 1970.
	refused atomic.Int64

	closed  atomic.Bool
	stop    context.CancelFunc
	running sync.WaitGroup
}

type tables = rows.Tables

var _ interface {
	session.Store
	session.Index
	session.NoteStore
	session.Watcher
	session.Sweeper
	session.ReadyChecker
} = (*Store)(nil)

var errClosed = errors.New("postgres session store: closed")

// Validate returns everything that is wrong with cfg, joined. It contacts nothing, and
// its errors show neither user nor password.
func (cfg Config) Validate() error {
	errs := []error{invalid.NotNegative("CacheSize", cfg.CacheSize, "a number of sessions",
		defaultCacheSize)}
	if cfg.URL == "" {
		errs = append(errs, invalid.Missing("URL", "give postgres://USER:PASSWORD@HOST:PORT/NAME"))
	} else if _, err := poolConfig(cfg.URL); err != nil {
		errs = append(errs, &invalid.Error{Field: "URL",
			Problem: "is not usable: " + pgcheck.Explain(err).Error()})
	}
	return errors.Join(errs...)
}

// Open connects, creates or updates the tables (several processes may do so at once) and begins to
// listen. It takes at most a minute. Its errors show neither user nor password. The caller closes
// the store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("postgres", err)
	}
	s := &Store{now: cfg.Now, log: cfg.Logger, records: cache.New[session.Record](cmp.Or(cfg.CacheSize,
		defaultCacheSize))}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.tables = tables{Sessions: "gatehouse_sessions", Notes: "gatehouse_session_notes",
		EndsAt: "ends_at", Query: s.query, Now: s.now}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if err := s.open(ctx, cfg.URL); err != nil {
		_ = s.Close()
		return nil, pgcheck.Explain(err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, address string) error {
	config, err := poolConfig(address)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	// Listen first: Open returns its error, and a pooler in transaction mode would never release
	// the lock of migrateLocked.
	conn, err := s.connect(ctx, config)
	if err != nil {
		return err
	}
	if err := migrateLocked(ctx, config); err != nil {
		_ = conn.Close(expired)
		return err
	}
	s.running.Go(func() { s.follow(running, conn) })
	return nil
}

// connect opens the pool and the connection that listens.
func (s *Store) connect(ctx context.Context, config *pgxpool.Config) (_ *pgx.Conn, err error) {
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	s.feed.config, s.feed.prepare, s.feed.born = config.ConnConfig.Copy(), config.BeforeConnect, time.Now()
	return s.listen(ctx)
}

// Probe checks, without changing anything, that [Open] and the store would work: that the user has
// the rights to use or create the tables, and that notifications arrive. Its errors show neither
// user nor password.
func Probe(ctx context.Context, cfg Config) error {
	config, err := poolConfig(cfg.URL)
	if err != nil {
		return pgcheck.Explain(err)
	}
	s := &Store{now: time.Now, log: slog.New(slog.DiscardHandler),
		records: cache.New[session.Record](1)}
	defer func() { _ = s.Close() }()
	conn, err := s.connect(ctx, config)
	if err != nil {
		return pgcheck.Explain(err)
	}
	defer func() { _ = conn.Close(expired) }()
	return pgcheck.Rights(ctx, conn, pgcheck.Tables{
		Names: []string{"gatehouse_sessions", "gatehouse_session_notes"}, VersionTable: migrationsTable, Migrations: migrations,
	})
}

func poolConfig(address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(address); err != nil || !u.Query().Has("pool_max_conns") {
		config.MaxConns = defaultMaxConns
	}
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.BeforeConnect = pgfiles.BeforeConnect(address)
	for name, value := range map[string]string{
		"statement_timeout":                   statementTimeout,
		"lock_timeout":                        statementTimeout,
		"idle_in_transaction_session_timeout": "5s",
		"application_name":                    "gatehouse",
	} {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// migrateLocked updates the tables under a lock that the server releases if this process dies.
func migrateLocked(ctx context.Context, pool *pgxpool.Config) error {
	config := pool.ConnConfig.Copy()
	// A migration of a large table may take long.
	config.RuntimeParams["statement_timeout"], config.RuntimeParams["lock_timeout"] = "0", "0"
	lock, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close(context.WithoutCancel(ctx)) }()
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationsLock); err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	return migrate.Up(ctx, goose.DialectPostgres, db, migrations, migrationsTable)
}

// Ready implements [session.ReadyChecker]. It pings the database.
func (s *Store) Ready(ctx context.Context) error {
	return s.do(ctx, true, func(ctx context.Context) error { return s.pool.Ping(ctx) })
}

// Close closes the connections. Later calls fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	s.events.Break(errClosed)
	s.records.Clear()
	if s.pool != nil {
		s.pool.Close()
	}
	return nil
}

// do runs a call within answerWithin. It repeats it once after a lost connection if the call had no
// effect, or is repeatable.
func (s *Store) do(ctx context.Context, repeatable bool,
	call func(ctx context.Context) error) error {
	if s.closed.Load() {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := call(ctx)
	if err != nil && ctx.Err() == nil && (pgconn.SafeToRetry(err) || demoted(err) && !s.readOnly() || repeatable && lost(err)) {
		s.pool.Reset() // the other idle connections are as old
		if err = call(ctx); demoted(err) {
			s.refused.Store(time.Now().UnixNano())
		}
	}
	return outage(err)
}

// readOnly reports whether a new connection led to a server that accepts no writes within the last
// second, so that another would too.
func (s *Store) readOnly() bool { return time.Now().UnixNano()-s.refused.Load() < int64(time.Second) }

// demoted reports whether the server has become a standby, and so did nothing.
func demoted(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "25006" // read_only_sql_transaction
}

// lost reports whether an error is of the connection, or of a server that shuts down, and not of
// the statement.
func lost(err error) bool {
	if session.IsAnswer(err) || errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || len(refused.Code) == 5 && refused.Code[:4] == "57P0"
}

// outage adds where an error comes from, unless it is an answer.
func outage(err error) error {
	if err == nil || session.IsAnswer(err) {
		return err
	}
	return fmt.Errorf("postgres session store: %w", err)
}
