// Package logout owns the ends of sessions: the logout of a browser, here and
// at the provider, the provider's own logouts (back and front channel), and the
// revocation of refresh tokens that no session needs any more. It leaves
// sessions to bff/session, the order of logouts and logins to
// internal/revocation, and calls of the provider to its caller.
package logout

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	statePurpose = "logout state"
	// stateLifetime is how long a user may take to confirm at the provider and
	// still return to the page that they wanted.
	stateLifetime = 15 * time.Minute
)

// Config configures the Handlers. All fields are required.
type Config struct {
	// Base is the base URL, to which the provider sends browsers back.
	Base     *url.URL
	Sessions *session.Manager
	Provider *oidc.Provider
	// Tokens verifies logout tokens.
	Tokens *token.ClientVerifier
	// Party knows the address of the provider's logout.
	Party *rp.Party
	// Deny has the access token of a session refused. It logs its errors: the
	// logout goes on.
	Deny func(ctx context.Context, s *session.Session)
	// Revoker ends the sessions that a logout token names.
	Revoker *revocation.Revoker
	// Revocations revokes the refresh tokens of sessions that have ended.
	Revocations *Revocations
	// ForgetLogins removes the login history of a browser.
	ForgetLogins func(w http.ResponseWriter, r *http.Request)
	Origins      *origins.Origins
	Respond      *respond.Responder
	Now          func() time.Time
	Logger       *slog.Logger
	// Audit records sign-outs; nil for none.
	Audit *auditlog.Recorder
}

// Handlers serve the addresses of the logout. They are safe for concurrent use.
type Handlers struct {
	cfg Config
	// used are the logout tokens that were carried out.
	used session.Notes
	// refused counts the requests that end nothing.
	refused *throttle.Log
}

// New returns the Handlers of a Config.
func New(cfg Config) *Handlers {
	return &Handlers{cfg: cfg, used: cfg.Sessions.Notes("logout token"), refused: throttle.Every(time.Minute)}
}

