package logout

import (
	"cmp"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// Frontchannel ends the session that a page of the provider names, which has
// this address in a frame (OpenID Connect Front-Channel Logout). The frame is
// of another site, so that the session cookie is usually missing, and the
// provider's session id is the only authorization. It cannot be guessed, the
// answer does not tell whether there was such a session, and only that session
// ends: access tokens are not denied and logins in progress are not barred, as
// a signed logout token does.
func (h *Handlers) Frontchannel(w http.ResponseWriter, r *http.Request) {
	md, err := h.cfg.Provider.AwaitMetadata(r.Context())
	if err != nil {
		h.cfg.Respond.ProviderUnavailable(w, r, err, "/")
		return
	}
	// Only pages of the issuer's origin may frame the answer.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors "+cmp.Or(origin.Of(md.Issuer), "'none'"))
	query := r.URL.Query()
	iss, sid := query["iss"], query["sid"]
	switch {
	case len(iss) != 1 || len(sid) != 1 || sid[0] == "":
		respond.Error(w, http.StatusBadRequest, "a front-channel logout names iss and sid, once each")
		return
	case iss[0] != md.Issuer:
		respond.Error(w, http.StatusBadRequest, "this is not the issuer that signs people in here")
		return
	case origins.Prefetch(r):
		respond.Error(w, http.StatusForbidden, "a logout is not to be fetched beforehand")
		return
	}
	if s, err := h.cfg.Sessions.Load(r.Context(), r); err == nil && s.Issuer == md.Issuer && s.SID == sid[0] {
		// Provider and bff are of one site, so that the cookie came: this is an
		// ordinary logout, after that of the provider.
		if err := h.SignOut(r.Context(), s, session.ReasonProvider); err != nil {
			h.cfg.Respond.StoreUnavailable(w, r, err)
			return
		}
		http.SetCookie(w, h.cfg.Sessions.ClearCookie())
	}
	// The cookie of another session stays.
	ids, err := h.cfg.Sessions.EndBySID(r.Context(), md.Issuer, sid[0])
	for _, id := range ids { // also after an error of the rest
		h.cfg.Audit.Record(r.Context(), audit.Event{
			Action: audit.SignOut, Cause: audit.FrontChannel, Issuer: md.Issuer, Session: id.String(),
		})
	}
	if err != nil {
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	h.cfg.Logger.InfoContext(r.Context(), "signed out by a page of the provider", "sessions", len(ids))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte("Signed out.\n")) // an error means that the frame is gone
}
