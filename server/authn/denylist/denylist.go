package denylist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/internal/denials"
)

// The defaults of Config.
const (
	DefaultMaxEntries    = 1 << 18
	DefaultTokenLifetime = 24 * time.Hour
)

// ErrFull is returned for a denial that is not stored because the list has
// Config.MaxEntries denials and none of them has ended. Those stay.
var ErrFull = errors.New("denylist: full; raise MaxEntries, or deny for a shorter time")

// Config configures a List. The zero value is valid.
type Config struct {
	// MaxEntries bounds the number of denials. A full list of the default size
	// takes about 35 MB. Default: DefaultMaxEntries.
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
//
// A denial lasts for a minute at least, also if its tokens have expired: it ends the
// transfers that have outlived them (authn.TransferTime).
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
type List struct{ set *denials.Set }

// Validate returns everything that is wrong with the values of cfg, joined.
func (cfg Config) Validate() error {
	return errors.Join(
		invalid.NotNegative("MaxEntries", cfg.MaxEntries, "a positive number", DefaultMaxEntries),
		invalid.NotNegative("TokenLifetime", cfg.TokenLifetime, "a positive duration",
			DefaultTokenLifetime))
}

// New returns an empty list. Its errors are those of [Config.Validate].
func New(cfg Config) (*List, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("denylist", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &List{denials.NewSet(cmp.Or(cfg.MaxEntries, DefaultMaxEntries),
		cmp.Or(cfg.TokenLifetime, DefaultTokenLifetime), cfg.Now)}, nil
}

// DenySession implements [Denylist]. Its error is [ErrFull], or that a name is
// empty.
func (l *List) DenySession(_ context.Context, issuer, sid string, until time.Time) error {
	return l.deny(denials.Session, issuer, sid, time.Time{}, until)
}

// DenyToken implements [Denylist]. Its error is [ErrFull], or that a name is
// empty.
func (l *List) DenyToken(_ context.Context, issuer, jti string, until time.Time) error {
	return l.deny(denials.TokenID, issuer, jti, time.Time{}, until)
}

// DenySubject implements [Denylist]. The claim "iat" usually has whole seconds:
// a token issued in the same second is refused, and so is one without "iat".
// Its error is [ErrFull], or that a name is empty.
func (l *List) DenySubject(_ context.Context, issuer, sub string, at, until time.Time) error {
	return l.deny(denials.Subject, issuer, sub, at, until)
}

func (l *List) deny(k denials.Kind, issuer, value string, at, until time.Time) error {
	e, err := l.set.Entry(k, issuer, value, at, until)
	if err != nil {
		return fmt.Errorf("denylist: %w", err)
	}
	if !l.set.Put(e) {
		return ErrFull
	}
	return nil
}

// Revoked implements [Denylist]. It returns authn.ErrRevoked or nil, and does not
// allocate.
func (l *List) Revoked(_ context.Context, key *authn.RevocationKey) error {
	if l.set.Denies(key) {
		return authn.ErrRevoked
	}
	return nil
}

// Changed implements [Denylist] and authn.Denylist.
func (l *List) Changed() <-chan struct{} { return l.set.Changed() }

// Len returns the number of denials, some of which may have ended.
func (l *List) Len() int { return l.set.Len() }
