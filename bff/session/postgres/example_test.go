package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
)

// Several bffs share the sessions in one database. Each runs a Manager, or a
// bff, on a store of its own.
func ExampleOpen() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))

	cfg := postgres.Config{URL: "postgres://gatehouse:password@db.example/gatehouse?sslmode=verify-full", Logger: logger}
	if err := cfg.Validate(); err != nil { // contacts nothing
		logger.ErrorContext(ctx, "configuration", "err", err)
		return
	}
	store, err := postgres.Open(ctx, cfg)
	if err != nil {
		logger.ErrorContext(ctx, "session store", "err", err)
		return
	}
	defer store.Close()
	manager, err := session.NewManager(session.ManagerConfig{
		Store: store, Secrets: []string{os.Getenv("SECRET")}, Nodes: 3, Logger: logger,
	})
	if err != nil {
		logger.ErrorContext(ctx, "sessions", "err", err)
		return
	}
	fmt.Println(manager.Run(ctx))
}
