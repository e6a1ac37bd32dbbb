package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

var (
	errClosed = errors.New("redis session store: closed")
	errAnswer = errors.New("unknown data in Redis: not written by Gatehouse, or by another version")
)

// server is the connection that all parts of a store use.
type server struct {
	client rueidis.Client
	keys   keys
	now    func() time.Time
	closed atomic.Bool
}

// bounded returns the context of a call. It has ended if the store is closed, since a closed
// client of a cluster may still answer.
func (s *server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.closed.Load() {
		return context.WithTimeout(ctx, 0)
	}
	return context.WithTimeout(ctx, answerWithin)
}

// run runs a script, whose first argument is the time.
func (s *server) run(ctx context.Context, script *rueidis.Lua, keys []string,
	args ...string) rueidis.RedisResult {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return script.Exec(ctx, s.client, keys, append([]string{millis(s.now())}, args...))
}

// outage adds where an error comes from, unless it is an answer.
func outage(err error) error {
	if err == nil || session.IsAnswer(err) {
		return err
	}
	return fmt.Errorf("redis session store: %w", err)
}

// notFound returns ErrNotFound for the answer nil.
func notFound(err error) error {
	if rueidis.IsRedisNil(err) {
		return session.ErrNotFound
	}
	return err
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func millis(t time.Time) string { return itoa(t.UnixMilli()) }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
