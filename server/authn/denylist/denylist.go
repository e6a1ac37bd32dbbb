package denylist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// The defaults of Config.
const (
	DefaultMaxEntries    = 1 << 18
	DefaultTokenLifetime = 24 * time.Hour
)

// leeway is how long after its expiry a token is still accepted, since clocks
// differ. A denial lasts as much longer.
const leeway = time.Minute

// shards reduce contention between processors.
const shards = 64

// ErrFull is returned for a denial that is not stored because the list has
// Config.MaxEntries denials and none of them has ended. Those stay.
var ErrFull = errors.New("denylist: full; raise MaxEntries, or deny for a shorter time")

// Config configures a List. The zero value is valid.
type Config struct {
	// MaxEntries bounds the number of denials. A full list of the default size
	// takes about 60 MB. Default: DefaultMaxEntries.
	MaxEntries int
	// TokenLifetime is the longest lifetime of access tokens, which is how long
	// denials without an end last. Default: DefaultTokenLifetime.
	TokenLifetime time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// A Denylist is a set of denials, of one process ([List]) or shared by several
// (package redis below this one). It is safe for concurrent use.
//
// It is an [authn.Denylist] and a sessionadmin.Denylist, and bff.DenyIn makes a
// bff.Config.Revoke of it.
type Denylist interface {
	// DenySession refuses every token of a provider's session (claims "iss" and
	// "sid") until the last one expires; the zero time means the lifetime of
	// tokens from now.
	DenySession(ctx context.Context, issuer, sid string, until time.Time) error
	// DenyToken refuses one token (claims "iss" and "jti") until it expires; the
	// zero time means the lifetime of tokens from now.
	DenyToken(ctx context.Context, issuer, jti string, until time.Time) error
	// DenySubject refuses every token of a subject (claims "iss" and "sub") that
	// was not issued after at, until the last of them expires; the zero time
	// means the lifetime of tokens after at.
	DenySubject(ctx context.Context, issuer, sub string, at, until time.Time) error
	// Revoked returns authn.ErrRevoked if the token is denied, nil if not, and
	// another error if that is unknown.
	Revoked(ctx context.Context, key *authn.RevocationKey) error
	// Changed returns a channel that is closed at the next denial.
	Changed() <-chan struct{}
}

var _ Denylist = (*List)(nil)

// A List is the Denylist of one process. It forgets each denial when it ends.
type List struct {
	max      int64
	lifetime time.Duration
	now      func() time.Time
	seed     maphash.Seed
	size     atomic.Int64        // of all denials
	kinds    [kinds]atomic.Int64 // of those of one kind, to skip look-ups of unused kinds
	shards   [shards]shard
	changed  broadcast.Signal
}

type shard struct {
	mu      sync.RWMutex
	denials map[name]denial
	next    time.Time // no denial here ends earlier
}

// A name is a session, token or subject of an issuer.
type name struct {
	kind   kind
	issuer string
	value  string
}

type kind uint8

const (
	session kind = iota
	tokenID
	subject
	kinds = iota
)

type denial struct {
	until time.Time // forgotten then
	at    time.Time // of a subject: tokens issued later are accepted
}

// Validate returns everything that is wrong with the values of cfg, joined.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.MaxEntries < 0 {
		errs = append(errs, invalid.Field("MaxEntries", cfg.MaxEntries, "is negative",
			fmt.Sprintf("give a positive number, or 0 for %d", DefaultMaxEntries)))
	}
	if cfg.TokenLifetime < 0 {
		errs = append(errs, invalid.Field("TokenLifetime", cfg.TokenLifetime, "is negative",
			fmt.Sprintf("give a positive duration, or 0 for %v", DefaultTokenLifetime)))
	}
	return errors.Join(errs...)
}

// New returns an empty list. Its errors are those of [Config.Validate].
func New(cfg Config) (*List, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("denylist", err)
	}
	l := &List{
		max: int64(cmp.Or(cfg.MaxEntries, DefaultMaxEntries)), lifetime: cmp.Or(cfg.TokenLifetime,
			DefaultTokenLifetime),
		now: cfg.Now, seed: maphash.MakeSeed(),
	}
	if l.now == nil {
		l.now = time.Now
	}
	for i := range l.shards {
		l.shards[i].denials = map[name]denial{}
	}
	return l, nil
}

// DenySession implements [Denylist]. Its error is [ErrFull], or that a name is
// empty.
func (l *List) DenySession(_ context.Context, issuer, sid string, until time.Time) error {
	return l.deny(name{session, issuer, sid}, denial{until: until})
}

