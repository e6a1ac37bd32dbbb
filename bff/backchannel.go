package bff

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// maxLogoutToken bounds the body of a back-channel logout, in bytes.
const maxLogoutToken = 80 << 10

// backchannelLogout ends sessions at the provider's word (OpenID Connect
// Back-Channel Logout). The logout token is the whole authorisation.
func (b *BFF) backchannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutToken)
	refuse := func(cause error) {
		b.logger.WarnContext(r.Context(), "back-channel logout refused", "cause", cause)
		writeJSON(w, http.StatusBadRequest, map[string]string{
			"error": "invalid_request", "error_description": "the logout token was not accepted",
		})
	}
	if err := r.ParseForm(); err != nil {
		refuse(errors.New("the body is no form"))
		return
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 {
		refuse(errors.New("the body has not exactly one logout_token"))
		return
	}
	claims, err := b.logouts.Verify(r.Context(), values[0])
	switch {
	case errors.Is(err, token.ErrUnavailable):
		b.logger.WarnContext(r.Context(), "back-channel logout not judged", "cause", err)
		w.Header().Set("Retry-After", retryAfter)
		writeError(w, http.StatusServiceUnavailable, "the logout token cannot be verified at the moment")
		return
	case err != nil:
		refuse(err)
		return
	case !b.replays.first(claims.Issuer+" "+claims.ID, claims.Expiry):
		refuse(errors.New("the logout token was used before"))
		return
	}
	// Denied first: a session that is ended and whose token still works is
	// worse than the other way about.
	denied := b.deny(r.Context(), Revocation{
		Issuer: claims.Issuer, SessionID: claims.SessionID, Subject: claims.Subject, At: claims.IssuedAt,
	})
	ended := 0
	if claims.SessionID != "" {
		ids, endErr := b.sessions.EndBySID(r.Context(), claims.Issuer, claims.SessionID)
		ended, err = len(ids), endErr
	} else {
		ids, endErr := b.sessions.EndBySubject(r.Context(), claims.Issuer, claims.Subject, session.ReasonProvider)
		ended, err = len(ids), endErr
	}
	if err = errors.Join(err, denied); err != nil {
		b.replays.forget(claims.Issuer + " " + claims.ID) // the provider may try again
		b.storeDown(w, r, err)
		return
	}
	b.logger.InfoContext(r.Context(), "signed out by the provider", "sessions", ended)
	w.WriteHeader(http.StatusOK)
}

// maxReplays bounds the memory of used logout tokens; only tokens with a good
// signature get in.
const maxReplays = 100_000

// replays remembers the ids of logout tokens until they expire. It is of this
// process only.
type replays struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[string]time.Time
}

func newReplays(now func() time.Time) *replays {
	return &replays{now: now, seen: map[string]time.Time{}}
}

// first reports whether the id comes for the first time. When the memory is
// full of ids that are still good, nothing passes.
func (p *replays) first(id string, expires time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.seen[id]; again {
		return false
	}
	if len(p.seen) >= maxReplays {
		for old, until := range p.seen {
			// The verifier forgives a minute of skew.
			if p.now().After(until.Add(2 * time.Minute)) {
				delete(p.seen, old)
			}
		}
		if len(p.seen) >= maxReplays {
			return false
		}
	}
	p.seen[id] = expires
	return true
}

func (p *replays) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, id)
}
