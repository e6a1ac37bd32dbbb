package token

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// AccessConfig configures an AccessVerifier. P is the principal. It is made once
// per token, cached and shared, so it must be immutable.
type AccessConfig[P any] struct {
	// Provider issues the tokens. Required.
	Provider *oidc.Provider
	// Audience must be among the token's audiences. Required.
	Audience string
	// Algorithms are those of signatures that are accepted: RS256, PS256, ES256 and
	// EdDSA. Nil means RS256.
	Algorithms []string
	// AlgorithmsSetting is the name of the setting for Algorithms, for the log.
	AlgorithmsSetting string
	// RequireATJWT refuses tokens whose typ is not at+jwt (RFC 9068). It must be set
	// if the audience is also a client id, since ID tokens would pass otherwise
	// (RFC 8725 §3.12).
	RequireATJWT bool
	// IDTokenClients are the ids of clients whose ID tokens are refused: a token
	// that has one of them as an audience is accepted only with the typ at+jwt.
	IDTokenClients []string
	// InsecureIDTokenShape accepts tokens with nonce or at_hash, for issuers whose
	// access tokens look like ID tokens (Dex). ID tokens for Audience then pass for
	// access tokens.
	InsecureIDTokenShape bool
	// Principal makes the principal from verified claims. An error makes the token
	// invalid. Required.
	Principal func(*Claims) (P, error)
	// Revoked is called for every valid token, also on cache hits. It must be safe
	// for concurrent use, and neither change nor keep the key. An *Error is returned
	// as it is; any other error means ReasonUnavailable. Nil revokes nothing.
	Revoked func(ctx context.Context, key *RevocationKey) error
	// Issuers are further issuers. One with the provider above has the rules for its
	// tokens, in the place of those of this struct.
	Issuers []AccessIssuer[P]
	// Verified is told the outcome of each verification: the configured issuer whose
	// rules applied, "" for a token of none, why the token was refused, 0 for one that
	// was accepted, and whether it was in the cache. Nil: no call.
	Verified func(issuer string, refused Reason, cached bool)
	// Inspector, if not nil, is shown the first good token, and tokens that are refused.
	Inspector *Inspector
	// CacheSize is the largest number of verified tokens in the cache; 0 means
	// 65,536, a negative number none. A token takes about 900 bytes and its P,
	// independent of its length. The table, 13 bytes per token, is allocated at once.
	CacheSize int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets the refused tokens' reasons at debug level, and a warning if the
	// provider signs with another algorithm; nil discards.
	Logger *slog.Logger
}

// A RevocationKey is what a token can be revoked by.
type RevocationKey struct {
	Issuer    string
	Subject   string
	ClientID  string
	SessionID string // sid
	ID        string // jti
	IssuedAt  time.Time
	Expiry    time.Time
}

// An AccessVerifier verifies access tokens and caches the valid ones. It is safe
// for concurrent use. Verifiers share no cache, since their audiences may differ
// (lua-resty-openidc #569). The issuers of one do: an entry is found by all bytes of a
// token, and so has been verified by the rules of the issuer that the token names.
type AccessVerifier[P any] struct {
	*issuer[P]                       // the primary one
	further    map[string]*issuer[P] // by identifier without a slash at the end; nil if there are none
	revoked    func(context.Context, *RevocationKey) error
	verified   func(string, Reason, bool)
	inspector  *Inspector
	cache      *cache[P]
}

// NewAccessVerifier returns a verifier. It fails if a required field is missing.
func NewAccessVerifier[P any](cfg AccessConfig[P]) (*AccessVerifier[P], error) {
	primary := AccessIssuer[P]{
		Provider: cfg.Provider, Audiences: []string{cfg.Audience}, Algorithms: cfg.Algorithms, AlgorithmsSetting: cfg.AlgorithmsSetting,
		IDTokenClients: cfg.IDTokenClients, InsecureIDTokenShape: cfg.InsecureIDTokenShape, Principal: cfg.Principal,
	}
	if cfg.RequireATJWT {
		primary.Types = accessTypes
	}
	v := &AccessVerifier[P]{
		revoked:   cfg.Revoked,
		verified:  cfg.Verified,
		inspector: cfg.Inspector,
		cache:     newCache[P](cmp.Or(cfg.CacheSize, 1<<16)),
	}
	if err := v.addIssuers(primary, cfg); err != nil {
		return nil, err
	}
	return v, nil
}