// DenyToken implements [Denylist]. Its error is [ErrFull], or that a name is
// empty.
func (l *List) DenyToken(_ context.Context, issuer, jti string, until time.Time) error {
	return l.deny(name{tokenID, issuer, jti}, denial{until: until})
}

// DenySubject implements [Denylist]. The claim "iat" usually has whole seconds:
// a token issued in the same second is refused, and so is one without "iat".
// Its error is [ErrFull], or that a name is empty.
func (l *List) DenySubject(_ context.Context, issuer, sub string, at, until time.Time) error {
	if until.IsZero() {
		until = at.Add(l.lifetime)
	}
	return l.deny(name{subject, issuer, sub}, denial{until: until, at: at})
}

// Revoked implements [Denylist]. It returns authn.ErrRevoked or nil, and does not
// allocate.
func (l *List) Revoked(_ context.Context, key *authn.RevocationKey) error {
	if l.size.Load() == 0 {
		return nil
	}
	now := l.now()
	if key.SessionID != "" && l.kinds[session].Load() > 0 {
		if _, ok := l.get(name{session, key.Issuer, key.SessionID}, now); ok {
			return authn.ErrRevoked
		}
	}
	if key.ID != "" && l.kinds[tokenID].Load() > 0 {
		if _, ok := l.get(name{tokenID, key.Issuer, key.ID}, now); ok {
			return authn.ErrRevoked
		}
	}
	if key.Subject != "" && l.kinds[subject].Load() > 0 {
		if d, ok := l.get(name{subject, key.Issuer, key.Subject}, now); ok && !key.IssuedAt.After(d.at) {
			return authn.ErrRevoked
		}
	}
	return nil
}

// Changed implements [Denylist] and authn.Denylist.
func (l *List) Changed() <-chan struct{} { return l.changed.Wait() }

// Len returns the number of denials, some of which may have ended.
func (l *List) Len() int { return int(l.size.Load()) }

func (l *List) get(n name, now time.Time) (denial, bool) {
	s := l.shard(n)
	s.mu.RLock()
	d, ok := s.denials[n]
	s.mu.RUnlock()
	return d, ok && now.Before(d.until)
}

func (l *List) deny(n name, d denial) error {
	if n.issuer == "" || n.value == "" {
		return fmt.Errorf("denylist: deny issuer %q, %s %q: an empty one would deny tokens without the claim", n.issuer, n.kind, n.value)
	}
	now := l.now()
	if d.until.IsZero() {
		d.until = now.Add(l.lifetime)
	}
	d.until = d.until.Add(leeway)
	if !now.Before(d.until) {
		return nil // all tokens that it would refuse have expired
	}
	for swept := false; ; swept = true {
		if l.put(n, d, now) {
			l.changed.Send()
			return nil
		}
		if swept {
			return ErrFull
		}
		l.sweep(now)
	}
}

func (l *List) shard(n name) *shard {
	return &l.shards[maphash.String(l.seed, n.value)%shards]
}

// put adds a denial, or extends an existing one; it never shortens one. It
// reports whether there was room.
func (l *List) put(n name, d denial, now time.Time) bool {
	s := l.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.forget(s, now)
	if have, ok := s.denials[n]; ok {
		if have.until.After(d.until) {
			d.until = have.until
		}
		if have.at.After(d.at) {
			d.at = have.at
		}
	} else if l.size.Add(1) > l.max {
		l.size.Add(-1)
		return false
	} else {
		l.kinds[n.kind].Add(1)
	}
	s.denials[n] = d
	if s.next.IsZero() || d.until.Before(s.next) {
		s.next = d.until
	}
	return true
}

func (l *List) sweep(now time.Time) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		l.forget(s, now)
		s.mu.Unlock()
	}
}

// forget removes ended denials. It scans the shard only if there are some.
func (l *List) forget(s *shard, now time.Time) {
	if s.next.IsZero() || now.Before(s.next) {
		return
	}
	s.next = time.Time{}
	for n, d := range s.denials {
		switch {
		case !now.Before(d.until):
			delete(s.denials, n)
			l.size.Add(-1)
			l.kinds[n.kind].Add(-1)
		case s.next.IsZero() || d.until.Before(s.next):
			s.next = d.until
		}
	}
}

func (k kind) String() string {
	switch k {
	case session:
		return "sid"
	case tokenID:
		return "jti"
	default:
		return "sub"
	}
}
