// Package redis owns a session store in Redis 7 or Valkey, single, under Sentinel or as a cluster,
// for any number of bffs: its keys, notifications between processes, and a cache in each. What a
// session is, and the rules of a store, are left to package session.
//
// A process caches the sessions that it has read. Redis reports changes of their keys on the
// connection that it reads from (RESP3 client tracking in broadcasting mode); when such a
// connection ends, the cache is cleared. Every 300 ms a command on that connection proves that no
// report is outstanding. After 700 ms without an answer every request reads Redis. A logout thus
// takes effect everywhere within 700 ms, also when a connection fails.
//
// Redis acknowledges a write before a replica has it: a failover can undo the logins, refreshes and
// logouts of the last second. A Redis without persistence loses all sessions when it restarts.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
)

const (
	// DefaultPrefix is the default of Config.Prefix.
	DefaultPrefix = "gatehouse:"

	defaultCacheSize = 8192
	// answerWithin bounds a call, including its repetitions.
	answerWithin = 2 * time.Second
	// connectWithin bounds dialling, which with TLS takes several round trips.
	connectWithin = 2 * time.Second
	// brokenAfter is how long a connection may be silent, and pingEvery how soon silence is
	// detected.
	brokenAfter = 500 * time.Millisecond
	pingEvery   = 250 * time.Millisecond
	// topologyEvery is how often a cluster or the sentinels are asked for the masters.
	topologyEvery = 2 * time.Second
	openWithin    = 10 * time.Second
)

// Config configures a Store. URL is required.
type Config struct {
	// URL is redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], redis-cluster://HOST:PORT,HOST:PORT or
	// redis-sentinel://HOST:PORT,HOST:PORT/MASTER[/DATABASE]. With rediss, rediss-cluster and
	// rediss-sentinel connections use TLS, with the system's authorities or those in the file of
	// the parameter ca_file, and the client certificate of cert_file and key_file. These files are
	// read again for each connection. The parameters sentinel_user and sentinel_password are for the
	// sentinels.
	URL string
	// Prefix begins every key. Stores with the same prefix share their sessions. Default:
	// DefaultPrefix.
	Prefix string
	// CacheSize is how many sessions are cached in the process, each at a little more than its
	// stored size. Default: 8192.
	CacheSize int
	// Now is the clock, by which sessions expire. The clocks of all processes should agree, and
	// with that of Redis within a minute. Default: time.Now.
	Now func() time.Time
	// Logger logs changes of the feed, and settings of the server that can lose sessions. Default:
	// none.
	Logger *slog.Logger
}

// Store implements [session.Store] and most of its optional parts. It is safe for concurrent use.
type Store struct {
	*server
	notes
	feed
	index index

	stop    context.CancelFunc
	running sync.WaitGroup
}

var _ interface {
	session.Store
	session.Index
	session.NoteStore
	session.Watcher
	session.ReadyChecker
} = (*Store)(nil)

const urlRemedy = "give redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], redis-cluster://HOST:PORT,HOST:PORT or " +
	"redis-sentinel://HOST:PORT,HOST:PORT/MASTER, each also as rediss… for TLS, with special characters of the password percent-encoded"

// Validate returns everything that is wrong with cfg, joined. It contacts nothing, and
// its errors show no password.
func (cfg Config) Validate() error {
	errs := []error{invalid.NotNegative("CacheSize", cfg.CacheSize, "a number of sessions",
		defaultCacheSize)}
	if _, err := redisaddr.Parse(cfg.URL); err != nil {
		errs = append(errs, &invalid.Error{Field: "URL", Problem: err.Error(), Remedy: urlRemedy})
	}
	if strings.ContainsAny(cfg.Prefix, "{}") {
		errs = append(errs, invalid.Field("Prefix", cfg.Prefix,
			"has a brace, which decides where a cluster keeps a key", "leave braces out"))
	}
	return errors.Join(errs...)
}

