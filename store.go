package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/filecheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

const storeSetting = "GATEHOUSE_SESSION_STORE"

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

// checkStore says what is wrong with a GATEHOUSE_SESSION_STORE, without
// contacting anybody.
func checkStore(value string) error {
	var err error
	switch storeKind(value) {
	case "":
		return settingError(storeSetting, value, "no such store", "give memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, "+
			"redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER")
	case "postgres":
		err = postgres.Config{URL: value}.Validate()
	case "redis":
		err = redis.Config{URL: value}.Validate()
	case "sqlite":
		return folderError(storeSetting, value)
	}
	return storeError(value, err)
}

// A sessionStore is a session store of this program.
type sessionStore interface {
	revocation.Store
	io.Closer
}

// openStore opens the session store, which the validation has found to be
// one of these.
func openStore(ctx context.Context, cfg config) (sessionStore, error) {
	logger := cfg.Logger.With("part", "sessions")
	switch storeKind(cfg.SessionStore) {
	case "sqlite":
		s, err := sqlite.Open(ctx, sqlite.Config{Path: strings.TrimPrefix(cfg.SessionStore, "sqlite:")})
		if err != nil {
			return nil, storeError(cfg.SessionStore, err)
		}
		return s, nil
	case "postgres":
		s, err := postgres.Open(ctx, postgres.Config{URL: cfg.SessionStore, Logger: logger})
		if err != nil {
			return nil, storeError(cfg.SessionStore, err)
		}
		return s, nil
	case "redis":
		s, err := redis.Open(ctx, redis.Config{URL: cfg.SessionStore, Logger: logger})
		if err != nil {
			return nil, storeError(cfg.SessionStore, err)
		}
		return s, nil
	}
	s, err := memory.New(memory.Config{})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// probeStore proves that the session store can be used, rights included; what it
// makes is gone when it returns.
func probeStore(ctx context.Context, cfg config) error {
	var err error
	switch storeKind(cfg.SessionStore) {
	case "sqlite":
		err = filecheck.Writable(strings.TrimPrefix(cfg.SessionStore, "sqlite:"))
	case "postgres":
		err = postgres.Probe(ctx, cfg.SessionStore)
	case "redis":
		var s *redis.Store
		if s, err = redis.Open(ctx, redis.Config{URL: cfg.SessionStore, Logger: cfg.Logger.With("part", "sessions")}); err == nil {
			if err = session.Exercise(ctx, s); err != nil {
				err = redis.Explain(err)
			}
			_ = s.Close() // its connections alone
		}
	}
	return storeError(cfg.SessionStore, err)
}

// storeReady asks a session store whether it can be used, if it can tell.
func storeReady(ctx context.Context, store session.Store) error {
	if s, ok := store.(session.ReadyChecker); ok {
		return s.Ready(ctx)
	}
	return nil
}

// storeError names the setting; the stores' own errors say what to do, and
// show nothing of the value.
func storeError(value string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*invalid.Error](err); ok && e.Remedy == "" {
		err = errors.New(e.Problem)
	} else if ok {
		return settingError(storeSetting, value, e.Problem, e.Remedy)
	}
	return fmt.Errorf("%s=%s: %w", storeSetting, place(value), err)
}
