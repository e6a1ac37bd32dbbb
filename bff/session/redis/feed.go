package redis

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
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

// feed is what is known of the connections that bring the news.
type feed struct {
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

// Watch implements [session.Store].
func (s *Store) Watch(ctx context.Context, event func(session.Event)) error {
	return s.events.Watch(ctx, event)
}

// follow asks every server for a proof, again and again.
func (s *Store) follow(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for broken := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.beat(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !broken:
			s.log.LogAttrs(ctx, slog.LevelWarn, "the session store's feed is broken: Redis is asked at every request until it is back",
				slog.String("cause", err.Error()))
		case err == nil && broken:
			s.log.LogAttrs(ctx, slog.LevelInfo, "the session store's feed is back")
		}
		broken = err != nil
	}
}

// beat asks every server something on the connection that brings its news. The answers come after all news of what was
// done before they were asked. The question is about a key, since a master that the others of its cluster have lost still
// answers a PING, but not that.
func (s *Store) beat(ctx context.Context) error {
	limit := answeredWithin
	if s.feed.asOf.Load() == 0 {
		limit = connectWithin // there may be a connection to be made first
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at := s.feed.elapsed()
	nodes := s.client.Nodes()
	masters := make(map[string]rueidis.Client, len(nodes))
	var failed error
	var mu sync.Mutex
	var asked sync.WaitGroup
	for addr, node := range nodes {
		asked.Go(func() {
			master, err := s.ask(ctx, node)
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
		s.feed.asOf.Store(0)
		s.feed.failure.Store(&failed)
		s.events.Break(s.outage(failed))
		return failed
	}
	s.feed.mastersMu.Lock()
	s.feed.masters = masters
	s.feed.mastersMu.Unlock()
	s.events.Mend()
	if dials := s.feed.dials.Load(); dials != s.feed.told {
		s.feed.told = dials
		s.records.Clear()
		s.events.Publish(session.Event{})
	}
	s.feed.asOf.Store(int64(at))
	s.feed.failure.Store(nil)
	return nil
}

func (s *Store) ask(ctx context.Context, node rueidis.Client) (master bool, err error) {
	answers := node.DoMulti(ctx, node.B().Exists().Key(s.sessionPrefix()+"{beat}").Build(), node.B().Role().Build())
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
	if master = name == "master"; !master && s.kind != cluster {
		return false, errReplica
	}
	return master, err
}

// news is what Redis says has changed: keys of sessions, or nil for anything, also when a connection has ended. An end says
// so by another key beside that of the session. It is called by the goroutine that reads the connection.
func (s *Store) news(keys []rueidis.RedisMessage) {
	if keys == nil {
		s.records.Clear()
		s.events.Publish(session.Event{})
		return
	}
	events := make([]session.Event, 0, len(keys))
	for _, key := range keys {
		name, err := key.ToString()
		if err != nil {
			continue
		}
		if e, ok := s.parseKey(name); ok {
			s.records.Drop(e.ID)
			events = append(events, e)
		}
	}
	// The ends first: who heard of a change before would ask, and find nothing and no reason.
	for _, ended := range []bool{true, false} {
		for _, e := range events {
			if e.Ended == ended {
				s.events.Publish(e)
			}
		}
	}
}

// sessionPrefix begins the keys whose changes are told.
func (s *Store) sessionPrefix() string { return s.prefix + "session:" }

// sessionKey is the key of a session. The braces have a cluster keep what belongs to it in one place.
func (s *Store) sessionKey(id session.ID) string {
	return s.sessionPrefix() + "{" + base64.RawURLEncoding.EncodeToString(id[:]) + "}"
}

// endKey is a key that is set, for a moment, when a session ends.
func (s *Store) endKey(id session.ID, why session.Reason) string {
	if why > 9 {
		why = session.ReasonUnknown
	}
	return s.sessionKey(id) + ":ended:" + string('0'+rune(why))
}

func (s *Store) parseKey(key string) (e session.Event, ok bool) {
	rest, ok := strings.CutPrefix(key, s.sessionPrefix()+"{")
	if !ok {
		return e, false
	}
	name, rest, ok := strings.Cut(rest, "}")
	if n, err := base64.RawURLEncoding.Strict().Decode(e.ID[:], []byte(name)); !ok || len(name) != 43 || err != nil || n != len(e.ID) {
		return session.Event{}, false
	}
	if rest == "" {
		return e, true
	}
	digit, ok := strings.CutPrefix(rest, ":ended:")
	if !ok || len(digit) != 1 || digit[0] < '0' || digit[0] > '9' {
		return session.Event{}, false
	}
	e.Ended, e.Reason = true, session.Reason(digit[0]-'0')
	return e, true
}
