package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/pgcheck"
)

const (
	// channel is the channel of notifications. Those of another schema in the same database arrive
	// too, and have no effect.
	channel = "gatehouse_sessions"
	// beatEvery is how often the listening connection is pinged, answeredWithin how long an answer
	// may take, and believedFor how long after an answered ping the cache is used.
	beatEvery      = 300 * time.Millisecond
	answeredWithin = 400 * time.Millisecond
	believedFor    = 700 * time.Millisecond
	// newsWithin is how long the test notification of a new connection may take.
	newsWithin = 5 * time.Second
	// retryAfter is the first pause between attempts to listen again; it doubles up to
	// maxRetryAfter.
	retryAfter    = 100 * time.Millisecond
	maxRetryAfter = 2 * time.Second
)

// errNoNews says that LISTEN was accepted and no notification arrived.
var errNoNews = errors.New("LISTEN brings no notifications, as with a pooler in transaction mode: " +
	"give the address of the server itself, or of a pooler in session mode")

// feed is the connection that listens.
type feed struct {
	config *pgx.ConnConfig
	// prepare is called with a copy of config before each connection.
	prepare func(context.Context, *pgx.ConnConfig) error
	// probe is the payload that listen waits for, and probed whether it has arrived. The goroutine
	// of the connection uses them.
	probe  string
	probed bool

	born time.Time
	// asOf is the monotonic time after born before which all commits are known here; 0 if there is
	// none.
	asOf atomic.Int64
}

// elapsed returns the monotonic time since born, never 0.
func (f *feed) elapsed() time.Duration { return max(1, time.Since(f.born)) }

// current reports whether the cache may be used.
func (f *feed) current() bool {
	asOf := f.asOf.Load()
	return asOf != 0 && f.elapsed()-time.Duration(asOf) < believedFor
}

// Watch implements [session.Watcher].
func (s *Store) Watch(ctx context.Context, event func(session.Event)) error {
	return s.events.Watch(ctx, event)
}

// follow listens until the context ends, first on a connection that listens already.
func (s *Store) follow(ctx context.Context, conn *pgx.Conn) {
	for wait := retryAfter; ; wait = min(2*wait, maxRetryAfter) {
		if conn != nil {
			err := s.hear(ctx, conn)
			s.feed.asOf.Store(0)
			_ = conn.Close(expired)
			if ctx.Err() != nil {
				return
			}
			s.events.Break(outage(fmt.Errorf("listen: %w", err)))
			wait = retryAfter
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		var err error
		if conn, err = s.listen(ctx); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelDebug, "session feed not restored",
				slog.String("err", pgcheck.Explain(err).Error()))
		}
	}
}

// expired is a context with which closing a connection does not wait for the server.
var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// listen opens a connection, listens and tests it: only a notification that another connection
// sends while this one is idle proves that no pooler gives the connection to other clients.
func (s *Store) listen(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, newsWithin)
	defer cancel()
	config := s.feed.config.Copy()
	if err := s.feed.prepare(ctx, config); err != nil {
		return nil, err
	}
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { s.news(n.Payload) }
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close(expired)
		}
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return nil, err
	}
	s.feed.probe, s.feed.probed = "p"+rand.Text(), false
	at := s.feed.elapsed()
	if _, err := s.pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, s.feed.probe); err != nil {
		return nil, err
	}
	for !s.feed.probed {
		if err := conn.PgConn().WaitForNotification(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, errNoNews
			}
			return nil, err
		}
	}
	// Sessions read before are dropped, and those being read now are not cached.
	s.records.Clear()
	s.feed.asOf.Store(int64(at))
	s.events.Mend()
	return conn, nil
}

// hear receives notifications and pings the connection until one of both fails. The server sends
// notifications to an idle connection before it takes the next command, so the answer to a ping
// comes after those of all earlier commits.
func (s *Store) hear(ctx context.Context, conn *pgx.Conn) error {
	next := time.Now().Add(beatEvery)
	for {
		waiting, cancel := context.WithDeadline(ctx, next)
		err := conn.PgConn().WaitForNotification(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if time.Now().Before(next) {
				continue
			}
		case waiting.Err() == nil:
			return err
		}
		next = time.Now().Add(beatEvery)
		at := s.feed.elapsed()
		asking, cancel := context.WithTimeout(ctx, answeredWithin)
		err = conn.Ping(asking)
		cancel()
		if err != nil {
			return err
		}
		s.feed.asOf.Store(int64(at))
	}
}

// news handles a notification: "c" and an ID for a change; "e", the reason and an ID for an end.
func (s *Store) news(payload string) {
	if payload == s.feed.probe {
		s.feed.probed = true
		return
	}
	if payload != "" && payload[0] == 'p' {
		return // the test of another process
	}
	e, err := parseNews(payload)
	if err != nil {
		s.records.Clear() // of another version
		s.events.Publish(session.Event{})
		return
	}
	s.forget(e.ID)
	s.events.Publish(e)
}

func parseNews(payload string) (e session.Event, err error) {
	switch {
	case len(payload) == 1+2*len(e.ID) && payload[0] == 'c':
		payload = payload[1:]
	case len(payload) == 2+2*len(e.ID) && payload[0] == 'e' && payload[1] >= '0' && payload[1] <= '9':
		e.Ended, e.Reason = true, session.Reason(payload[1]-'0')
		payload = payload[2:]
	default:
		return session.Event{}, errors.New("unknown notification")
	}
	if _, err := hex.Decode(e.ID[:], []byte(payload)); err != nil {
		return session.Event{}, err
	}
	return e, nil
}

// forget drops a session from the cache, and a read in progress.
func (s *Store) forget(id session.ID) {
	s.records.Drop(id)
	s.reads.Forget(string(id[:]))
}

// toldChanged is the expression that notifies of changes of the sessions in a column id, toldEnded
// of their ends.
const toldChanged = "pg_notify('" + channel + "', 'c' || encode(id, 'hex'))"

func toldEnded(why session.Reason) string {
	if why > 9 {
		why = session.ReasonUnknown
	}
	return fmt.Sprintf("pg_notify('%s', 'e%d' || encode(id, 'hex'))", channel, why)
}
