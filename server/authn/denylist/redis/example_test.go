package redis_test

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// All processes of an installation share the list. Each follows its changes
// with Run.
func ExampleOpen() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	list, err := redis.Open(ctx, redis.Config{URL: "rediss://gatehouse:password@redis.example", TokenLifetime: time.Hour, Logger: logger})
	if err != nil {
		logger.ErrorContext(ctx, "denylist", "err", err)
		return
	}
	defer list.Close()
	go func() { _ = list.Run(ctx) }()

	_ = authn.Config{Denylist: list}
	if err := list.DenySubject(ctx, "https://idp.example", "user-1", time.Now(), time.Time{}); err != nil {
		logger.ErrorContext(ctx, "denial", "err", err)
	}
}
