// Package login owns the single use of a login attempt: of all callbacks of one attempt, at whichever process of a session
// store, one redeems the code, and the others get the same outcome. What an outcome is, and how a browser proves that the
// attempt is its own, is left to package bff.
package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// OutcomeLifetime is how long an outcome is kept for callbacks that are repeated.
	OutcomeLifetime = time.Minute

	outcomePurpose = "login outcome"
	// storeTimeout bounds one write to the store after the code was redeemed.
	storeTimeout = 5 * time.Second
	// grace is how long after Config.Limit an outcome may still come, at least: it has to be stored.
	grace            = 2 * time.Second
	minPoll, maxPoll = 20 * time.Millisecond, 250 * time.Millisecond
	clockSkew        = time.Minute
)

var (
	// ErrUsed says that the attempt was used before: with another code, or so long ago that its outcome is not kept any more.
	ErrUsed = errors.New("login: the attempt was used before")
	// ErrInterrupted says that another process is redeeming the code, or was, and no outcome of it has come in time.
	ErrInterrupted = errors.New("login: the process that redeemed the code has left no outcome")
)

// Notes are shared by the processes of a store, as [session.Notes] are.
type Notes interface {
	Add(ctx context.Context, key string, value []byte, expires time.Time) (first bool, err error)
	Put(ctx context.Context, key string, value []byte, due, expires time.Time) error
	Get(ctx context.Context, key string) ([]byte, error)
}

// A Sealer encrypts under the secret and a salt, as seal.Keyring does.
type Sealer interface {
	Seal(purpose string, salt, plaintext []byte) ([]byte, error)
	Open(purpose string, salt, sealed []byte) ([]byte, error)
}

// Config describes a Once. Every field is required.
type Config struct {
	// Marks remember the attempts that were used, Outcomes what became of them.
	Marks, Outcomes Notes
	Sealer          Sealer
	// Work is what a stop of the process waits for.
	Work *inflight.Group
	// Limit is how long redeeming may take.
	Limit  time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

// A Once has each login attempt used once. It is safe for concurrent use.
type Once struct {
	cfg     Config
	flights singleflight.Group
}

// New returns a Once.
func New(cfg Config) *Once { return &Once{cfg: cfg} }

// An Attempt is what a callback brings.
type Attempt struct {
	// State names the attempt. Seed is known to its browser alone; the outcome is sealed under it.
	State, Seed string
	Code        string
	// Ends is when the attempt cannot be used any more.
	Ends time.Time
}

// mark is what the store keeps of an attempt that was used.
type mark struct {
	At   int64  `json:"t"` // milliseconds
	Code string `json:"c"` // hash
}

type result struct {
	outcome  []byte
	repeated bool
}

// Do redeems the attempt's code if no other callback has, and returns the outcome, or waits for that of the callback that
// has; repeated says so. Redeeming goes on when ctx ends, for Config.Limit. Besides ErrUsed and ErrInterrupted, errors are
// those of the context, and of the store before the code was redeemed: then the attempt may be used again.
func (o *Once) Do(ctx context.Context, a Attempt, redeem func(context.Context) []byte) (outcome []byte, repeated bool, err error) {
	detached := context.WithoutCancel(ctx)
	done := o.flights.DoChan(a.State+" "+a.Code, func() (any, error) {
		defer o.cfg.Work.Begin()()
		return o.do(detached, a, redeem)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, false, r.Err
		}
		got := r.Val.(result)
		return got.outcome, got.repeated, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

func (o *Once) do(ctx context.Context, a Attempt, redeem func(context.Context) []byte) (result, error) {
	now := o.cfg.Now()
	value, err := json.Marshal(mark{At: now.UnixMilli(), Code: codeHash(a.Code)})
	if err != nil {
		return result{}, err
	}
	first, err := o.cfg.Marks.Add(ctx, a.State, value, a.Ends.Add(clockSkew))
	switch {
	case err != nil:
		return result{}, err
	case !first:
		outcome, err := o.wait(ctx, a)
		return result{outcome, true}, err
	}
	limited, cancel := context.WithTimeout(ctx, o.cfg.Limit)
	defer cancel()
	outcome := redeem(limited)
	if err := o.keep(ctx, a, outcome); err != nil {
		o.cfg.Logger.WarnContext(ctx, "login outcome not stored; a repeated callback will not find it", "err", err)
	}
	return result{outcome, false}, nil
}

func (o *Once) keep(ctx context.Context, a Attempt, outcome []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	sealed, err := o.cfg.Sealer.Seal(outcomePurpose, []byte(a.Seed), outcome)
	if err != nil {
		return err
	}
	return o.cfg.Outcomes.Put(ctx, a.State, sealed, time.Time{}, o.cfg.Now().Add(OutcomeLifetime))
}

// wait returns the outcome of a callback that came before, and waits for it as long as it may still come.
func (o *Once) wait(ctx context.Context, a Attempt) ([]byte, error) {
	value, err := o.cfg.Marks.Get(ctx, a.State)
	if errors.Is(err, session.ErrNotFound) {
		return nil, ErrUsed
	}
	if err != nil {
		return nil, err
	}
	var used mark
	if err := json.Unmarshal(value, &used); err != nil || used.Code != codeHash(a.Code) {
		return nil, ErrUsed
	}
	limit := o.cfg.Limit + grace
	left := min(time.UnixMilli(used.At).Add(limit).Sub(o.cfg.Now()), limit)
	over := time.NewTimer(left)
	defer over.Stop()
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		sealed, err := o.cfg.Outcomes.Get(ctx, a.State)
		if err == nil {
			return o.cfg.Sealer.Open(outcomePurpose, []byte(a.Seed), sealed)
		}
		switch {
		case !errors.Is(err, session.ErrNotFound):
			return nil, err
		case left <= 0:
			return nil, ErrUsed
		}
		select {
		case <-over.C:
			return nil, ErrInterrupted
		case <-time.After(pause):
		}
	}
}

// codeHash tells codes apart without keeping one.
func codeHash(code string) string {
	sum := sha256.Sum256([]byte(code))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
