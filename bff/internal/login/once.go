package login

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// outcomeLifetime is how long an outcome is stored for repeated callbacks.
	outcomeLifetime = time.Minute

	outcomePurpose = "login outcome"
	// storeTimeout bounds a write to the store after the code was redeemed.
	storeTimeout = 5 * time.Second
	// grace is the time after once.limit in which an outcome is stored.
	grace            = 2 * time.Second
	minPoll, maxPoll = 20 * time.Millisecond, 250 * time.Millisecond
	clockSkew        = time.Minute
)

var (
	// errUsed means that the attempt was used before: with another code, or so
	// long ago that its outcome is no longer stored.
	errUsed = errors.New("the attempt was used before")
	// errInterrupted means that another process has started to redeem the code,
	// and stored no outcome in time.
	errInterrupted = errors.New("the process that redeemed the code has stored no outcome")
)

// A once has each login attempt used once: of all its callbacks, at any process
// of the session store, one redeems the code, and the others get its outcome.
type once struct {
	marks    session.Notes // of attempts that were used
	outcomes session.Notes
	sealer   *session.Manager // seals outcomes
	work     *inflight.Group
	limit    time.Duration // for redeeming
	now      func() time.Time
	logger   *slog.Logger

	flights singleflight.Group
}

// A use is a callback of an attempt.
type use struct {
	// state identifies the attempt. seed is known to its browser alone; the
	// outcome is sealed with it.
	state, seed string
	code        string
	// ends is when the attempt can no longer be used.
	ends time.Time
}

// A mark is the stored note of an attempt that was used.
type mark struct {
	At   int64  `json:"t"` // milliseconds
	Code string `json:"c"` // its hash
}

type result struct {
	outcome  []byte
	repeated bool
}

// do redeems the code if no other callback has, and returns the outcome.
// Otherwise it waits for the outcome of that callback and returns repeated.
// Redeeming goes on when ctx ends, for at most limit. Errors other than errUsed
// and errInterrupted are those of ctx, and of the store before the code was
// redeemed; the attempt can then be used again.
func (o *once) do(ctx context.Context, u use, redeem func(context.Context) []byte) (outcome []byte, repeated bool, err error) {
	detached := context.WithoutCancel(ctx)
	done := o.flights.DoChan(u.state+" "+u.code, func() (any, error) {
		defer o.work.Begin()()
		return o.flight(detached, u, redeem)
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

// flight is do for all callbacks of this process at once.
func (o *once) flight(ctx context.Context, u use, redeem func(context.Context) []byte) (result, error) {
	value, err := json.Marshal(mark{At: o.now().UnixMilli(), Code: hash(u.code, sha256.Size)})
	if err != nil {
		return result{}, err
	}
	first, err := o.marks.Add(ctx, u.state, value, u.ends.Add(clockSkew))
	switch {
	case err != nil:
		return result{}, err
	case !first:
		outcome, err := o.wait(ctx, u)
		return result{outcome, true}, err
	}
	limited, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	outcome := redeem(limited)
	if err := o.store(ctx, u, outcome); err != nil {
		o.logger.InfoContext(ctx, "login outcome not stored; a repeated callback will not find it", "err", err)
	}
	return result{outcome, false}, nil
}

func (o *once) store(ctx context.Context, u use, outcome []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	sealed, err := o.sealer.Seal(outcomePurpose, []byte(u.seed), outcome)
	if err != nil {
		return err
	}
	return o.outcomes.Put(ctx, u.state, sealed, time.Time{}, o.now().Add(outcomeLifetime))
}

// wait returns the outcome of an earlier callback. It waits as long as it may
// still be stored.
func (o *once) wait(ctx context.Context, u use) ([]byte, error) {
	value, err := o.marks.Get(ctx, u.state)
	if errors.Is(err, session.ErrNotFound) {
		return nil, errUsed
	}
	if err != nil {
		return nil, err
	}
	var used mark
	if err := json.Unmarshal(value, &used); err != nil || used.Code != hash(u.code, sha256.Size) {
		return nil, errUsed
	}
	limit := o.limit + grace
	left := min(time.UnixMilli(used.At).Add(limit).Sub(o.now()), limit)
	over := time.NewTimer(left)
	defer over.Stop()
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		sealed, err := o.outcomes.Get(ctx, u.state)
		if err == nil {
			return o.sealer.Open(outcomePurpose, []byte(u.seed), sealed)
		}
		switch {
		case !errors.Is(err, session.ErrNotFound):
			return nil, err
		case left <= 0:
			return nil, errUsed
		}
		select {
		case <-over.C:
			return nil, errInterrupted
		case <-time.After(pause):
		}
	}
}
