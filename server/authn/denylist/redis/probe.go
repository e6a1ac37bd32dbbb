package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/internal/denials"
)

// Probe checks that Open and the list would work: it follows the feed and writes a
// denial under a prefix of its own below cfg.Prefix, and removes both. Its errors
// show no password.
func Probe(ctx context.Context, cfg Config) error {
	cfg.Prefix = cmp.Or(cfg.Prefix, DefaultPrefix) + "check-" + rand.Text() + ":"
	l, option, err := cfg.open()
	if err != nil {
		return err
	}
	if l.client, err = rueidis.NewClient(option); err != nil {
		if l.client != nil {
			l.client.Close()
		}
		return explained("connect", option, err)
	}
	defer l.Close()
	e, err := l.mirror.Entry(denials.TokenID, "https://gatehouse-check.invalid", rand.Text(),
		time.Time{}, l.cfg.Now())
	if err != nil {
		return err
	}
	exec := l.keys.deny(e, l.cfg.Now().UnixMilli())
	defer func() {
		remove := l.client.B().Del().Key(exec.Keys...).Build()
		_ = l.client.Do(context.WithoutCancel(ctx), remove).Error() // the keys expire otherwise
	}()
	f, err := l.connect(ctx)
	if err != nil {
		return explained("follow the feed", option, err)
	}
	defer f.release()
	if err := deny.Exec(ctx, l.client, exec.Keys, exec.Args).Error(); err != nil {
		return explained("deny a token", option, err)
	}
	return nil
}

// explained returns why Redis cannot be used for an operation.
func explained(operation string, option rueidis.ClientOption, err error) error {
	if refused, ok := errors.AsType[*rueidis.RedisError](err); ok {
		return fmt.Errorf("%s: %w", operation, redisaddr.Refused(refused))
	}
	return redisaddr.Explain(option.InitAddress, option.TLSConfig != nil, err)
}
