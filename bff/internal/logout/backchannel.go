package logout

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	// maxLogoutToken bounds the body of a back-channel logout, in bytes.
	maxLogoutToken = 80 << 10
	// usedSkew is how long after its expiry a logout token is remembered. The
	// verifier accepts it for a minute.
	usedSkew = 2 * time.Minute
)

// Backchannel ends the sessions that a logout token names (OpenID Connect
// Back-Channel Logout). The token is the whole authorization.
func (h *Handlers) Backchannel(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(err error) {
		if ok, held := h.refused.Next(); ok { // anyone can send one
			h.cfg.Logger.WarnContext(r.Context(), "back-channel logout refused", "err", err, "suppressed", held)
		}
		respond.JSON(w, http.StatusBadRequest, map[string]string{
			"error": "invalid_request", "error_description": "the logout token was not accepted",
		})
	}
	if err := rp.ReadForm(w, r, maxLogoutToken); err != nil {
		refuse(errors.New("the body is not a form"))
		return
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 {
		refuse(errors.New("the body does not have exactly one logout_token"))
		return
	}
	claims, err := h.cfg.Tokens.Verify(r.Context(), values[0])
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		h.cfg.Logger.WarnContext(r.Context(), "logout token not verified: provider unavailable", "err", err)
		w.Header().Set("Retry-After", respond.RetryAfter)
		respond.Error(w, http.StatusServiceUnavailable, "the logout token cannot be verified at the moment")
		return
	case err != nil:
		refuse(err)
		return
	}
	used := claims.Issuer + "\x00" + claims.ID
	switch _, err := h.used.Get(r.Context(), used); {
	case err == nil:
		refuse(errors.New("the logout token was used before"))
		return
	case !errors.Is(err, session.ErrNotFound):
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	ended, err := h.cfg.Revoker.Revoke(r.Context(), revocation.Target{
		Issuer: claims.Issuer, Subject: claims.Subject, SessionID: claims.SessionID, DecidedAt: claims.IssuedAt,
	}, session.ReasonProvider)
	out := audit.Event{Action: audit.SignOut, Cause: audit.BackChannel, Issuer: claims.Issuer, Subject: claims.Subject}
	for _, id := range ended { // also after an error of the rest
		out.Session = id.String()
		h.cfg.Audit.Record(r.Context(), out)
	}
	if err == nil && claims.SessionID == "" {
		out.Action, out.Session, out.Count = audit.SubjectRevoked, "", int64(len(ended))
		h.cfg.Audit.Record(r.Context(), out)
	}
	if err == nil {
		// Last: after an error, or if this process is killed, the provider may
		// send the token again.
		_, err = h.used.Add(r.Context(), used, nil, claims.Expiry.Add(usedSkew))
	}
	if err != nil {
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	h.cfg.Logger.InfoContext(r.Context(), "signed out by the provider", "sessions", len(ended))
	w.WriteHeader(http.StatusOK)
}
