package account

import (
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/claims"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Claims returns the claims of a session that describe its user: those that
// nextjs-auth0 returns.
func Claims(s *session.Session) map[string]any {
	return claims.Shown(s.Data.Claims)
}

// Me answers with the user's claims, or 204 for a request without a session, as
// the useUser hook of nextjs-auth0 expects.
func (h *Handlers) Me(w http.ResponseWriter, r *http.Request) {
	if s, err := h.cfg.Lookup.Used(r); !h.answered(w, r, err) {
		respond.JSON(w, http.StatusOK, Claims(s))
	}
}

// Session answers with the time that is left to the session, without extending
// it, or 204 for a request without a session.
func (h *Handlers) Session(w http.ResponseWriter, r *http.Request) {
	if s, err := h.cfg.Lookup.Current(r); !h.answered(w, r, err) {
		respond.JSON(w, http.StatusOK, h.timeLeft(s))
	}
}

// timeLeft is the JSON form of the time that is left to a session.
func (h *Handlers) timeLeft(s *session.Session) map[string]any {
	idle, absolute := h.cfg.Lookup.cfg.Sessions.TimeLeft(s)
	idleEnd, latest := s.Ends()
	return map[string]any{
		"idle_seconds":     int(idle / time.Second),
		"absolute_seconds": int(absolute / time.Second),
		"idle_expires_at":  idleEnd,
		"expires_at":       latest,
	}
}