// Open connects, which takes at most 10 s. Its errors show no password. The caller closes the
// store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("redis", err)
	}
	a, _ := redisaddr.Parse(cfg.URL)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	server := &server{keys: keys(cmp.Or(cfg.Prefix, DefaultPrefix)), now: cfg.Now}
	s := &Store{server: server, index: index{server}, notes: notes{server}}
	s.feed = feed{server: server, log: cfg.Logger, kind: a.Kind,
		records: cache.New[session.Record](cmp.Or(cfg.CacheSize, defaultCacheSize)), born: time.Now()}
	option, err := s.option(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if err := s.open(ctx, option); err != nil {
		_ = s.Close()
		return nil, connectError(a, err)
	}
	return s, nil
}

// option returns the options of the client. It has one connection to each server: the one that
// answers reports changes.
func (f *feed) option(a redisaddr.Address) (rueidis.ClientOption, error) {
	option, err := a.Option()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	option.ClientName = "gatehouse"
	option.Dialer = net.Dialer{Timeout: connectWithin, KeepAlive: pingEvery}
	option.DialCtxFn = f.counted(option.DialCtxFn)
	option.ConnWriteTimeout = brokenAfter
	option.PipelineMultiplex = -1
	option.ClientTrackingOptions = []string{"PREFIX", f.keys.sessions(), "BCAST"}
	option.OnInvalidations = f.news
	option.CacheSizeEachConn = 1 << 20 // the library's cache is not used
	option.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: topologyEvery}
	if a.Kind == redisaddr.Sentinel {
		option.Sentinel.Dialer, option.Sentinel.TopologyRefreshInterval = option.Dialer, topologyEvery
	}
	return option, nil
}

func (s *Store) open(ctx context.Context, option rueidis.ClientOption) (err error) {
	if s.client, err = rueidis.NewClient(option); err != nil {
		return err
	}
	if mode := s.client.Mode(); s.kind == redisaddr.Cluster && mode != rueidis.ClientModeCluster {
		return errors.New("the server is not a cluster: write redis://")
	}
	if err := s.examine(ctx); err != nil {
		return err
	}
	if err := s.beat(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.follow(running) })
	return nil
}

// examine checks the settings of the servers.
func (f *feed) examine(ctx context.Context) error {
	for addr, node := range f.client.Nodes() {
		info, err := node.Do(ctx, node.B().Info().Section("everything").Build()).ToString()
		if err != nil {
			if f.kind == redisaddr.Cluster {
				continue // a replica that is down, for example
			}
			return err
		}
		has := func(line string) bool { return strings.Contains("\r\n"+info, "\r\n"+line+"\r\n") }
		if f.kind == redisaddr.Single && has("redis_mode:cluster") {
			return errors.New("the server is a node of a cluster: write redis-cluster://")
		}
		warn := func(problem string) {
			f.log.LogAttrs(ctx, slog.LevelWarn, "session store may lose sessions",
				slog.String("problem", problem), slog.String("address", addr))
		}
		if strings.Contains(info, "\r\nmaxmemory_policy:") && !has("maxmemory_policy:noeviction") && !has("maxmemory:0") {
			warn("Redis evicts keys when its memory is full; set maxmemory-policy to noeviction")
		}
		if has("aof_enabled:0") {
			warn("Redis does not log its writes, so a restart loses the latest or all of them; set appendonly to yes")
		}
	}
	return nil
}

// Close closes the connections. Later calls fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	s.events.Break(errClosed)
	s.asOf.Store(0) // Get uses the cache no more
	s.records.Clear()
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// connectError returns why Redis cannot be used.
func connectError(a redisaddr.Address, err error) error {
	if errors.Is(err, rueidis.ErrNoCache) {
		return errors.New("the server does not support RESP3 or client tracking: use Redis 7 or Valkey")
	}
	return redisaddr.Explain(a.Hosts, a.Secure, err)
}

// Explain adds a remedy to an error of a store, if Redis has refused a command.
func Explain(err error) error {
	if refused, ok := errors.AsType[*rueidis.RedisError](err); ok {
		operation, _, _ := strings.Cut(err.Error(), ": ")
		return fmt.Errorf("%s: %w", operation, redisaddr.Refused(refused))
	}
	return err
}
