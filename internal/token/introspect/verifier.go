package introspect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	// answerTTL is how long an answer is used, and renewAfter when it is renewed.
	answerTTL  = 60 * time.Second
	renewAfter = 45 * time.Second
	// renewEvery is the time between attempts to renew an answer.
	renewEvery = 3 * time.Second
	// refusedTTL is how long a refused token is refused without a request.
	refusedTTL = 5 * time.Second

	// DefaultRate is how many new tokens a second are introspected.
	DefaultRate = 100
	defaultSize = 1 << 16
	// maxAnswers bounds the memory of answers, in bytes. One takes about twice its length
	// and 1 KiB.
	maxAnswers    = 128 << 20
	maxRefused    = 4096
	answerWeight  = 1 << 10
	refusedWeight = 256
)

// Config configures a Verifier. P is the principal: it is made once per answer, cached and
// shared, so it must be immutable. Endpoint, Profile.Audience and Principal are required.
type Config[P any] struct {
	Endpoint *Endpoint
	Profile  token.IntrospectionProfile
	// Principal makes the principal from the claims of an answer. An error makes the token
	// invalid.
	Principal func(*token.Claims) (P, error)
	// Revoked and Verified are those of token.AccessConfig.
	Revoked  func(ctx context.Context, key *token.RevocationKey) error
	Verified func(issuer string, refused token.Reason, cached bool)
	// Inspector, if not nil, is shown answers.
	Inspector *token.Inspector
	// CacheSize is the largest number of answers that are kept; 0 means 65,536. A negative
	// number means 16: without any, each call would be a request.
	CacheSize int
	// Rate is how many tokens a second are introspected that were not confirmed before; 0
	// means DefaultRate.
	Rate int
	// Limited counts what the budget refuses, nil for none.
	Limited *metrics.Counter
	Now     func() time.Time
	Logger  *slog.Logger
}

// A Verifier verifies opaque access tokens. It is safe for concurrent use.
type Verifier[P any] struct {
	cfg      Config[P]
	answers  *cache[*answer[P]]
	refused  *cache[*refusal]
	flights  singleflight.Group // by hash
	budget   *budget
	endpoint *Endpoint
}

// An answer is one that confirms a token. It is immutable except for renew.
type answer[P any] struct {
	until      time.Time    // the end of its use
	expiry     time.Time    // of the token; zero if it has none
	renew      atomic.Int64 // Unix nanoseconds of the next attempt to renew it
	revocation token.RevocationKey
	value      P
}

// A refusal is an answer with which a token was refused.
type refusal struct {
	until time.Time
	err   error
}

// NewVerifier returns a verifier. It contacts nothing.
func NewVerifier[P any](cfg Config[P]) *Verifier[P] {
	size := cmp.Or(cfg.CacheSize, defaultSize)
	return &Verifier[P]{
		cfg: cfg, endpoint: cfg.Endpoint,
		answers: newCache[*answer[P]](max(size, shards), maxAnswers),
		refused: newCache[*refusal](maxRefused, maxRefused*refusedWeight),
		budget:  newBudget(cmp.Or(cfg.Rate, DefaultRate), cfg.Now),
	}
}

// Verify returns the principal of a token. Every error is a *token.Error.
func (v *Verifier[P]) Verify(ctx context.Context, raw string) (P, error) {
	a, err := v.accept(ctx, raw)
	if err != nil {
		var none P
		return none, err
	}
	return a.value, nil
}

// Open is Verify for calls that stay open, such as streams. still returns nil while a new
// call with the token would be accepted but for the token's expiry, and a *token.Error once
// it would not. It waits for the provider only if an answer could not be renewed in time.
// still must not be called concurrently.
func (v *Verifier[P]) Open(ctx context.Context, raw string) (value P, still func(context.Context) error, err error) {
	a, err := v.accept(ctx, raw)
	if err != nil {
		return value, nil, err
	}
	return a.value, func(ctx context.Context) error {
		var err error
		if a.expiry.IsZero() || v.cfg.Now().Before(a.expiry) {
			var next *answer[P]
			if next, _, err = v.answer(ctx, raw); err == nil {
				a = next
			}
		}
		if err == nil {
			err = v.denied(ctx, a)
		}
		return v.log(ctx, err)
	}, nil
}

// Known reports whether a token was confirmed and the answer may still be used. It never
// blocks.
func (v *Verifier[P]) Known(raw string) bool {
	h := sum(raw)
	a, ok := v.answers.get(&h)
	return ok && v.cfg.Now().Before(a.until)
}

// accept returns the answer for a good token.
func (v *Verifier[P]) accept(ctx context.Context, raw string) (*answer[P], error) {
	a, cached, err := v.answer(ctx, raw)
	if err == nil {
		err = v.denied(ctx, a)
	}
	if v.cfg.Verified != nil {
		var reason token.Reason
		if e, ok := errors.AsType[*token.Error](err); ok {
			reason = e.Reason
		}
		v.cfg.Verified(v.endpoint.cfg.Provider.Issuer(), reason, cached)
	}
	if err := v.log(ctx, err); err != nil {
		return nil, err
	}
	return a, nil
}

// log logs the cause of a refusal.
func (v *Verifier[P]) log(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*token.Error](err); ok {
		v.cfg.Logger.DebugContext(ctx, "token refused", "kind", "opaque access token", "reason", e.Reason.String(), "err", e.Err)
	}
	return err
}

