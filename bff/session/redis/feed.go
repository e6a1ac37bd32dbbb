package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/bff/session/internal/fanout"
	"github.com/gatehouse-dev/gatehouse/internal/redisaddr"
)

const (
	// beatEvery is how often each server is pinged on the connection that reports changes,
	// answeredWithin how long an answer may take, and believedFor how long after an answered ping
	// the cache is used.
	beatEvery      = 300 * time.Millisecond
	answeredWithin = 400 * time.Millisecond
	believedFor    = 700 * time.Millisecond
)

var (
	errReplica  = errors.New("the server is a replica, which accepts no writes")
	errNoMaster = errors.New("no server is a master")
)

// feed is the cache of the process, and the reports that keep it current.
type feed struct {
	*server
	log     *slog.Logger
	kind    redisaddr.Kind
	records *cache.Cache[session.Record]
	events  fanout.Hub

	born time.Time
	// asOf is the monotonic time after born before which all writes are known here; 0 if there is
	// none.
	asOf atomic.Int64
	// dials counts connections. reported was their number when watchers were last sent the event with
	// the zero ID.
	dials    atomic.Int64
	reported int64
	// failure is why the last ping failed.
	failure atomic.Pointer[error]
	// masters are the servers that answered the last ping as masters, and so hold sessions, in the
	// order of their addresses.
	masters atomic.Pointer[[]rueidis.Client]
}

// elapsed returns the monotonic time since born, never 0.
func (f *feed) elapsed() time.Duration { return max(1, time.Since(f.born)) }

// current reports whether the cache may be used.
func (f *feed) current() bool {
	asOf := f.asOf.Load()
	return asOf != 0 && f.elapsed()-time.Duration(asOf) < believedFor
}

// Watch implements [session.Watcher].
func (f *feed) Watch(ctx context.Context, event func(session.Event)) error {
	return f.events.Watch(ctx, event)
}

// follow pings the servers until the context ends.
func (f *feed) follow(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = f.beat(ctx) // watchers get the error
		}
	}
}

// beat sends each server a command on the connection that reports changes. The answer comes after
// the reports of all earlier writes. The command is about a key, since a master that has lost its
// cluster answers PING, but not that.
func (f *feed) beat(ctx context.Context) error {
	limit := answeredWithin
	if f.asOf.Load() == 0 {
		limit = connectWithin // it may dial first
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at := f.elapsed()
	nodes := f.client.Nodes()
	masters := make(map[string]rueidis.Client, len(nodes))
	var failed error
	var mu sync.Mutex
	var asked sync.WaitGroup
	for addr, node := range nodes {
		asked.Go(func() {
			master, err := f.ask(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			if master {
				masters[addr] = node
			}
		})
	}
	asked.Wait()
	if failed == nil && len(masters) == 0 {
		failed = errNoMaster
	}
	if failed != nil {
		f.asOf.Store(0)
		f.failure.Store(&failed)
		f.events.Break(outage(failed))
		return failed
	}
	var sorted []rueidis.Client
	for _, addr := range slices.Sorted(maps.Keys(masters)) {
		sorted = append(sorted, masters[addr])
	}
	f.masters.Store(&sorted)
	f.events.Mend()
	if dials := f.dials.Load(); dials != f.reported {
		f.reported = dials
		f.records.Clear()
		f.events.Publish(session.Event{})
	}
	f.asOf.Store(int64(at))
	f.failure.Store(nil)
	return nil
}

func (f *feed) ask(ctx context.Context, node rueidis.Client) (master bool, err error) {
	answers := node.DoMulti(ctx, node.B().Exists().Key(f.keys.sessions()+"{beat}").Build(),
		node.B().Role().Build())
	if err := answers[0].Error(); err != nil {
		// It does not matter which node has the key.
		if refused, ok := rueidis.IsRedisErr(err); !ok || !strings.HasPrefix(refused.Error(), "MOVED ") {
			return false, err
		}
	}
	role, err := answers[1].ToArray()
	if refused, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(refused.Error(), "NOPERM") {
		return true, nil // unknown
	}
	if err != nil || len(role) == 0 {
		return false, errors.Join(err, errNoMaster)
	}
	name, err := role[0].ToString()
	if master = name == "master"; !master && f.kind != redisaddr.Cluster {
		return false, errReplica
	}
	return master, err
}

// news handles a report of changed keys. nil means that any may have changed, as when a connection
// ended. An end is reported by a key of its own beside that of the session. The goroutine that
// reads the connection calls news.
func (f *feed) news(keys []rueidis.RedisMessage) {
	if keys == nil {
		f.records.Clear()
		f.events.Publish(session.Event{})
		return
	}
	events := make([]session.Event, 0, len(keys))
	for _, key := range keys {
		name, err := key.ToString()
		if err != nil {
			continue
		}
		if e, ok := f.keys.parse(name); ok {
			f.records.Drop(e.ID)
			events = append(events, e)
		}
	}
	// Ends come first: a watcher that learns of a change reads the session, and would find no
	// reason for its absence.
	for _, ended := range []bool{true, false} {
		for _, e := range events {
			if e.Ended == ended {
				f.events.Publish(e)
			}
		}
	}
}

// counted returns dial with a count of connections, since each reports only later
// changes.
func (f *feed) counted(dial dialer) dialer {
	return func(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		f.dials.Add(1)
		return dial(ctx, addr, d, secure)
	}
}

// A dialer is that of rueidis.
type dialer = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

// Ready implements [session.ReadyChecker]. It does not ask Redis.
func (f *feed) Ready(context.Context) error {
	if f.closed.Load() {
		return errClosed
	}
	if f.current() {
		return nil
	}
	if err := f.failure.Load(); err != nil {
		return outage(*err)
	}
	return outage(errors.New("no answer for 700 ms"))
}
