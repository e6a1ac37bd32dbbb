package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
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
	// beatEvery is how often it is proved that no news is under way, answeredWithin how long a proof may take, and
	// believedFor how long what is remembered is believed after one.
	beatEvery      = 300 * time.Millisecond
	answeredWithin = 400 * time.Millisecond
	believedFor    = 700 * time.Millisecond
)

var (
	errReplica  = errors.New("it is a replica, which takes no writes")
	errNoMaster = errors.New("there is no master among the servers")
)

// feed is the process's knowledge of what others change: what it remembers, and whether that can be believed.
type feed struct {
	*server
	log     *slog.Logger
	kind    redisaddr.Kind
	records *cache.Cache[session.Record]
	events  fanout.Hub

	born time.Time
	// asOf is since when, in monotonic time after born, everything that was committed before is known here; 0 for not.
	asOf atomic.Int64
	// dials counts the connections that were made, and told is how many there were when those who watch were last told that
	// they may have missed something.
	dials atomic.Int64
	told  int64
	// failure is why the last proof failed.
	failure atomic.Pointer[error]
	// mastersMu guards masters, the addresses that answered as masters to the last proof.
	mastersMu sync.Mutex
	masters   map[string]rueidis.Client
}

// elapsed is the monotonic time; never 0.
func (f *feed) elapsed() time.Duration { return max(1, time.Since(f.born)) }

// current tells whether what is remembered is to be believed.
func (f *feed) current() bool {
	asOf := f.asOf.Load()
	return asOf != 0 && f.elapsed()-time.Duration(asOf) < believedFor
}

// Watch implements [session.Watcher].
func (f *feed) Watch(ctx context.Context, event func(session.Event)) error {
	return f.events.Watch(ctx, event)
}

// follow asks every server for a proof, again and again.
func (f *feed) follow(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for broken := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.beat(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !broken:
			f.log.LogAttrs(ctx, slog.LevelWarn, "the session store's feed is broken: Redis is asked at every request until it is back",
				slog.String("cause", err.Error()))
		case err == nil && broken:
			f.log.LogAttrs(ctx, slog.LevelInfo, "the session store's feed is back")
		}
		broken = err != nil
	}
}

// beat asks every server something on the connection that brings its news. The answers come after all news of what was
// done before they were asked. The question is about a key, since a master that the others of its cluster have lost still
// answers a PING, but not that.
func (f *feed) beat(ctx context.Context) error {
	limit := answeredWithin
	if f.asOf.Load() == 0 {
		limit = connectWithin // there may be a connection to be made first
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
	f.mastersMu.Lock()
	f.masters = masters
	f.mastersMu.Unlock()
	f.events.Mend()
	if dials := f.dials.Load(); dials != f.told {
		f.told = dials
		f.records.Clear()
		f.events.Publish(session.Event{})
	}
	f.asOf.Store(int64(at))
	f.failure.Store(nil)
	return nil
}

func (f *feed) ask(ctx context.Context, node rueidis.Client) (master bool, err error) {
	answers := node.DoMulti(ctx, node.B().Exists().Key(f.keys.sessions()+"{beat}").Build(), node.B().Role().Build())
	if err := answers[0].Error(); err != nil {
		// Where the key would be is not the question.
		if refused, ok := rueidis.IsRedisErr(err); !ok || !strings.HasPrefix(refused.Error(), "MOVED ") {
			return false, err
		}
	}
	role, err := answers[1].ToArray()
	if refused, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(refused.Error(), "NOPERM") {
		return true, nil // not to be found out
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

// news is what Redis says has changed: keys of sessions, or nil for anything, also when a connection has ended. An end says
// so by another key beside that of the session. It is called by the goroutine that reads the connection.
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
	// The ends first: who heard of a change before would ask, and find nothing and no reason.
	for _, ended := range []bool{true, false} {
		for _, e := range events {
			if e.Ended == ended {
				f.events.Publish(e)
			}
		}
	}
}

// sortedMasters are the servers that hold sessions, in the order of their addresses.
func (f *feed) sortedMasters() []rueidis.Client {
	f.mastersMu.Lock()
	defer f.mastersMu.Unlock()
	addrs := make([]string, 0, len(f.masters))
	for addr := range f.masters {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	nodes := make([]rueidis.Client, len(addrs))
	for i, addr := range addrs {
		nodes[i] = f.masters[addr]
	}
	return nodes
}

// dial counts the connections, since each is deaf to what happened before it.
func (f *feed) dial(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
	f.dials.Add(1)
	if secure != nil {
		return (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", addr)
	}
	return d.DialContext(ctx, "tcp", addr)
}

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
	return outage(errors.New("no answer for 0.7 s"))
}
