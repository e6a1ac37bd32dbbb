package bff

import (
	"context"
	"crypto/rand"
	"maps"
	"sync"
	"time"
)

// revocationDelay is how long a logout waits for the browser to come back
// from the provider before its refresh token is revoked all the same.
const revocationDelay = 30 * time.Second

// revocations are the refresh tokens of sessions that have ended here, until
// the provider has ended its own session too. They live in this process only:
// one that is killed in those seconds leaves a token to run out by itself.
type revocations struct {
	revoke func(context.Context, string)

	mu      sync.Mutex
	waiting map[string]*waiting
}

type waiting struct {
	refreshToken string
	timer        *time.Timer
	once         sync.Once
}

func newRevocations(b *BFF) *revocations {
	return &revocations{revoke: b.revoke, waiting: map[string]*waiting{}}
}

// add keeps a refresh token to be revoked, and returns what release takes. No
// token needs no revocation.
func (p *revocations) add(refreshToken string) string {
	if refreshToken == "" {
		return ""
	}
	id := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[id] = &waiting{
		refreshToken: refreshToken,
		timer:        time.AfterFunc(revocationDelay, func() { p.release(id) }),
	}
	return id
}

// release revokes a token that waits, in the background. An unknown id is
// none that waits any longer.
func (p *revocations) release(id string) {
	p.mu.Lock()
	w := p.waiting[id]
	p.mu.Unlock()
	if w != nil {
		go p.run(context.Background(), id, w)
	}
}

// run revokes, once; who comes second waits for the first.
func (p *revocations) run(ctx context.Context, id string, w *waiting) {
	w.once.Do(func() {
		w.timer.Stop()
		p.revoke(ctx, w.refreshToken)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, id)
	})
}

// flush revokes everything that waits, and returns when that is done.
func (p *revocations) flush(ctx context.Context) {
	p.mu.Lock()
	all := maps.Clone(p.waiting)
	p.mu.Unlock()
	var done sync.WaitGroup
	for id, w := range all {
		done.Go(func() { p.run(ctx, id, w) })
	}
	done.Wait()
}

// revoke tells the provider that a refresh token is not needed any more. A
// failure is for the log: the token is in nobody's hands.
func (b *BFF) revoke(ctx context.Context, refreshToken string) {
	md, err := b.provider.Metadata()
	if err == nil {
		err = b.rp.revoke(ctx, md, refreshToken)
	}
	if err != nil {
		b.logger.WarnContext(ctx, "refresh token not revoked", "cause", err)
	}
}
