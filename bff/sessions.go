package bff

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
)

// A listed session is one of a person's, as they see it.
type listed struct {
	// Handle names it among this person's sessions, and only there: it is not
	// what a store is asked with.
	Handle        session.ID `json:"handle"`
	Current       bool       `json:"current"`
	Device        string     `json:"device"`
	Address       string     `json:"address"`
	CreatedAt     time.Time  `json:"created_at"`
	LastSeenAt    time.Time  `json:"last_seen_at"`
	IdleExpiresAt time.Time  `json:"idle_expires_at"`
	ExpiresAt     time.Time  `json:"expires_at"`
}

// listSessions answers with the person's sessions, newest first. Nothing is
// extended by that: a page may ask without the person being there.
func (b *BFF) listSessions(w http.ResponseWriter, r *http.Request) {
	s, records, ok := b.ownSessions(w, r)
	if !ok {
		return
	}
	all := make([]listed, 0, len(records))
	for _, record := range records {
		own := record.ID == s.ID
		if own { // of which alone it is known whether it can be renewed
			record.IdleExpiresAt, record.ExpiresAt = s.Ends()
		}
		all = append(all, listed{
			Handle:        record.ID,
			Current:       own,
			Device:        device(record.UserAgent),
			Address:       record.Address,
			CreatedAt:     record.CreatedAt,
			LastSeenAt:    record.LastSeenAt,
			IdleExpiresAt: record.IdleExpiresAt,
			ExpiresAt:     record.ExpiresAt,
		})
	}
	respond.JSON(w, http.StatusOK, map[string]any{"sessions": all})
}

// endSession ends one of the person's sessions. Another person's is not
// found: its handle names nothing here. The refresh token of a session other
// than this one stays unrevoked, since only its own browser could unseal it;
// it is in nobody's hands and goes with the provider's session.
func (b *BFF) endSession(w http.ResponseWriter, r *http.Request) {
	s, records, ok := b.ownSessions(w, r)
	if !ok {
		return
	}
	handle := strings.TrimPrefix(r.URL.Path, route.Sessions+"/")
	for _, record := range records {
		switch {
		case record.ID.String() != handle:
			continue
		case record.ID == s.ID: // signing out, without the provider
			if err := b.endHere(r.Context(), s, session.ReasonSignedOut); err != nil {
				b.respond.StoreUnavailable(w, r, err)
				return
			}
			b.pending.release(r.Context(), b.pending.add(r.Context(), s.Data.Tokens.Refresh))
			http.SetCookie(w, b.sessions.ClearCookie())
		default:
			if err := b.endElsewhere(r, record.ID); err != nil {
				b.respond.StoreUnavailable(w, r, err)
				return
			}
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	respond.Error(w, http.StatusNotFound, "you have no such session")
}

// endOtherSessions revokes everything of the person but the session that asks:
// access tokens, logins in progress, the other sessions.
func (b *BFF) endOtherSessions(w http.ResponseWriter, r *http.Request) {
	s, err := b.current(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		respond.Error(w, http.StatusUnauthorized, "you are not signed in")
		return
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	// Whole seconds, as in tokens: one that is issued from now on is good.
	target := revocation.Target{
		Issuer: s.Issuer, Subject: s.Subject, DecidedAt: b.now().Truncate(time.Second).Add(-time.Millisecond),
		KeepTokens: s.Data.Tokens.Refresh == "",
	}
	ended, err := b.revoker.RevokeOthers(r.Context(), target, s.ID, session.ReasonElsewhere)
	if err != nil { // what was done stays done: asking again does the rest
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	b.logger.InfoContext(r.Context(), "signed out everywhere else", "session", s, "sessions", len(ended))
	if b.denies != nil && !target.KeepTokens {
		b.replaceDenied(r.Context(), s)
	}
	respond.JSON(w, http.StatusOK, map[string]any{"ended": len(ended)})
}

// replaceDenied renews a session's access token, which was denied with all
// others of the person. Where that fails, the next request tries again.
func (b *BFF) replaceDenied(ctx context.Context, s *session.Session) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	if _, err := b.refresher.Another(ctx, s); err != nil {
		b.logger.InfoContext(ctx, "access token not renewed after it was denied", "session", s, "cause", err)
	}
}

// ownSessions returns the session of a request and all of its person's;
// otherwise it has answered.
func (b *BFF) ownSessions(w http.ResponseWriter, r *http.Request) (*session.Session, []session.Record, bool) {
	s, err := b.current(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		respond.Error(w, http.StatusUnauthorized, "you are not signed in")
		return nil, nil, false
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
		return nil, nil, false
	}
	records, err := b.sessions.List(r.Context(), s.Issuer, s.Subject)
	if err != nil {
		b.respond.StoreUnavailable(w, r, err)
		return nil, nil, false
	}
	return s, records, true
}

func (b *BFF) endElsewhere(r *http.Request, id session.ID) error {
	err := b.sessions.EndByID(r.Context(), id, session.ReasonElsewhere)
	if errors.Is(err, session.ErrNotFound) {
		return nil // it ended meanwhile, which is what was wanted
	}
	if err == nil {
		b.logger.InfoContext(r.Context(), "signed out from another session", "session", id.String())
	}
	return err
}
