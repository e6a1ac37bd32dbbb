package bff

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	logoutPurpose = "logout state"
	// logoutLifetime is how long a person may take to confirm at the provider
	// and still be led where they wanted to go.
	logoutLifetime = 15 * time.Minute
)

// logout ends the session here first, so that the person is signed out
// whatever the provider does, and then sends the browser there to end the
// session that would sign them in again at the next click.
func (b *BFF) logout(w http.ResponseWriter, r *http.Request) {
	to := route.ReturnTo(r.URL.Query().Get("returnTo"))
	s, err := b.sessions.Load(r.Context(), r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		if len(r.CookiesNamed(b.sessions.CookieName())) > 0 {
			http.SetCookie(w, b.sessions.ClearCookie())
		}
		respond.SeeOther(w, to)
		return
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	// A POST has passed the check of its origin already.
	if r.Method != http.MethodPost && !b.origins.FromOurPages(r) { // logout CSRF: an image on another site signs nobody out
		b.askLogout(w, r, to)
		return
	}
	if err := b.endHere(r.Context(), s, session.ReasonSignedOut); err != nil {
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	http.SetCookie(w, b.sessions.ClearCookie())
	b.dropTrail(w, r)

	// The refresh token is revoked once the provider has ended its session:
	// Keycloak would otherwise not tell its other clients (back-channel
	// logout) of the session's end.
	id := b.pending.add(r.Context(), s.Data.Tokens.Refresh)
	target := ""
	md, err := b.provider.AwaitMetadata(r.Context())
	if err != nil {
		b.logger.WarnContext(r.Context(), "signed out here only: the provider does not answer", "cause", err)
	} else if state, err := b.sealLogout(logoutState{ReturnTo: to, Pending: id, Started: b.now().Unix()}); err != nil {
		b.logger.ErrorContext(r.Context(), "signed out here only", "cause", err)
	} else {
		target = b.rp.endSessionURL(md, b.base.String(), s.Data.Tokens.ID, state)
	}
	if target == "" { // nothing to wait for
		b.pending.release(r.Context(), id)
		target = to
	}
	respond.SeeOther(w, target)
}

// endHere ends the session of a browser that asks for it, and has its access
// token refused where that is provided for.
func (b *BFF) endHere(ctx context.Context, s *session.Session, why session.Reason) error {
	if err := b.sessions.End(ctx, s, why); err != nil {
		return err
	}
	b.logger.InfoContext(ctx, "signed out", "session", s)
	_ = b.deny(ctx, Revocation{ // logged there
		Issuer: s.Issuer, TokenID: token.ID(s.Data.Tokens.Access), Until: s.Data.Tokens.ExpiresAt,
	})
	return nil
}

// undo takes back a login for which the browser has not got its cookie yet:
// nobody can use the session, and its tokens are given back.
func (b *BFF) undo(ctx context.Context, s *session.Session) {
	ctx = context.WithoutCancel(ctx)
	if err := b.sessions.End(ctx, s, session.ReasonProvider); err != nil {
		b.logger.WarnContext(ctx, "a session that nobody has the cookie of was not ended", "session", s, "cause", err)
	}
	b.pending.release(ctx, b.pending.add(ctx, s.Data.Tokens.Refresh))
}

// askLogout asks before signing out somebody whom another site has sent.
func (b *BFF) askLogout(w http.ResponseWriter, r *http.Request, to string) {
	href := route.Logout
	if to != "/" {
		href += "?returnTo=" + url.QueryEscape(to)
	}
	b.respond.Problem(w, r, web.Problem{
		Status:    http.StatusForbidden,
		Title:     "Do you want to sign out?",
		Message:   "Another site has sent you here to sign out. If that is not what you want, simply go on.",
		Action:    web.Link{Label: "Sign out", Href: href},
		Secondary: &web.Link{Label: "Stay signed in", Href: "/"},
	})
}

// A logoutState travels through the provider, in the parameter "state".
type logoutState struct {
	ReturnTo string `json:"r"`
	Pending  string `json:"p"` // the revocation that waits for the browser
	Started  int64  `json:"t"` // seconds
}

func (b *BFF) sealLogout(st logoutState) (string, error) {
	plain, err := json.Marshal(st)
	if err != nil {
		return "", err
	}
	sealed, err := b.keys.Seal(logoutPurpose, nil, plain)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// signedOut receives the browser back from the provider: the base URL with
// our state. It reports whether it has answered.
func (b *BFF) signedOut(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/" || !origins.Navigation(r) {
		return false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("state"))
	if err != nil || len(sealed) == 0 {
		return false
	}
	plain, err := b.keys.Open(logoutPurpose, nil, sealed)
	if err != nil {
		return false
	}
	var st logoutState
	if err := json.Unmarshal(plain, &st); err != nil {
		return false
	}
	b.pending.release(r.Context(), st.Pending)
	to := "/"
	if b.now().Sub(time.Unix(st.Started, 0)) < logoutLifetime {
		to = route.ReturnTo(st.ReturnTo)
	}
	respond.SeeOther(w, to)
	return true
}
