package postgres

import (
	"context"
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
	// channel carries the news. Sessions of another schema in the same database are told there too, and concern nobody.
	channel = "gatehouse_sessions"
	// beatEvery is how often it is proved that no news is under way, answeredWithin how long a proof may take, and
	// believedFor how long what is remembered is believed after one.
	beatEvery      = 300 * time.Millisecond
	answeredWithin = 400 * time.Millisecond
	believedFor    = 700 * time.Millisecond
	// newsWithin is how long it may take a notification to arrive when listening is tried out.
	newsWithin = 5 * time.Second
	// retryAfter and its multiples lie between the attempts to listen again.
	retryAfter    = 100 * time.Millisecond
	maxRetryAfter = 2 * time.Second
)

// errNoNews says that LISTEN was accepted and nothing came.
var errNoNews = errors.New("LISTEN brings no notifications: is there a pooler in transaction mode between? Give the address of the server itself, or of a pooler in session mode")

// feed is the connection that listens.
type feed struct {
	config *pgx.ConnConfig
	// probe is the payload that listen waits for, probed whether it came. Both are of the goroutine that has the connection.
	probe  string
	probed bool

	born time.Time
	// asOf is since when, in monotonic time after born, everything that was committed before is known here; 0 for not.
	asOf atomic.Int64
}

func (f *feed) init(config *pgx.ConnConfig) {
	f.config, f.born = config, time.Now()
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

// follow listens until the context ends, beginning with a connection that listens already.
func (s *Store) follow(ctx context.Context, conn *pgx.Conn) {
	for wait := retryAfter; ; wait = min(2*wait, maxRetryAfter) {
		if conn != nil {
			err := s.hear(ctx, conn)
			s.feed.asOf.Store(0)
			_ = conn.Close(expired)
			if ctx.Err() != nil {
				return
			}
			s.events.Break(outage(fmt.Errorf("listening: %w", err)))
			s.log.LogAttrs(ctx, slog.LevelWarn, "the session store's feed is broken: the database is asked at every request until it is back",
				slog.String("cause", err.Error()))
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
		if conn, err = s.listen(ctx); err == nil {
			s.log.LogAttrs(ctx, slog.LevelInfo, "the session store's feed is back")
		} else if ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelDebug, "listening to the session store failed", slog.String("cause", pgcheck.Explain(err).Error()))
		}
	}
}

// expired is a context that keeps closing a connection from waiting for the server's farewell.
var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// listen opens a connection, listens, and tries it out: only what another connection sends while this one is idle proves
// that there is no pooler that gives the connection to others meanwhile.
func (s *Store) listen(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, newsWithin)
	defer cancel()
	config := s.feed.config.Copy()
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
	s.feed.probe, s.feed.probed = "p"+nonce(), false
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
	// What was read before is forgotten, and what is being read now is not remembered.
	s.records.Clear()
	s.feed.asOf.Store(int64(at))
	s.events.Mend()
	return conn, nil
}

// hear takes the news, and proves every now and then that none is under way, until one of both fails. The server sends an
// idle session's notifications before it is ready for the next question, so an answer comes after all news of what was
// committed before it was asked.
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

// news is one notification: "c" and an ID for a change, "e", the reason and an ID for an end.
func (s *Store) news(payload string) {
	if payload == s.feed.probe {
		s.feed.probed = true
		return
	}
	if payload != "" && payload[0] == 'p' {
		return // another process tries out its connection
	}
	e, err := parseNews(payload)
	if err != nil {
		s.records.Clear() // by an older or a newer program: it means something to it
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
		return session.Event{}, errors.New("no news of ours")
	}
	if _, err := hex.Decode(e.ID[:], []byte(payload)); err != nil {
		return session.Event{}, err
	}
	return e, nil
}

// forget drops what is remembered and what is being read.
func (s *Store) forget(id session.ID) {
	s.records.Drop(id)
	s.reads.Forget(string(id[:]))
}

// told are the expressions that tell of the sessions in a column id.
const toldChanged = "pg_notify('" + channel + "', 'c' || encode(id, 'hex'))"

func toldEnded(why session.Reason) string {
	if why > 9 {
		why = session.ReasonUnknown
	}
	return fmt.Sprintf("pg_notify('%s', 'e%d' || encode(id, 'hex'))", channel, why)
}
