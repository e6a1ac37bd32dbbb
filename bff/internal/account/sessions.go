package account

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// renewTimeout bounds the renewal of an access token that was denied.
const renewTimeout = 5 * time.Second

// maxListed bounds the sessions in one list. A user has more only if the limit of
// sessions was set higher, or lowered since.
const maxListed = 200

// A listed session is a session as its user sees it.
type listed struct {
	// Handle identifies the session among those of its user only. Stores are
	// not asked for it.
	Handle        session.ID `json:"handle"`
	Current       bool       `json:"current"`
	Device        string     `json:"device"`
	Address       string     `json:"address"`
	CreatedAt     time.Time  `json:"created_at"`
	LastSeenAt    time.Time  `json:"last_seen_at"`
	IdleExpiresAt time.Time  `json:"idle_expires_at"`
	ExpiresAt     time.Time  `json:"expires_at"`
}

// List answers with the user's sessions, newest first: the newest maxListed, and
// the current one, with the number of all. It extends none: a page may ask while
// its user is away.
func (h *Handlers) List(w http.ResponseWriter, r *http.Request) {
	s, records, ok := h.own(w, r)
	if !ok {
		return
	}
	all := make([]listed, 0, len(records))
	for i, record := range records {
		current := record.ID == s.ID
		if i >= maxListed && !current {
			continue
		}
		if current { // only of this one the tokens are known, which may end it earlier
			record.IdleExpiresAt, record.ExpiresAt = s.Ends()
		}
		all = append(all, listed{
			Handle:        record.ID,
			Current:       current,
			Device:        Device(record.UserAgent, h.cfg.Respond.Catalog()),
			Address:       record.Address,
			CreatedAt:     record.CreatedAt,
			LastSeenAt:    record.LastSeenAt,
			IdleExpiresAt: record.IdleExpiresAt,
			ExpiresAt:     record.ExpiresAt,
		})
	}
	respond.JSON(w, http.StatusOK, map[string]any{"sessions": all, "total": len(records)})
}

// End ends one of the user's sessions, and answers 404 for the handle of
// another user's. The refresh token of a session other than the current one is
// not revoked: only its own browser could unseal it. It ends with the
// provider's session.
func (h *Handlers) End(w http.ResponseWriter, r *http.Request) {
	s, records, ok := h.own(w, r)
	if !ok {
		return
	}
	handle := strings.TrimPrefix(r.URL.Path, route.Sessions+"/")
	for _, record := range records {
		if record.ID.String() != handle {
			continue
		}
		var err error
		if record.ID == s.ID { // a logout without the provider
			if err = h.cfg.Logouts.SignOut(r.Context(), s, session.ReasonSignedOut); err == nil {
				http.SetCookie(w, h.cfg.Lookup.cfg.Sessions.ClearCookie())
			}
		} else {
			err = h.endOther(r.Context(), &record)
		}
		if err != nil {
			h.cfg.Respond.StoreUnavailable(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	respond.Error(w, http.StatusNotFound, "you have no such session")
}

// endOther ends another session of the user. That it has ended meanwhile is no
// error.
func (h *Handlers) endOther(ctx context.Context, other *session.Record) error {
	err := h.cfg.Lookup.cfg.Sessions.EndByID(ctx, other.ID, session.ReasonElsewhere)
	if errors.Is(err, session.ErrNotFound) {
		return nil
	}
	if err == nil {
		h.cfg.Logger.InfoContext(ctx, "signed out from another session", "session", other.ID.String())
		h.cfg.Audit.Record(ctx, audit.Event{
			Action: audit.SignOut, Cause: audit.OtherDevice, Issuer: other.Issuer, Subject: other.Subject, Session: other.ID.String(),
		})
	}
	return err
}

// EndOthers revokes everything of the user except the current session: access
// tokens, logins in progress, the other sessions.
func (h *Handlers) EndOthers(w http.ResponseWriter, r *http.Request) {
	s, ok := h.signedIn(w, r)
	if !ok {
		return
	}
	// Tokens count whole seconds: one that is issued from now on is not denied.
	target := revocation.Target{
		Issuer: s.Issuer, Subject: s.Subject, DecidedAt: h.cfg.Now().Truncate(time.Second).Add(-time.Millisecond),
		KeepTokens: s.Data.Tokens.Refresh == "",
	}
	ended, err := h.cfg.Revoker.RevokeOthers(r.Context(), target, s.ID, session.ReasonElsewhere)
	out := audit.Event{Action: audit.SignOut, Cause: audit.Everywhere, Issuer: s.Issuer, Subject: s.Subject}
	for _, id := range ended {
		out.Session = id.String()
		h.cfg.Audit.Record(r.Context(), out)
	}
	if err != nil { // what was done stays done: another request does the rest
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	h.cfg.Logger.InfoContext(r.Context(), "signed out everywhere else", "session", s, "sessions", len(ended))
	out.Action, out.Session, out.Count = audit.SubjectRevoked, "", int64(len(ended))
	h.cfg.Audit.Record(r.Context(), out)
	if h.cfg.Denies && !target.KeepTokens {
		h.replaceDenied(r.Context(), s)
	}
	respond.JSON(w, http.StatusOK, map[string]any{"ended": len(ended)})
}

// replaceDenied renews a session's access token, which was denied with the
// user's others. If that fails, the next request tries again.
func (h *Handlers) replaceDenied(ctx context.Context, s *session.Session) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if _, err := h.cfg.Tokens.WaitForRefresh(ctx, s); err != nil {
		h.cfg.Logger.InfoContext(ctx, "denied access token not renewed", "session", s, "err", err)
	}
}

// signedIn returns the session of a request. Without one it answers, and
// returns false.
func (h *Handlers) signedIn(w http.ResponseWriter, r *http.Request) (*session.Session, bool) {
	s, err := h.cfg.Lookup.Current(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		respond.Error(w, http.StatusUnauthorized, "you are not signed in")
	case err != nil:
		h.cfg.Respond.StoreUnavailable(w, r, err)
	}
	return s, err == nil
}

// own returns the session of a request and all sessions of its user. Without a
// session it answers, and returns false.
func (h *Handlers) own(w http.ResponseWriter, r *http.Request) (*session.Session, []session.Record, bool) {
	s, ok := h.signedIn(w, r)
	if !ok {
		return nil, nil, false
	}
	records, err := h.cfg.Lookup.cfg.Sessions.List(r.Context(), s.Issuer, s.Subject)
	if err != nil {
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return nil, nil, false
	}
	return s, records, true
}
