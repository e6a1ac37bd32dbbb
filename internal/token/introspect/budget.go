package introspect

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// connections bounds the requests under way for tokens that were confirmed before, and
	// again those for other tokens.
	connections = 16
	// turnWait is how long a token waits for a connection.
	turnWait = 2 * time.Second
)

var (
	errRate = errors.New("more new opaque tokens than the rate allows")
	errTurn = errors.New("too many introspection requests are under way")
)

// A budget bounds the requests for tokens. Those for confirmed tokens do not share it with
// those for others, so that a flood of invented tokens leaves known callers alone.
type budget struct {
	confirmed, others chan struct{}

	rate float64 // new tokens in a second; the bucket holds those of two
	now  func() time.Time
	mu   sync.Mutex
	left float64
	at   time.Time
}

func newBudget(rate int, now func() time.Time) *budget {
	return &budget{
		confirmed: make(chan struct{}, connections), others: make(chan struct{}, connections),
		rate: float64(rate), left: 2 * float64(rate), now: now, at: now(),
	}
}

// take waits for the turn of a token, and returns what ends it.
func (b *budget) take(ctx context.Context, confirmed bool) (done func(), err error) {
	turns := b.confirmed
	if !confirmed {
		if turns = b.others; !b.spend() {
			return nil, errRate
		}
	}
	done = func() { <-turns }
	select {
	case turns <- struct{}{}:
		return done, nil
	default:
	}
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	select {
	case turns <- struct{}{}:
		return done, nil
	case <-timer.C:
		return nil, errTurn
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// spend takes one token from the bucket.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(2*b.rate, b.left+passed.Seconds()*b.rate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
