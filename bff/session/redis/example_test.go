package redis_test

import (
	"context"
	"log/slog"
	"os"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
)

// A cluster with TLS, whose certificates an authority of one's own has signed.
func ExampleOpen() {
	ctx := context.Background()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, err := redis.Open(ctx, redis.Config{
		URL:    "rediss-cluster://gatehouse:password@a.redis.example:6379,b.redis.example:6379?ca_file=/etc/redis/ca.pem",
		Prefix: "shop:",
		Logger: logger,
	})
	if err != nil {
		logger.ErrorContext(ctx, "session store", "err", err)
		return
	}
	defer store.Close()
	// Exercise creates a session and a note, uses them, and removes them.
	if err := session.Exercise(ctx, store); err != nil {
		logger.ErrorContext(ctx, "session store", "err", redis.Explain(err))
	}
}