// Logout ends the session of a browser. It ends here first, so that its user is
// signed out whatever the provider does; then the browser is sent to the
// provider, whose session would sign the user in again at the next click.
func (h *Handlers) Logout(w http.ResponseWriter, r *http.Request) {
	to := route.ReturnTo(r.URL.Query().Get("returnTo"))
	s, err := h.cfg.Sessions.Load(r.Context(), r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		if len(r.CookiesNamed(h.cfg.Sessions.CookieName())) > 0 {
			http.SetCookie(w, h.cfg.Sessions.ClearCookie())
		}
		respond.SeeOther(w, to)
		return
	case err != nil:
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	// The origin of a POST has been checked.
	if r.Method != http.MethodPost && !h.cfg.Origins.FromOurPages(r) { // logout CSRF, such as an image on another site
		h.ask(w, r, to)
		return
	}
	if err := h.end(r.Context(), s, session.ReasonSignedOut); err != nil {
		h.cfg.Respond.StoreUnavailable(w, r, err)
		return
	}
	http.SetCookie(w, h.cfg.Sessions.ClearCookie())
	h.cfg.ForgetLogins(w, r)

	// The refresh token is revoked after the provider has ended its session:
	// otherwise Keycloak would not tell its other clients (back-channel logout).
	id := h.cfg.Revocations.Add(r.Context(), s.Data.Tokens.Refresh)
	target := h.atProvider(r.Context(), s, to, id)
	if target == "" {
		h.cfg.Revocations.Release(r.Context(), id)
		target = to
	}
	respond.SeeOther(w, target)
}

// atProvider returns the address of the logout at the provider, which then
// sends the browser back to a path, "" for none.
func (h *Handlers) atProvider(ctx context.Context, s *session.Session, to, revocation string) string {
	md, err := h.cfg.Provider.AwaitMetadata(ctx)
	if err != nil {
		h.cfg.Logger.InfoContext(ctx, "signed out here only: provider unavailable", "err", err)
		return ""
	}
	sealed, err := h.seal(state{ReturnTo: to, Revocation: revocation, Started: h.cfg.Now().Unix()})
	if err != nil {
		h.cfg.Logger.ErrorContext(ctx, "signed out here only", "err", err)
		return ""
	}
	return h.cfg.Party.EndSessionURL(md, s.Data.Tokens.ID, sealed)
}

// end ends the session of the browser that asks for it, and denies its access
// token.
func (h *Handlers) end(ctx context.Context, s *session.Session, why session.Reason) error {
	err := h.cfg.Sessions.EndByID(ctx, s.ID, why)
	ended := errors.Is(err, session.ErrNotFound) // by another request, which is audited
	if err != nil && !ended {
		return err
	}
	h.cfg.Logger.InfoContext(ctx, "signed out", "session", s)
	h.cfg.Deny(ctx, s)
	if ended {
		return nil
	}
	cause := audit.User
	if why == session.ReasonProvider {
		cause = audit.FrontChannel
	}
	h.cfg.Audit.Record(ctx, audit.Event{
		Action: audit.SignOut, Cause: cause, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(),
	})
	return nil
}

// SignOut ends the session of the browser that asks for it, and revokes its
// tokens at once. The provider's session goes on.
func (h *Handlers) SignOut(ctx context.Context, s *session.Session, why session.Reason) error {
	if err := h.end(ctx, s, why); err != nil {
		return err
	}
	h.cfg.Revocations.Now(ctx, s.Data.Tokens.Refresh)
	return nil
}

// Undo takes back a session whose cookie no browser has got yet.
func (h *Handlers) Undo(ctx context.Context, s *session.Session) {
	ctx = context.WithoutCancel(ctx)
	if err := h.cfg.Sessions.End(ctx, s, session.ReasonProvider); err != nil {
		h.cfg.Logger.WarnContext(ctx, "session without a browser not ended", "session", s, "err", err)
	}
	h.cfg.Revocations.Now(ctx, s.Data.Tokens.Refresh)
}

// ask asks a user whom another site has sent to the logout.
func (h *Handlers) ask(w http.ResponseWriter, r *http.Request, to string) {
	href := route.Logout
	if to != "/" {
		href += "?returnTo=" + url.QueryEscape(to)
	}
	t := h.cfg.Respond.Texts(r)
	h.cfg.Respond.Problem(w, r, web.Problem{
		Code: respond.CodeSignOut, Status: http.StatusForbidden,
		Title:     t.Text("logout.title"),
		Message:   t.Text("logout.text"),
		Action:    web.Link{Label: t.Text("action.sign-out"), Href: href},
		Secondary: &web.Link{Label: t.Text("action.stay"), Href: "/"},
	})
}

// A state travels through the provider, sealed, in the parameter "state".
type state struct {
	ReturnTo   string `json:"r"`
	Revocation string `json:"p"` // what waits for the browser to return
	Started    int64  `json:"t"` // seconds
}

func (h *Handlers) seal(st state) (string, error) {
	plain, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	sealed, err := h.cfg.Sessions.Seal(statePurpose, nil, plain)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// Returned answers a browser that returns from the provider, at the base URL
// with our state. It reports whether the request is one.
func (h *Handlers) Returned(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/" || !origins.Navigation(r) {
		return false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("state"))
	if err != nil || len(sealed) == 0 {
		return false
	}
	plain, err := h.cfg.Sessions.Open(statePurpose, nil, sealed)
	if err != nil {
		return false
	}
	var st state
	if err := json.Unmarshal(plain, &st); err != nil {
		return false
	}
	h.cfg.Revocations.Release(r.Context(), st.Revocation)
	to := "/"
	if h.cfg.Now().Sub(time.Unix(st.Started, 0)) < stateLifetime {
		to = route.ReturnTo(st.ReturnTo)
	}
	respond.SeeOther(w, to)
	return true
}
