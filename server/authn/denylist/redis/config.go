package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
	"github.com/gatehouse-dev/gatehouse/internal/rediscause"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// DefaultPrefix is the default of Config.Prefix.
const DefaultPrefix = "gatehouse:deny:"

// Config describes a List. URL is required.
type Config struct {
	// URL is redis://[user:password@]host[:port][/database], or rediss:// with
	// TLS. It is in no error and no log line, since it may hold a password. A
	// cluster is not supported: one server, or one address that leads to the
	// primary.
	URL string
	// TLS is for rediss, for example with RootCAs of one's own; nil means the
	// system's roots and the URL's host.
	TLS *tls.Config
	// Prefix begins every key; "" means DefaultPrefix. Processes share a list
	// if they use the same database with the same prefix.
	Prefix string
	// MaxEntries bounds the mirror; 0 means denylist.DefaultMaxEntries, which
	// take about 35 MB. If Redis holds more, Redis is asked at every look-up.
	MaxEntries int
	// TokenLifetime is how long access tokens live at most: denials without an
	// end of their own last that long. 0 means denylist.DefaultTokenLifetime.
	TokenLifetime time.Duration
	// Now is the clock that denials end by; nil means time.Now. The age of the
	// feed is measured by the process's monotonic clock, so that no adjustment
	// makes an old feed look fresh.
	Now func() time.Time
	// Logger is told when the feed breaks and when it is back; nil discards.
	Logger *slog.Logger
}

func (c *Config) setDefaults() error {
	switch {
	case c.MaxEntries < 0:
		return fmt.Errorf("redis denylist: MaxEntries is %d; give a positive number, or 0 for %d", c.MaxEntries, denylist.DefaultMaxEntries)
	case c.TokenLifetime < 0:
		return fmt.Errorf("redis denylist: TokenLifetime is %v; give a positive duration, or 0 for %v", c.TokenLifetime, denylist.DefaultTokenLifetime)
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = denylist.DefaultMaxEntries
	}
	if c.TokenLifetime == 0 {
		c.TokenLifetime = denylist.DefaultTokenLifetime
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

const urlRemedy = "give redis://[user:password@]host[:port][/database], or rediss:// for TLS, with special characters of the password percent-encoded"

// clientOption has deadlines that fit a feed which is broken after a second.
// The library's own take ten seconds to give up a frozen server.
func (c *Config) clientOption() (rueidis.ClientOption, error) {
	a, err := redisaddr.Parse(c.URL)
	if err == nil {
		_, err = url.Parse(c.URL)
		if err != nil {
			err = errors.New("is malformed") // the error of net/url quotes the URL
		}
	}
	switch {
	case err != nil:
		return rueidis.ClientOption{}, fmt.Errorf("redis denylist: the URL %w (it is not shown, as it may hold a password); %s", err, urlRemedy)
	case a.Kind != redisaddr.Single:
		return rueidis.ClientOption{}, fmt.Errorf("redis denylist: the URL's scheme is %q; %s", a.Kind, urlRemedy)
	case c.TLS != nil && !a.Secure:
		return rueidis.ClientOption{}, errors.New("redis denylist: TLS is set, but the URL's scheme is redis; give rediss://…")
	}
	option, err := a.Option()
	if err != nil {
		return rueidis.ClientOption{}, fmt.Errorf("redis denylist: %w", err)
	}
	if c.TLS != nil {
		server := option.TLSConfig.ServerName
		option.TLSConfig = c.TLS.Clone()
		if option.TLSConfig.ServerName == "" {
			option.TLSConfig.ServerName = server
		}
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

// problem wraps an error of the client. Servers that do not know HELLO quote
// its arguments, of which the password is one.
func (l *List) problem(what string, err error) error {
	if refused, ok := errors.AsType[*rueidis.RedisError](err); ok && refused.Error() != rediscause.Refusal(refused) {
		return errors.New("redis denylist: " + what + ": " + rediscause.Refusal(refused))
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