// Verify returns the principal of a valid token and its exp, which may be up to
// 60 s in the past because of the permitted skew. Every error is an *Error.
func (v *AccessVerifier[P]) Verify(ctx context.Context, raw string) (P, time.Time, error) {
	e, err := v.accept(ctx, raw)
	if err != nil {
		var none P
		return none, time.Time{}, err
	}
	return e.value, e.revocation.Expiry, nil
}

// Open is Verify for calls that stay open, such as streams. still returns nil
// while the token is accepted, and an *Error once its key has left the key set,
// the key set is too old, or the token is revoked. It does not check expiry, after
// which keys no longer matter: they leave the set when their tokens have expired.
// It calls nothing but Revoked.
func (v *AccessVerifier[P]) Open(ctx context.Context, raw string) (value P, still func(context.Context) error, err error) {
	e, err := v.accept(ctx, raw)
	if err != nil {
		return value, nil, err
	}
	return e.value, func(ctx context.Context) error {
		switch now := v.now(); {
		case !now.Before(e.until):
		case e.key.Withdrawn():
			return v.refuse(ctx, &Error{ReasonInvalid, errors.New("the key that verified the token has left the key set")})
		case !e.provider.KeysUsable(now):
			return v.refuse(ctx, &Error{ReasonUnavailable, errors.New("the key set is too old")})
		}
		return v.denied(ctx, e)
	}, nil
}

// accept returns the entry of a good token.
func (v *AccessVerifier[P]) accept(ctx context.Context, raw string) (*entry[P], error) {
	e, by, cached, err := v.entry(ctx, raw)
	if err == nil {
		err = v.denied(ctx, e)
	}
	if v.verified != nil {
		var refused Reason
		if e, ok := errors.AsType[*Error](err); ok {
			refused = e.Reason
		}
		name := ""
		if by != nil {
			name = by.Issuer()
		}
		v.verified(name, refused, cached)
	}
	if err != nil {
		if by == nil || by == v.provider {
			v.inspector.refused(ctx, raw, err)
		}
		return nil, err
	}
	return e, nil
}

// Known reports whether a token is in the cache and would be accepted but for
// revocation. It never blocks.
func (v *AccessVerifier[P]) Known(raw string) bool {
	var f fingerprint
	return f.take(raw) && v.cached(&f) != nil
}

// cached returns a token's entry if neither the token nor its key has expired.
func (v *AccessVerifier[P]) cached(f *fingerprint) *entry[P] {
	e := v.cache.get(f)
	if now := v.now(); e == nil || e.key.Withdrawn() || !now.Before(e.until) || !e.provider.KeysUsable(now) {
		return nil
	}
	return e
}

// entry returns the cached entry of a token, or verifies the token. by is the provider of
// the issuer that the token names, nil if it names none of the configured ones.
func (v *AccessVerifier[P]) entry(ctx context.Context, raw string) (e *entry[P], by *oidc.Provider, cached bool, err error) {
	var f fingerprint
	cacheable := f.take(raw)
	if cacheable {
		if e := v.cached(&f); e != nil {
			return e, e.provider, true, nil
		}
	}
	c, key, rules, err := v.verifyAny(ctx, raw)
	if rules != nil {
		by = rules.provider
	}
	if err != nil {
		return nil, by, false, err
	}
	value, err := rules.principal(c)
	if err != nil {
		return nil, by, false, v.refuse(ctx, &Error{ReasonInvalid, err})
	}
	if rules == v.issuer {
		v.inspector.verified(ctx, c)
	}
	e = &entry[P]{
		hash:     f.hash,
		key:      key,
		provider: by,
		until:    c.Expiry.Add(skew),
		value:    value,
		revocation: RevocationKey{
			Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, SessionID: c.SessionID, ID: c.ID,
			IssuedAt: c.IssuedAt, Expiry: c.Expiry,
		},
	}
	if cacheable {
		e.tailed = uint16(copy(e.tail[:], f.tail))
		v.cache.put(&f, e, v.now())
	}
	return e, by, false, nil
}

// denied returns an error if a valid token has been revoked.
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
