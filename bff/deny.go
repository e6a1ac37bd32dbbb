package bff

import (
	"context"
	"time"
)

// A Revocation names access tokens that must stop being good: one by its id,
// or those of a provider's session, or, where the provider named no session,
// those of a subject up to a moment. Exactly that order counts: what is empty
// is passed over.
type Revocation struct {
	Issuer string
	// TokenID is one token's "jti".
	TokenID string
	// SessionID is the provider's session, "sid".
	SessionID string
	// Subject is the person, "sub"; tokens that were issued after At stay
	// good.
	Subject string
	At      time.Time
	// Until is when the last of the tokens expires by itself; zero if nobody
	// here knows.
	Until time.Time
}

// deny passes a revocation on. It is worth less than the logout that it
// belongs to, and does not stop it.
func (b *BFF) deny(ctx context.Context, r Revocation) {
	if b.denies == nil || r.TokenID == "" && r.SessionID == "" && r.Subject == "" {
		return
	}
	if err := b.denies(ctx, r); err != nil {
		b.logger.ErrorContext(ctx, "access tokens were not revoked; they are good until they expire", "cause", err)
	}
}
