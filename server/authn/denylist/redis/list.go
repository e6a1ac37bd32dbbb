package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/internal/denials"
)

const (
	// staleAfter is how long the mirror is used without news.
	staleAfter = time.Second
	// answerWithin bounds a single command of the feed, and a dial.
	answerWithin = 500 * time.Millisecond
	// askWithin bounds a look-up in Redis.
	askWithin = 400 * time.Millisecond
	// writeWithin bounds a denial, including its repetitions.
	writeWithin = 2 * time.Second
	// settleFor is how long after the begin of an epoch the other processes may
	// take to write back their denials: long enough to detect a frozen
	// connection, pause and dial.
	settleFor = 2 * time.Second
	// maxQuestions bounds concurrent look-ups in Redis.
	maxQuestions = 256
)

var (
	errLost   = errors.New("redis has lost data, which is being restored")
	errNoFeed = errors.New("no news from the feed for a second")
	errClosed = errors.New("redis denylist: closed")
)

// A List is a [denylist.Denylist] that processes share. It is safe for
// concurrent use.
type List struct {
	cfg    Config
	client rueidis.Client
	keys   keys
	mirror *denials.Set

	born      time.Time                // origin of the monotonic times below
	asOf      atomic.Int64             // all earlier denials are in the mirror; 0 for never
	settled   atomic.Int64             // until then, others may be restoring what Redis lost
	epoch     atomic.Pointer[string]   // of the last synchronization
	full      atomic.Bool              // Redis has more than fits into the mirror
	unsent    atomic.Bool              // the mirror has denials that could not be written
	refused   *throttle.Log            // writes of such denials
	questions chan struct{}            // a token for each look-up in Redis
	first     atomic.Pointer[follower] // that Open began, for Run
	closing   context.Context
	close     context.CancelFunc
	closeOnce sync.Once
}

// Open connects and loads the denials. It fails if Redis cannot be reached or
// refuses, and waits no longer than ctx. After the very first start, or a loss in
// Redis, it waits up to two seconds for other processes to restore theirs. The
// caller runs Run, and Close at the end.
func Open(ctx context.Context, cfg Config) (*List, error) {
	l, option, err := cfg.open()
	if err != nil {
		return nil, err
	}
	if l.client, err = rueidis.NewClient(option); err != nil {
		if l.client != nil {
			l.client.Close()
		}
		return nil, fmt.Errorf("redis denylist: %w", explained("connect", option, err))
	}
	f, err := l.connect(ctx)
	switch {
	case err == nil:
		l.first.Store(f)
	case !l.full.Load(): // it starts also if the mirror is too small
		l.Close()
		return nil, err
	}
	if err := sleep(ctx, time.Duration(l.settled.Load())-time.Since(l.born)); err != nil {
		l.Close()
		return nil, l.problem("load denials", err)
	}
	return l, nil
}

var _ denylist.Denylist = (*List)(nil)

// newList returns a list that is not connected.
func newList(cfg Config) *List {
	l := &List{
		cfg: cfg, keys: newKeys(cfg.Prefix),
		mirror: denials.NewSet(cfg.MaxEntries, cfg.TokenLifetime, cfg.Now),
		born:   time.Now(), questions: make(chan struct{}, maxQuestions),
		refused: throttle.Every(time.Minute),
	}
	l.closing, l.close = context.WithCancel(context.Background())
	return l
}

// DenySession implements [denylist.Denylist]. Like the other Deny methods, it
// returns nil when Redis has the denial, and otherwise, after 2 s at most, an
// error. Even then this process refuses the tokens, and goes on writing to Redis.
func (l *List) DenySession(ctx context.Context, issuer, sid string, until time.Time) error {
	return l.deny(ctx, denials.Session, issuer, sid, time.Time{}, until)
}

// DenyToken implements [denylist.Denylist]; see DenySession.
func (l *List) DenyToken(ctx context.Context, issuer, jti string, until time.Time) error {
	return l.deny(ctx, denials.TokenID, issuer, jti, time.Time{}, until)
}

// DenySubject implements [denylist.Denylist]; see DenySession. The claim "iat"
// usually has whole seconds: a token issued in the same second is refused, and
// so is one without "iat".
func (l *List) DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error {
	return l.deny(ctx, denials.Subject, issuer, sub, at, until)
}

