package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// DefaultPrefix is the default of Config.Prefix.
const DefaultPrefix = "gatehouse:deny:"

// Config configures a List. URL is required.
type Config struct {
	// URL is redis://[user:password@]host[:port][/database], or rediss:// with
	// TLS, whose parameter ca_file names a file of authorities. It is in no error
	// and no log line, since it may contain a password. A cluster is not
	// supported: give one server, or one address that leads to the primary.
	URL string
	// TLS configures rediss. Default: the system's authorities and the host of
	// URL.
	TLS *tls.Config
	// Prefix begins every key. Processes share a list if they use the same
	// database and prefix. Default: DefaultPrefix.
	Prefix string
	// MaxEntries bounds the mirror. If Redis has more denials, every look-up asks
	// Redis. Default: denylist.DefaultMaxEntries, which take about 35 MB.
	MaxEntries int
	// TokenLifetime is the longest lifetime of access tokens, which is how long
	// denials without an end last. Default: denylist.DefaultTokenLifetime.
	TokenLifetime time.Duration
	// Now is the clock by which denials end. The age of the feed is measured by
	// the monotonic clock. Default: time.Now.
	Now func() time.Time
	// Logger logs changes of the feed. Default: none.
	Logger *slog.Logger
}

const urlRemedy = "give redis://[user:password@]host[:port][/database], or rediss:// for TLS, with special characters of the password percent-encoded"

// Validate returns everything that is wrong with the values of cfg, joined. It
// contacts nothing, and its errors do not show the URL.
func (cfg Config) Validate() error {
	errs := []error{denylist.Config{MaxEntries: cfg.MaxEntries, TokenLifetime: cfg.TokenLifetime}.Validate()}
	a, err := redisaddr.Parse(cfg.URL)
	if err == nil {
		if _, malformed := url.Parse(cfg.URL); malformed != nil {
			err = errors.New("is malformed")
		}
	}
	switch {
	case err != nil:
		errs = append(errs, &invalid.Error{Field: "URL", Problem: err.Error(), Remedy: urlRemedy})
	case a.Kind != redisaddr.Single:
		errs = append(errs, &invalid.Error{Field: "URL",
			Problem: fmt.Sprintf("has the scheme %q", a.Kind), Remedy: urlRemedy})
	case cfg.TLS != nil && !a.Secure:
		errs = append(errs, &invalid.Error{Field: "TLS",
			Problem: "is set, but the scheme of URL is redis", Remedy: "give rediss://…"})
	}
	return errors.Join(errs...)
}

// open returns a list that is not connected yet, and the options of its client.
func (cfg Config) open() (*List, rueidis.ClientOption, error) {
	if err := cfg.Validate(); err != nil {
		return nil, rueidis.ClientOption{}, invalid.In("redis", err)
	}
	cfg.Prefix = cmp.Or(cfg.Prefix, DefaultPrefix)
	cfg.MaxEntries = cmp.Or(cfg.MaxEntries, denylist.DefaultMaxEntries)
	cfg.TokenLifetime = cmp.Or(cfg.TokenLifetime, denylist.DefaultTokenLifetime)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	option, err := cfg.clientOption()
	if err != nil {
		return nil, option, fmt.Errorf("redis denylist: %w", err)
	}
	return newList(cfg), option, nil
}

// clientOption returns options with deadlines that fit a feed which counts as
// broken after a second. The library's own take ten seconds to give up a frozen
// server.
func (cfg *Config) clientOption() (rueidis.ClientOption, error) {
	a, _ := redisaddr.Parse(cfg.URL) // validated
	option, err := a.Option()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	if cfg.TLS != nil {
		server := option.TLSConfig.ServerName
		option.TLSConfig = cfg.TLS.Clone()
		option.TLSConfig.ServerName = cmp.Or(option.TLSConfig.ServerName, server)
	}
	option.Dialer = net.Dialer{Timeout: answerWithin, KeepAlive: answerWithin}
	option.ConnWriteTimeout = answerWithin
	option.PipelineMultiplex = -1 // one connection
	option.ReadBufferEachConn = 1 << 16
	option.WriteBufferEachConn = 1 << 16
	option.DisableCache = true // the mirror is the cache
	option.RetryDelay = func(attempts int, _ rueidis.Completed, _ error) time.Duration {
		return time.Duration(min(attempts, 10)) * 10 * time.Millisecond
	}
	option.ClientName = "gatehouse-denylist"
	return option, nil
}

// problem wraps an error of the client. Servers that do not support HELLO quote
// its arguments, among them the password.
func (l *List) problem(what string, err error) error {
	if refused, ok := errors.AsType[*rueidis.RedisError](err); ok && refused.Error() != redisaddr.Refusal(refused) {
		return errors.New("redis denylist: " + what + ": " + redisaddr.Refusal(refused))
	}
	return fmt.Errorf("redis denylist: %s: %w", what, err)
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
