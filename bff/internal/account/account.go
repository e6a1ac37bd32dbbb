// Package account owns what signed-in users see of their sessions and can do
// about them: their claims, the time that is left, the list of sessions, and a
// stream of events; and how a request's session is looked up and watched. It
// leaves keeping sessions to bff/session, and what else a logout does to
// bff/internal/logout.
package account

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// A SignOut ends the session of the browser that makes the request, and
// revokes its tokens.
type SignOut interface {
	SignOut(ctx context.Context, s *session.Session, why session.Reason) error
}

// Config configures the Handlers. All fields are required.
type Config struct {
	Lookup *Lookup
	// Logouts ends the session that makes the request.
	Logouts SignOut
	// Tokens replaces an access token that was denied with the user's others.
	Tokens *refresh.Refresher
	// Revoker ends the user's other sessions.
	Revoker *revocation.Revoker
	// Denies tells whether Revoker has access tokens refused.
	Denies bool
	// Stopping is closed when the process is about to stop.
	Stopping <-chan struct{}
	Limits   Limits
	// Work counts the streams that outlast their handlers, for a stop of the process.
	Work *inflight.Group
	// Streams counts open event streams, and Limited those refused; nil for none.
	Streams *metrics.UpDownCounter
	Limited *metrics.Counter
	Respond *respond.Responder
	Now     func() time.Time
	Logger  *slog.Logger
	// Audit records the ends of sessions; nil for none.
	Audit *auditlog.Recorder
}

// Handlers serve the addresses of the account. They are safe for concurrent
// use.
type Handlers struct {
	cfg     Config
	streams streamCount
}

// New returns the Handlers of a Config.
func New(cfg Config) *Handlers {
	return &Handlers{cfg: cfg, streams: streamCount{limits: cfg.Limits, sessions: map[session.ID]int{}, users: map[user]int{}}}
}

// answered reports whether it has answered a request because the look-up of its
// session gave an error: with 204 if it has none.
func (h *Handlers) answered(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case errors.Is(err, session.ErrNotFound):
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	case err != nil:
		h.cfg.Respond.StoreUnavailable(w, r, err)
	}
	return err != nil
}