func (l *List) deny(ctx context.Context, k denials.Kind, issuer, value string,
	at, until time.Time) error {
	e, err := l.mirror.Entry(k, issuer, value, at, until)
	if err != nil {
		return fmt.Errorf("redis denylist: %w", err)
	}
	// Without room, the feed fails too, and look-ups ask Redis.
	held := l.mirror.Put(e)
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	exec := l.keys.deny(e, l.cfg.Now().UnixMilli())
	if err = deny.Exec(ctx, l.client, exec.Keys, exec.Args).Error(); err == nil {
		return nil
	}
	if !held {
		return l.problem("denial lost: the mirror is full and writing failed", err)
	}
	l.unsent.Store(true)
	return l.problem("denial effective in this process only: writing it failed and will be repeated", err)
}

// Revoked implements [denylist.Denylist]. While the feed is current it neither
// allocates nor uses the network; otherwise it takes up to 0.4 s.
func (l *List) Revoked(ctx context.Context, key *authn.RevocationKey) error {
	fresh := l.fresh() // before the look-up, since the mirror only grows until then
	if l.mirror.Denies(key) {
		return authn.ErrRevoked
	}
	if fresh {
		return nil
	}
	return l.ask(ctx, key)
}

// Changed returns a channel that is closed at the next denial that this process
// learns of.
func (l *List) Changed() <-chan struct{} { return l.mirror.Changed() }

// Ready returns nil while look-ups can be answered. It does not wait.
func (l *List) Ready() error {
	switch {
	case l.closing.Err() != nil:
		return errClosed
	case l.fresh() || l.full.Load() && !l.settling():
		return nil
	default:
		return l.problem("not ready", errNoFeed)
	}
}

// Close ends Run and closes the connections. Afterwards look-ups fail, except of
// tokens that are known to be denied.
func (l *List) Close() {
	l.closeOnce.Do(func() {
		l.close()
		l.asOf.Store(0)
		if f := l.first.Swap(nil); f != nil {
			f.release()
		}
		l.client.Close()
	})
}

// elapsed returns the monotonic time since born, never 0.
func (l *List) elapsed() time.Duration { return max(1, time.Since(l.born)) }

func (l *List) fresh() bool {
	asOf := l.asOf.Load()
	return asOf != 0 && l.elapsed()-time.Duration(asOf) < staleAfter
}

func (l *List) settling() bool { return l.elapsed() < time.Duration(l.settled.Load()) }

// ask asks Redis about one token.
func (l *List) ask(ctx context.Context, key *authn.RevocationKey) error {
	const what = "look up in Redis, since the feed is broken"
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	select {
	case l.questions <- struct{}{}:
		defer func() { <-l.questions }()
	case <-ctx.Done():
		return l.problem(what, ctx.Err())
	}
	names := make([]denials.Name, 0, 3)
	keys := []string{l.keys.epoch}
	for _, claim := range []struct {
		kind  denials.Kind
		value string
	}{{denials.Session, key.SessionID}, {denials.TokenID, key.ID}, {denials.Subject, key.Subject}} {
		if claim.value != "" {
			n := denials.NewName(claim.kind, key.Issuer, claim.value)
			names, keys = append(names, n), append(keys, l.keys.prefix+n.String())
		}
	}
	values, err := l.client.Do(ctx, l.client.B().Mget().Key(keys...).Build()).ToArray()
	if err != nil {
		return l.problem(what, err)
	}
	if len(values) != len(keys) {
		return l.problem(what, fmt.Errorf("%d values for %d keys", len(values), len(keys)))
	}
	stored, err := parse(names, values[1:])
	if err != nil {
		return l.problem(what, err)
	}
	for n, d := range stored {
		if !l.mirror.Ended(d) && d.Covers(n.Kind, key.IssuedAt) {
			return authn.ErrRevoked
		}
	}
	// That a denial is missing counts only if Redis has lost nothing.
	if epoch, err := values[0].ToString(); err != nil || epoch != *l.epoch.Load() || l.settling() {
		return l.problem(what, errLost)
	}
	return nil
}

// parse returns the denials of names, given their values in Redis, nil for those
// that have expired there.
func parse(names []denials.Name, values []rueidis.RedisMessage) (map[denials.Name]denials.Denial, error) {
	stored := make(map[denials.Name]denials.Denial, len(names))
	for i, v := range values {
		s, err := v.ToString()
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err == nil {
			stored[names[i]], err = denials.ParseDenial(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return stored, nil
}
