package bff

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
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	// revocationDelay is how long a logout waits for the browser to come back
	// from the provider before its refresh token is revoked all the same.
	revocationDelay = 30 * time.Second
	// revocationTick is how often a node looks for what is due.
	revocationTick = 2 * time.Second
	// revocationRetry is when a revocation that failed is tried again, and
	// revocationPatience how long.
	revocationRetry    = time.Minute
	revocationPatience = 24 * time.Hour
	// revocationsAtOnce bounds how many are under way at one node.
	revocationsAtOnce = 16
)

// revocations are the refresh tokens of sessions that have ended here, until
// the provider has ended its own session too. They lie in the store, sealed
// under the secret alone, since the cookie that sealed their sessions is gone:
// so any node revokes what is due, also after the one that took the logout was
// killed.
type revocations struct {
	notes  session.Notes
	now    func() time.Time
	log    *slog.Logger
	revoke func(context.Context, string) error
	work   *inflight.Group

	failures *throttle.Log // to look for what is due

	mu   sync.Mutex
	mine map[string]time.Time // what this node has put in, and when
}

// A pendingToken is what the store keeps.
type pendingToken struct {
	Token string `json:"t"`
	Until int64  `json:"u"` // when trying ends, in seconds
}

func newRevocations(b *BFF) *revocations {
	return &revocations{
		notes: b.sessions.Notes("revocation"), now: b.now, log: b.logger, revoke: b.revokeNow, work: &b.work, mine: map[string]time.Time{},
		failures: throttle.Every(time.Minute),
	}
}

// add keeps a refresh token to be revoked, and returns what release takes. No
// token needs no revocation.
func (p *revocations) add(ctx context.Context, refreshToken string) string {
	if refreshToken == "" {
		return ""
	}
	id := rand.Text()
	pending := pendingToken{refreshToken, p.now().Add(revocationPatience).Unix()}
	if err := p.put(ctx, id, pending, revocationDelay); err != nil {
		// Early, and so perhaps unknown to the provider's other clients, is
		// better than not at all.
		p.log.WarnContext(ctx, "revocation not put off", "cause", err)
		p.work.Go(func() { p.run(context.WithoutCancel(ctx), pending) })
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine[id] = p.now()
	return id
}

func (p *revocations) put(ctx context.Context, id string, pending pendingToken, delay time.Duration) error {
	value, err := json.Marshal(pending)
	if err != nil {
		return err
	}
	return p.notes.Put(ctx, id, value, p.now().Add(delay), time.Unix(pending.Until, 0))
}

// release revokes a token that waits, in the background. An unknown id is
// none that waits any longer.
func (p *revocations) release(ctx context.Context, id string) {
	if id != "" {
		p.work.Go(func() { p.take(context.WithoutCancel(ctx), id) })
	}
}

// take revokes what waits under an id; of all nodes that try, one does.
func (p *revocations) take(ctx context.Context, id string) {
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	value, err := p.notes.Take(bounded, id)
	p.mu.Lock()
	delete(p.mine, id)
	p.mu.Unlock()
	switch {
	case err == nil:
		p.runAll(ctx, [][]byte{value})
	case !errors.Is(err, session.ErrNotFound): // it stays until it is due
		p.log.WarnContext(ctx, "refresh token not revoked yet", "cause", err)
	}
}

// loop revokes what is due until the context ends, and then what this node has
// put in: where the store is the process's own, nobody else will.
func (p *revocations) loop(ctx context.Context) {
	tick := time.NewTicker(revocationTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.flush(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			p.due(ctx)
		}
	}
}

func (p *revocations) due(ctx context.Context) {
	values, err := p.notes.TakeDue(ctx, revocationsAtOnce)
	if err != nil && ctx.Err() == nil {
		if ok, held := p.failures.Next(); ok {
			p.log.WarnContext(ctx, "pending revocations not looked for", "cause", err, "suppressed", held)
		}
	}
	if len(values) > 0 { // no other node has them any more
		defer p.work.Begin()()
		p.runAll(context.WithoutCancel(ctx), values)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.mine {
		if p.now().Sub(at) > 2*revocationDelay {
			delete(p.mine, id)
		}
	}
}

// flush begins to revoke what this node has put in.
func (p *revocations) flush(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.mine {
		p.work.Go(func() { p.take(ctx, id) })
	}
}

func (p *revocations) runAll(ctx context.Context, values [][]byte) {
	var done sync.WaitGroup
	for _, value := range values {
		var pending pendingToken
		if err := json.Unmarshal(value, &pending); err != nil {
			p.log.ErrorContext(ctx, "a pending revocation is unreadable")
			continue
		}
		done.Go(func() { p.run(ctx, pending) })
	}
	done.Wait()
}

// run revokes. A provider that does not answer is asked again later: the token
// is in nobody's hands, but it is good for months at some.
func (p *revocations) run(ctx context.Context, pending pendingToken) {
	err := p.revoke(ctx, pending.Token)
	if err == nil {
		return
	}
	refusal, ok := errors.AsType[*oauthError](err)
	final := ok && refresh.Classify(refusal.code, refusal.status) != refresh.Transient
	if again := p.now().Add(revocationRetry).Unix() < pending.Until; again && !final {
		bounded, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		if failed := p.put(bounded, rand.Text(), pending, revocationRetry); failed == nil {
			p.log.InfoContext(ctx, "refresh token not revoked; trying again later", "cause", err)
			return
		}
	}
	p.log.WarnContext(ctx, "refresh token not revoked", "cause", err)
}

// revoke tells the provider that a refresh token is not needed any more. A
// failure is for the log: the token is in nobody's hands.
func (b *BFF) revoke(ctx context.Context, refreshToken string) {
	if err := b.revokeNow(ctx, refreshToken); err != nil {
		b.logger.WarnContext(ctx, "refresh token not revoked", "cause", err)
	}
}

func (b *BFF) revokeNow(ctx context.Context, refreshToken string) error {
	md, err := b.provider.Metadata()
	if err != nil {
		return err
	}
	return b.rp.revoke(ctx, md, refreshToken)
}
