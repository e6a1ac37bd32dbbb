package token

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// AccessConfig configures an AccessVerifier. P is the caller's principal: built once per token, then cached and shared, so
// it must be immutable.
type AccessConfig[P any] struct {
	// Provider issues the tokens. Required.
	Provider *oidc.Provider
	// Audience must be among the token's audiences. Required.
	Audience string
	// RequireATJWT refuses tokens whose typ is not at+jwt (RFC 9068). It must be set where the audience is also a client id,
	// since ID tokens would pass otherwise (RFC 8725 §3.12).
	RequireATJWT bool
	// IDTokenClients are the ids of clients whose ID tokens are refused: a token that names one of them as an audience is
	// accepted only with the typ at+jwt.
	IDTokenClients []string
	// InsecureIDTokenShape accepts tokens with nonce or at_hash, which ID tokens have and access tokens do not, for issuers
	// whose access tokens look like ID tokens (Dex). ID tokens that name Audience then pass for access tokens.
	InsecureIDTokenShape bool
	// Principal makes the cached value of verified claims; an error makes the token invalid. Required.
	Principal func(*Claims) (P, error)
	// Revoked is asked at every call, on cache hits too, and must be safe for concurrent use; it may neither change the key
	// nor keep it after it returned. An *Error comes through as it is, any other error counts as ReasonUnavailable.
	// Nil: nothing is revoked.
	Revoked func(ctx context.Context, key *RevocationKey) error
	// CacheSize is how many verified tokens are remembered at most; 0 means 65,536, below 0 none. A full cache costs about
	// 900 bytes a token beyond what P holds, whatever the token's size; the table, 13 bytes a token, is allocated at once.
	CacheSize int
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// Logger is told of refused tokens, at debug level; nil discards.
	Logger *slog.Logger
}

// RevocationKey is what denials are kept by.
type RevocationKey struct {
	Issuer    string
	Subject   string
	ClientID  string
	SessionID string // sid
	ID        string // jti
	IssuedAt  time.Time
	Expiry    time.Time
}

// AccessVerifier verifies access tokens, and remembers those it has verified. It is safe for concurrent use. Two verifiers
// share no memory: what one accepted says nothing to the other, whose audience may differ (lua-resty-openidc #569).
type AccessVerifier[P any] struct {
	*verifier
	principal func(*Claims) (P, error)
	revoked   func(context.Context, *RevocationKey) error
	cache     *cache[P]
}

// NewAccessVerifier refuses a configuration that lacks a required field.
func NewAccessVerifier[P any](cfg AccessConfig[P]) (*AccessVerifier[P], error) {
	if cfg.Audience == "" {
		return nil, errors.New("token: access token verifier: Audience is empty; set it to the API's identifier, or any token of the provider would do")
	}
	if cfg.Principal == nil {
		return nil, errors.New("token: access token verifier: Principal is nil; give it the function that maps claims to a principal")
	}
	pr := profile{
		kind:     "access token",
		maxLen:   maxAccess,
		audience: cfg.Audience,
		types:    []string{"", "jwt", "at+jwt", "application/at+jwt"},
	}
	rules := &accessProfile{idTokenClients: slices.Clone(cfg.IDTokenClients), idTokenShape: cfg.InsecureIDTokenShape}
	pr.check = func(c *Claims, _ time.Time) error { return rules.check(c) }
	if cfg.RequireATJWT {
		pr.types = accessTypes
	}
	v, err := newVerifier(cfg.Provider, pr, cfg.Now, cfg.Logger)
	if err != nil {
		return nil, err
	}
	size := cfg.CacheSize
	if size == 0 {
		size = 1 << 16
	}
	return &AccessVerifier[P]{
		verifier:  v,
		principal: cfg.Principal,
		revoked:   cfg.Revoked,
		cache:     newCache[P](size),
	}, nil
}

// Verify returns the principal of a good token, and its exp, at which a stream that it opened must end. (Because of the
// permitted skew that may lie up to 60 s in the past.) Every error is an *Error.
func (v *AccessVerifier[P]) Verify(ctx context.Context, raw string) (P, time.Time, error) {
	e, err := v.accept(ctx, raw)
	if err != nil {
		var none P
		return none, time.Time{}, err
	}
	return e.value, e.revocation.Expiry, nil
}

// Open is Verify for what stays open, such as a stream. still says why the token would be refused by now, nil if it would
// not: the key that verified it has left the key set, the key set may no longer be believed, or the token was revoked. It
// leaves expiry to the caller, verifies nothing anew, and contacts nothing but Revoked.
func (v *AccessVerifier[P]) Open(ctx context.Context, raw string) (value P, still func(context.Context) error, err error) {
	e, err := v.accept(ctx, raw)
	if err != nil {
		return value, nil, err
	}
	return e.value, func(ctx context.Context) error {
		switch {
		case e.key.Withdrawn():
			return v.refuse(ctx, &Error{ReasonInvalid, errors.New("the key that verified it has left the key set")})
		case !v.provider.KeysUsable(v.now()):
			return v.refuse(ctx, &Error{ReasonUnavailable, errors.New("the key set is too old to be believed")})
		}
		return v.denied(ctx, e)
	}, nil
}

// accept returns the entry of a good token.
func (v *AccessVerifier[P]) accept(ctx context.Context, raw string) (*entry[P], error) {
	e, err := v.entry(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := v.denied(ctx, e); err != nil {
		return nil, err
	}
	return e, nil
}

// Known reports whether a token is among those verified before, and neither it nor its key has
// expired since. It never blocks.
func (v *AccessVerifier[P]) Known(raw string) bool {
	var f fingerprint
	return f.take(raw) && v.remembered(&f) != nil
}

// remembered returns a token's entry if nothing has changed since that could have: time, and the keys.
func (v *AccessVerifier[P]) remembered(f *fingerprint) *entry[P] {
	e := v.cache.get(f)
	if now := v.now(); e == nil || e.key.Withdrawn() || !now.Before(e.until) || !v.provider.KeysUsable(now) {
		return nil
	}
	return e
}

// entry finds the token among those verified before, or verifies it.
func (v *AccessVerifier[P]) entry(ctx context.Context, raw string) (*entry[P], error) {
	var f fingerprint
	cacheable := f.take(raw)
	if cacheable {
		if e := v.remembered(&f); e != nil {
			return e, nil
		}
	}
	c, key, err := v.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	value, err := v.principal(c)
	if err != nil {
		return nil, v.refuse(ctx, &Error{ReasonInvalid, err})
	}
	e := &entry[P]{
		hash:  f.hash,
		key:   key,
		until: c.Expiry.Add(skew),
		value: value,
		revocation: RevocationKey{
			Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, SessionID: c.SessionID, ID: c.ID,
			IssuedAt: c.IssuedAt, Expiry: c.Expiry,
		},
	}
	if cacheable {
		copy(e.tail[:], f.tail)
		v.cache.put(&f, e, v.now())
	}
	return e, nil
}

// denied asks whether a good token has been revoked.
func (v *AccessVerifier[P]) denied(ctx context.Context, e *entry[P]) error {
	if v.revoked == nil {
		return nil
	}
	err := v.revoked(ctx, &e.revocation)
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*Error](err); ok {
		return v.refuse(ctx, refused)
	}
	return v.refuse(ctx, &Error{ReasonUnavailable, err})
}
