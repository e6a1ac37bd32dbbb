package gatehouse

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// storeKind is the kind of a session store: "memory", "sqlite", "postgres",
// "redis", or "" for none that is known.
func storeKind(value string) string {
	scheme, rest, _ := strings.Cut(value, ":")
	switch scheme {
	case "memory":
		if rest == "" {
			return scheme
		}
	case "sqlite":
		if rest != "" {
			return scheme
		}
	case "postgres", "postgresql":
		if strings.HasPrefix(rest, "//") {
			return "postgres"
		}
	case "redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel":
		if strings.HasPrefix(rest, "//") {
			return "redis"
		}
	}
	return ""
}

// sharesSessions reports whether several processes can open the session store, so
// that a server by itself can look after sessions too.
func (p *program) sharesSessions() bool {
	kind := storeKind(p.cfg.SessionStore)
	return kind == "postgres" || kind == "redis"
}

// checkStore returns what is wrong with the form of a session store's address.
func checkStore(value string) error {
	const field = "SessionStore"
	fields := map[string]string{"URL": field}
	switch storeKind(value) {
	case "sqlite":
		return checkFolder(field, value)
	case "postgres":
		return renamed(postgres.Config{URL: value}.Validate(), fields)
	case "redis":
		return renamed(redis.Config{URL: value}.Validate(), fields)
	case "memory":
		return nil
	}
	return invalid.Field(field, value, "is no session store", "give memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, "+
		"redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER")
}

// A sessionStore is a session store of this program.
type sessionStore interface {
	revocation.Store
	io.Closer
}

// openStore opens the session store. Its form is valid. One that several processes
// share may be unavailable; then it is awaited.
func (p *parts) openStore(ctx context.Context, run partSet) (store sessionStore, err error) {
	address, logger := withAuthorities(p.cfg.SessionStore, p.cfg.TLS.StoreCAFile), p.logger.With("part", "sessions")
	var open func(context.Context) (sharedStore, error)
	switch storeKind(address) {
	case "sqlite":
		store, err = sqlite.Open(ctx, sqlite.Config{Path: strings.TrimPrefix(address, "sqlite:")})
		return store, p.about("session-store", err)
	case "postgres":
		open = func(ctx context.Context) (sharedStore, error) {
			return shared(postgres.Open(ctx, postgres.Config{URL: address, Logger: logger}))
		}
	case "redis":
		open = func(ctx context.Context) (sharedStore, error) {
			return shared(redis.Open(ctx, redis.Config{URL: address, Logger: logger}))
		}
	default:
		store, err = memory.New(memory.Config{})
		return store, p.about("session-store", err)
	}
	var monitor *outage.Monitor
	if !run.BFF { // which logs each outage of its store
		monitor = outage.New(outage.Config{Name: "session store", Logger: logger})
	}
	opening, err := await(ctx, monitor, func(ctx context.Context) (sharedStore, error) {
		store, err := open(ctx)
		return store, p.about("session-store", err)
	})
	if err != nil {
		return nil, err
	}
	if store, err := opening.get(); err == nil {
		return store, nil
	}
	p.upkeep = append(p.upkeep, &lifecycle.Part{Name: "session store", Run: opening.run})
	return awaitedStore{opening}, nil
}

// shared keeps a nil store from becoming an interface that is not nil.
func shared[T sharedStore](store T, err error) (sharedStore, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

// probeStore proves that the session store can be used, rights included. What it
// makes there is gone when it returns.
func (p *program) probeStore(ctx context.Context) error {
	address := withAuthorities(p.cfg.SessionStore, p.cfg.TLS.StoreCAFile)
	var err error
	switch storeKind(address) {
	case "sqlite":
		err = sqlitefile.Writable(strings.TrimPrefix(address, "sqlite:"))
	case "postgres":
		err = postgres.Probe(ctx, postgres.Config{URL: address})
	case "redis":
		var s *redis.Store
		if s, err = redis.Open(ctx, redis.Config{URL: address, Logger: p.logger.With("part", "sessions")}); err == nil {
			if err = session.Exercise(ctx, s); err != nil {
				err = redis.Explain(err)
			}
			_ = s.Close() // its connections alone
		}
	}
	return p.about("session-store", err)
}

// about returns err with the setting that it is about before it, and nil for nil.
func (p *program) about(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.values.Name(name), err)
}

// storeReady asks a session store whether it can be used, if it can tell.
func storeReady(ctx context.Context, store session.Store) error {
	if s, ok := store.(session.ReadyChecker); ok {
		return s.Ready(ctx)
	}
	return nil
}
