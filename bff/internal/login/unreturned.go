package login

import (
	"context"
	"sync"
	"time"
)

// Logins of which none returns are reported when there are this many, and the first is
// this old. With several nodes most callbacks reach another one, but not all.
const (
	manyUnreturned = 20
	longUnreturned = 5 * time.Minute
)

// unreturned notices that no browser comes back from the provider. A redirect URI that
// is not registered, and a base URL that leads elsewhere, show in no other way here: the
// user sees an error page of the provider, or of another server.
type unreturned struct {
	mu    sync.Mutex
	count int
	first time.Time
	done  bool // one has come back, or the warning is logged
}

// started counts a login, and reports whether to warn of count of them.
func (u *unreturned) started(now time.Time) (warn bool, count int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return false, 0
	}
	if u.count++; u.count == 1 {
		u.first = now
	}
	u.done = u.count >= manyUnreturned && now.Sub(u.first) >= longUnreturned
	return u.done, u.count
}

// returned notes that a login has come back.
func (u *unreturned) returned() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = true
}

// noteStarted counts a login that the browser is sent to the provider for.
func (h *Handlers) noteStarted(ctx context.Context) {
	if warn, count := h.unreturned.started(h.cfg.Now()); warn {
		h.cfg.Logger.WarnContext(ctx, "no login has come back from the provider", "logins", count, "setting", h.cfg.Setting("BaseURL"),
			"remedy", "gatehouse check tells whether the redirect URI "+h.cfg.Party.Config().Callback+" is registered; the base URL must lead to this bff")
	}
}