// denied returns an error if a confirmed token has been revoked here.
func (v *Verifier[P]) denied(ctx context.Context, a *answer[P]) error {
	if v.cfg.Revoked == nil {
		return nil
	}
	err := v.cfg.Revoked(ctx, &a.revocation)
	if _, ok := errors.AsType[*token.Error](err); err == nil || ok {
		return err
	}
	return &token.Error{Reason: token.ReasonUnavailable, Err: err}
}

// answer returns the answer about a token: the one that is kept, or a new one.
func (v *Verifier[P]) answer(ctx context.Context, raw string) (_ *answer[P], cached bool, err error) {
	if err := token.CheckOpaque(raw); err != nil {
		return nil, false, err // a nil *token.Error is not a nil error
	}
	h, now := sum(raw), v.cfg.Now()
	kept, confirmed := v.answers.get(&h)
	switch {
	case !confirmed:
		if r, ok := v.refused.get(&h); ok && now.Before(r.until) {
			return nil, true, r.err
		}
	case now.Before(kept.until):
		if due := kept.renew.Load(); now.UnixNano() >= due && kept.renew.CompareAndSwap(due, now.Add(renewEvery).UnixNano()) {
			v.ask(ctx, h, raw)
		}
		return kept, true, nil
	case !kept.expiry.IsZero() && !now.Before(kept.expiry):
		return nil, true, &token.Error{
			Reason: token.ReasonExpired, Err: fmt.Errorf("exp was %s", kept.expiry.UTC().Format(time.RFC3339)),
		}
	}
	select {
	case r := <-v.ask(ctx, h, raw):
		if r.Err != nil {
			return nil, false, r.Err
		}
		return r.Val.(*answer[P]), false, nil
	case <-ctx.Done():
		return nil, false, &token.Error{
			Reason: token.ReasonUnavailable, Err: fmt.Errorf("waiting for the introspection endpoint: %w", context.Cause(ctx)),
		}
	}
}

// ask asks the provider about a token, or joins the request that does. The request does not
// end with the caller, whom others may have joined.
func (v *Verifier[P]) ask(ctx context.Context, h hash, raw string) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return v.flights.DoChan(string(h[:]), func() (a any, err error) {
		defer func() {
			if p := recover(); p != nil { // in this goroutine it would end the process
				v.cfg.Logger.ErrorContext(ctx, "panic during token introspection", "err", fmt.Sprint(p))
				err = &token.Error{Reason: token.ReasonUnavailable, Err: errors.New("internal error")}
			}
		}()
		return v.fetch(ctx, &h, raw)
	})
}

// fetch asks the provider and keeps the answer.
func (v *Verifier[P]) fetch(ctx context.Context, h *hash, raw string) (*answer[P], error) {
	a, weight, err := v.request(ctx, h, raw)
	if err == nil {
		v.refused.remove(h)
		v.answers.put(h, a, weight)
		return a, nil
	}
	e, ok := errors.AsType[*token.Error](err)
	if !ok {
		e = &token.Error{Reason: token.ReasonUnavailable, Err: err}
	}
	if e.Reason != token.ReasonUnavailable {
		v.refused.put(h, &refusal{v.cfg.Now().Add(refusedTTL), e}, refusedWeight)
		v.answers.remove(h)
	}
	return nil, e
}

// request makes the request and interprets the response. An error other than a *token.Error
// says nothing about the token.
func (v *Verifier[P]) request(ctx context.Context, h *hash, raw string) (_ *answer[P], weight int, _ error) {
	_, confirmed := v.answers.get(h)
	done, err := v.budget.take(ctx, confirmed)
	if err != nil {
		v.cfg.Limited.Add(metrics.LimitIntrospection)
		return nil, 0, err
	}
	defer done()
	md, err := v.endpoint.cfg.Provider.AwaitMetadata(ctx)
	if err != nil {
		return nil, 0, err
	}
	asked := v.cfg.Now()
	body, err := v.endpoint.Ask(ctx, md, raw, confirmed)
	if err != nil {
		return nil, 0, err
	}
	now := v.cfg.Now()
	c, err := v.cfg.Profile.Read(body, md.Issuer, now)
	if errors.Is(err, token.ErrResponse) {
		v.endpoint.outage.Fail(ctx, err)
	}
	if c != nil {
		v.cfg.Inspector.Introspected(ctx, c, err)
	}
	if err != nil {
		return nil, 0, err
	}
	value, err := v.cfg.Principal(c)
	if err != nil {
		return nil, 0, &token.Error{Reason: token.ReasonInvalid, Err: err}
	}
	// The provider may have answered just after the request was sent.
	a := &answer[P]{
		until: asked.Add(answerTTL), expiry: c.Expiry, value: value,
		revocation: token.RevocationKey{
			Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, SessionID: c.SessionID, ID: c.ID,
			IssuedAt: c.IssuedAt, Expiry: c.Expiry,
		},
	}
	renew := asked.Add(renewAfter)
	if !c.Expiry.IsZero() && c.Expiry.Before(a.until) {
		a.until, renew = c.Expiry, c.Expiry // renewing does not make it longer
	}
	a.renew.Store(renew.UnixNano())
	return a, answerWeight + 2*len(body), nil
}

// sum returns the hash of a token without copying it.
func sum(raw string) hash { return sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw))) }
