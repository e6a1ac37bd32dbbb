package logout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// revocationDelay is how long a logout waits for the browser to return from
	// the provider before its refresh token is revoked all the same.
	revocationDelay = 30 * time.Second
	// revocationTick is how often a node looks for due revocations.
	revocationTick = 2 * time.Second
	// revocationRetry is the interval after which a failed revocation is tried
	// again, and revocationLifetime ends the attempts.
	revocationRetry    = time.Minute
	revocationLifetime = 24 * time.Hour
	// maxRevocations bounds how many are under way at one node.
	maxRevocations = 16
	// storeTimeout bounds a call of the store.
	storeTimeout = 10 * time.Second
)

// RevocationsConfig configures Revocations. All fields are required.
type RevocationsConfig struct {
	// Notes keeps the pending revocations.
	Notes session.Notes
	// Party revokes refresh tokens at the provider (RFC 7009).
	Party *rp.Party
	// Work counts what a stop of the process must wait for.
	Work   *inflight.Group
	Now    func() time.Time
	Logger *slog.Logger
}

// Revocations are the refresh tokens that no session needs any more, until the
// provider has revoked them. They lie in the store, sealed under the secret
// alone, since the cookie of their session is gone: any node can revoke what is
// due, also if the node of the logout was killed. They are safe for concurrent
// use.
type Revocations struct {
	cfg RevocationsConfig

	mu  sync.Mutex
	own map[string]time.Time // ids that this node has added, and when
}

// NewRevocations returns Revocations.
func NewRevocations(cfg RevocationsConfig) *Revocations {
	return &Revocations{cfg: cfg, own: map[string]time.Time{}}
}

// A pendingToken is the stored form of a revocation.
type pendingToken struct {
	Token string `json:"t"`
	Until int64  `json:"u"` // the end of all attempts, in seconds
}

// Add stores a refresh token to be revoked when Release is called with the
// returned id, or after 30 seconds. An empty token needs no revocation.
func (rv *Revocations) Add(ctx context.Context, refreshToken string) (id string) {
	if refreshToken == "" {
		return ""
	}
	id = rand.Text()
	pending := pendingToken{refreshToken, rv.cfg.Now().Add(revocationLifetime).Unix()}
	if err := rv.put(ctx, id, pending, revocationDelay); err != nil {
		// Too early, so that the provider may not tell its other clients, is
		// better than not at all.
		rv.cfg.Logger.InfoContext(ctx, "revocation not stored; revoking at once", "err", err)
		rv.cfg.Work.Go(func() { rv.revoke(context.WithoutCancel(ctx), pending) })
		return ""
	}
	rv.mu.Lock()
	defer rv.mu.Unlock()
	rv.own[id] = rv.cfg.Now()
	return id
}

// At stores a refresh token to be revoked at a time.
func (rv *Revocations) At(ctx context.Context, refreshToken string, due time.Time) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	pending := pendingToken{refreshToken, due.Add(revocationLifetime).Unix()}
	if err := rv.put(bounded, rand.Text(), pending, due.Sub(rv.cfg.Now())); err != nil {
		rv.cfg.Logger.WarnContext(ctx, "refresh token not revoked", "err", err)
	}
}

// Now revokes a refresh token in the background. It is stored meanwhile, so
// that a failure is retried.
func (rv *Revocations) Now(ctx context.Context, refreshToken string) {
	rv.Release(ctx, rv.Add(ctx, refreshToken))
}

// Release revokes an added token in the background. An unknown id is one that
// was revoked before.
func (rv *Revocations) Release(ctx context.Context, id string) {
	if id != "" {
		rv.cfg.Work.Go(func() { rv.take(context.WithoutCancel(ctx), id) })
	}
}

func (rv *Revocations) put(ctx context.Context, id string, pending pendingToken, delay time.Duration) error {
	value, err := json.Marshal(pending)
	if err != nil {
		return err
	}
	return rv.cfg.Notes.Put(ctx, id, value, rv.cfg.Now().Add(delay), time.Unix(pending.Until, 0))
}

// take carries out the revocation with an id. Of all nodes that try, one does.
func (rv *Revocations) take(ctx context.Context, id string) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	value, err := rv.cfg.Notes.Take(bounded, id)
	rv.mu.Lock()
	delete(rv.own, id)
	rv.mu.Unlock()
	switch {
	case err == nil:
		rv.revokeAll(ctx, [][]byte{value})
	case !errors.Is(err, session.ErrNotFound): // it stays until it is due
		rv.cfg.Logger.InfoContext(ctx, "refresh token not revoked yet", "err", err)
	}
}

// Run carries out due revocations until the context ends, and then begins those
// that this node has added: if the store belongs to this process, no other node
// will.
func (rv *Revocations) Run(ctx context.Context) {
	tick := time.NewTicker(revocationTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			rv.takeOwn(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			rv.due(ctx)
		}
	}
}

func (rv *Revocations) due(ctx context.Context) {
	values, err := rv.cfg.Notes.TakeDue(ctx, maxRevocations)
	if err != nil && ctx.Err() == nil {
		rv.cfg.Logger.DebugContext(ctx, "pending revocations not read", "err", err)
	}
	if len(values) > 0 { // no other node has them any more
		defer rv.cfg.Work.Begin()()
		rv.revokeAll(context.WithoutCancel(ctx), values)
	}
	rv.mu.Lock()
	defer rv.mu.Unlock()
	for id, at := range rv.own {
		if rv.cfg.Now().Sub(at) > 2*revocationDelay {
			delete(rv.own, id)
		}
	}
}

func (rv *Revocations) takeOwn(ctx context.Context) {
	rv.mu.Lock()
	defer rv.mu.Unlock()
	for id := range rv.own {
		rv.cfg.Work.Go(func() { rv.take(ctx, id) })
	}
}

func (rv *Revocations) revokeAll(ctx context.Context, values [][]byte) {
	var done sync.WaitGroup
	for _, value := range values {
		var pending pendingToken
		if err := json.Unmarshal(value, &pending); err != nil {
			rv.cfg.Logger.WarnContext(ctx, "pending revocation is unreadable", "err", err)
			continue
		}
		done.Go(func() { rv.revoke(ctx, pending) })
	}
	done.Wait()
}

// revoke revokes a token. It is tried again later if the provider is
// unavailable: refresh tokens can be valid for months.
func (rv *Revocations) revoke(ctx context.Context, pending pendingToken) {
	err := rv.cfg.Party.Revoke(ctx, pending.Token)
	if err == nil {
		return
	}
	if rv.cfg.Now().Add(revocationRetry).Unix() < pending.Until && !refresh.IsFinal(err) {
		bounded, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if failed := rv.put(bounded, rand.Text(), pending, revocationRetry); failed == nil {
			rv.cfg.Logger.InfoContext(ctx, "refresh token not revoked; trying again later", "err", err)
			return
		}
	}
	rv.cfg.Logger.WarnContext(ctx, "refresh token not revoked", "err", err)
}
