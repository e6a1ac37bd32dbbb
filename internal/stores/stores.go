// Package stores owns which session stores and denylists a program can use: the forms of
// their addresses, how they are opened while their servers are away, and how they are
// probed. It leaves what they do to bff/session and server/authn/denylist, and the names
// of settings to the program.
package stores

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/await"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	denylistredis "github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// A Config says which store is opened. All fields are required, but for Now and Monitor.
type Config struct {
	// Address is valid.
	Address string
	// Now is the clock of a session store. Default: time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Explain names the setting in an error that is not nil, and returns nil for nil.
	Explain func(error) error
	// Monitor is told while the store is awaited. Default: none.
	Monitor *outage.Monitor
}

// Sessions is a session store of a program.
type Sessions interface {
	revocation.Store
	io.Closer
}

// OpenSessions opens a session store. One that several processes share may be
// unavailable. Then the store fails until it has been opened, and wait, which is
// otherwise nil, returns at that time, with an error that does not pass, or with the
// context.
func OpenSessions(ctx context.Context, cfg Config) (store Sessions, wait func(context.Context) error, err error) {
	var open func(context.Context) (sharedStore, error)
	switch Kind(cfg.Address) {
	case "sqlite":
		store, err = sqlite.Open(ctx, sqlite.Config{Path: strings.TrimPrefix(cfg.Address, "sqlite:"), Now: cfg.Now})
		return store, nil, cfg.Explain(err)
	case "postgres":
		open = func(ctx context.Context) (sharedStore, error) {
			return shared(postgres.Open(ctx, postgres.Config{URL: cfg.Address, Now: cfg.Now, Logger: cfg.Logger}))
		}
	case "redis":
		open = func(ctx context.Context) (sharedStore, error) {
			return shared(redis.Open(ctx, redis.Config{URL: cfg.Address, Now: cfg.Now, Logger: cfg.Logger}))
		}
	default:
		store, err = memory.New(memory.Config{Now: cfg.Now})
		return store, nil, cfg.Explain(err)
	}
	opening, err := await.Open(ctx, cfg.Monitor, func(ctx context.Context) (sharedStore, error) {
		store, err := open(ctx)
		return store, cfg.Explain(err)
	})
	if err != nil {
		return nil, nil, err
	}
	if store, err := opening.Get(); err == nil {
		return store, nil, nil
	}
	return awaitedStore{opening}, opening.Run, nil
}

// shared keeps a nil store from becoming an interface that is not nil.
func shared[T sharedStore](store T, err error) (sharedStore, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

// ProbeSessions proves that the session store can be used, rights included. What it
// makes there is gone when it returns.
func ProbeSessions(ctx context.Context, cfg Config) error {
	var err error
	switch Kind(cfg.Address) {
	case "sqlite":
		err = sqlitefile.Writable(strings.TrimPrefix(cfg.Address, "sqlite:"))
	case "postgres":
		err = postgres.Probe(ctx, postgres.Config{URL: cfg.Address})
	case "redis":
		var s *redis.Store
		if s, err = redis.Open(ctx, redis.Config{URL: cfg.Address, Logger: cfg.Logger}); err == nil {
			if err = session.Exercise(ctx, s); err != nil {
				err = redis.Explain(err)
			}
			_ = s.Close() // its connections alone
		}
	}
	return cfg.Explain(err)
}

// Ready asks a session store whether it can be used, if it can tell.
func Ready(ctx context.Context, store session.Store) error {
	if s, ok := store.(session.ReadyChecker); ok {
		return s.Ready(ctx)
	}
	return nil
}

// A Denylist is a denylist that several processes share.
type Denylist interface {
	denylist.Denylist
	Run(context.Context) error
	Ready() error
	Close()
}

// OpenDenylist opens a denylist in Redis. If that is unavailable, no token is accepted
// until it has been opened; opened returns why it has not.
func OpenDenylist(ctx context.Context, cfg Config) (list Denylist, opened func() error, err error) {
	opening, err := await.Open(ctx, cfg.Monitor, func(ctx context.Context) (Denylist, error) {
		list, err := denylistredis.Open(ctx, denylistredis.Config{URL: cfg.Address, Logger: cfg.Logger})
		if err != nil {
			return nil, cfg.Explain(fmt.Errorf("%w; start it, or correct the address", err))
		}
		return list, nil
	})
	if err != nil {
		return nil, nil, err
	}
	opened = func() error { _, err := opening.Get(); return err }
	if list, err := opening.Get(); err == nil {
		return list, opened, nil
	}
	return awaitedDenylist{opening}, opened, nil
}

// ProbeDenylist proves that a denylist in Redis can be used.
func ProbeDenylist(ctx context.Context, cfg Config) error {
	return cfg.Explain(denylistredis.Probe(ctx, denylistredis.Config{URL: cfg.Address, Logger: cfg.Logger}))
}
