package bff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// callback ends a login: it trusts the answer only if it belongs to an
// attempt of this very browser (login CSRF, code injection), from the
// provider that the browser was sent to (mix-up), and once.
func (b *BFF) callback(w http.ResponseWriter, r *http.Request) {
	// First, so that an outage does not use up the attempt: reloading the page
	// goes on with it.
	md, err := b.rp.metadataAndKeys(r.Context())
	if err != nil {
		b.unavailable(w, r, err, loginPath)
		return
	}
	query := b.answer(w, r)
	a, err := b.takeAttempt(w, r, query.Get("state"))
	switch {
	case err == nil:
	case !errors.Is(err, errNoAttempt):
		b.storeDown(w, r, err)
		return
	default:
		b.logger.InfoContext(r.Context(), "login not completed", "cause", err)
		b.stale(w, r)
		return
	}
	for _, name := range []string{"state", "code", "error"} { // RFC 6749 section 3.1
		if len(query[name]) > 1 {
			b.failedLogin(w, r, a, fmt.Errorf("the answer has several parameters %s", name))
			return
		}
	}
	if err := checkIssuer(md, a, query["iss"]); err != nil {
		b.failedLogin(w, r, a, err)
		return
	}
	if query.Has("error") {
		code := errorCode(query.Get("error"))
		if a.Silent {
			b.silently(w, r, a.ReturnTo, errors.New("the provider answered "+code))
			return
		}
		b.logger.InfoContext(r.Context(), "login refused by the provider", "error", code)
		b.refusedLogin(w, r, a, code)
		return
	}
	s, cookie, err := b.signIn(r, md, a, query.Get("code"))
	switch {
	case errors.Is(err, errStore):
		b.storeDown(w, r, err)
	case err != nil:
		b.failedLogin(w, r, a, err)
	default:
		b.logger.InfoContext(r.Context(), "signed in", "session", s)
		http.SetCookie(w, cookie)
		b.leaveTrail(w, r, a.ReturnTo)
		seeOther(w, a.ReturnTo)
	}
}

// checkIssuer is the defence against mix-up (RFC 9207, RFC 9700 section
// 4.4.2): the answer comes from where the browser was sent.
func checkIssuer(md *token.Metadata, a *attempt, iss []string) error {
	switch {
	case a.Issuer != issuerHash(md.Issuer):
		return errors.New("the login was started with another provider")
	case len(iss) > 1:
		return errors.New("the answer names several issuers")
	case len(iss) == 1 && iss[0] != md.Issuer:
		return errors.New("the answer is another issuer's")
	case len(iss) == 0 && md.AuthorizationResponseIssParameterSupported:
		return errors.New("the answer lacks the iss that the provider promises")
	}
	return nil
}

// signIn redeems the code, verifies what comes for it, and creates the
// session.
func (b *BFF) signIn(r *http.Request, md *token.Metadata, a *attempt, code string) (*session.Session, *http.Cookie, error) {
	if code == "" {
		return nil, nil, errors.New("the answer has neither code nor error")
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	tokens, err := b.rp.exchange(ctx, md, a, code)
	if err != nil {
		return nil, nil, fmt.Errorf("code not redeemed: %w", err)
	}
	if tokens.ID == "" {
		return nil, nil, errors.New("token endpoint: the answer has no id_token")
	}
	checks := token.IDChecks{Nonce: a.nonce(), AccessToken: tokens.Access, ACRValues: strings.Fields(a.ACR)}
	if a.MaxAge != nil {
		maxAge := time.Duration(*a.MaxAge) * time.Second
		checks.MaxAge = &maxAge
	}
	id, err := b.rp.ids.Verify(ctx, tokens.ID, checks)
	if err != nil {
		return nil, nil, fmt.Errorf("ID token: %w", err)
	}
	claims, err := b.completed(ctx, md, id, tokens)
	if err != nil {
		return nil, nil, err
	}
	s, cookie, err := b.sessions.Create(ctx, session.NewSession{
		Issuer:    id.Issuer,
		Subject:   id.Subject,
		SID:       id.SessionID,
		Data:      session.Data{Claims: claims, Tokens: tokens},
		UserAgent: r.UserAgent(),
		Address:   b.clientAddress(r),
		Replaces:  b.sessions.CookieValue(r),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	if err := b.bars.check(ctx, a, id); err != nil {
		b.undo(ctx, s)
		return nil, nil, err
	}
	return s, cookie, nil
}

var errStore = errors.New("session store")

// completed returns the ID token's claims, and those that it lacks although
// their scope was asked for from the userinfo endpoint. Some providers refuse
// userinfo to a token that is meant for our API, so a failure there is no
// failure of the login; another person's answer is.
func (b *BFF) completed(ctx context.Context, md *token.Metadata, id *token.Claims, tokens session.Tokens) (map[string]any, error) {
	claims := id.Map()
	granted := tokens.Scope
	if granted == "" { // RFC 6749 section 5.1: as asked for
		granted, _ = b.rp.scope(md)
	}
	scopes := strings.Fields(granted)
	lacks := func(scope, claim string) bool {
		_, has := claims[claim]
		return !has && slices.Contains(scopes, scope)
	}
	if md.UserinfoEndpoint == "" || !lacks("profile", "name") && !lacks("email", "email") {
		return claims, nil
	}
	more, err := b.rp.userinfo(ctx, md, tokens.Access)
	if err != nil {
		b.logger.WarnContext(ctx, "userinfo not had; the session has the ID token's claims alone", "cause", err)
		return claims, nil
	}
	switch subject, ok := more["sub"].(string); {
	case !ok || subject == "": // "MUST always be returned": section 5.3.2
		b.logger.WarnContext(ctx, "userinfo not used: the answer does not say whom it is about")
		return claims, nil
	case subject != id.Subject:
		return nil, errors.New("userinfo: the answer is about another subject")
	}
	for _, name := range append([]string{"sid", "acr", "amr"}, protocolClaims...) {
		delete(more, name) // about a login, which only the signed ID token describes
	}
	maps.Copy(more, claims) // what is signed wins
	return more, nil
}

// stale answers a callback that no attempt of this browser waits for: an old
// tab, a bookmark, a second click, or somebody else's link.
func (b *BFF) stale(w http.ResponseWriter, r *http.Request) {
	pr := web.Problem{
		Status:  http.StatusBadRequest,
		Title:   "This sign-in has run out",
		Message: "It was started too long ago, finished already, or began in another browser. Nothing has gone wrong with your account. Please start again.",
		Action:  web.Link{Label: "Sign in", Href: loginPath},
	}
	if sentNoCookies(r) {
		pr.Title = "This sign-in cannot be completed here"
		pr.Message = "Your browser sent no cookie along. Either the sign-in began in another browser, or this one does not keep cookies for this site: allow them, and start again."
	}
	if _, err := b.sessions.Load(r.Context(), r); err == nil {
		pr.Title = "You are signed in already"
		pr.Message = "This link belongs to a sign-in that is over. You can simply go on."
		pr.Action = web.Link{Label: "Continue", Href: "/"}
	}
	b.problem(w, r, pr)
}

// refusedLogin tells the person what the provider answered.
func (b *BFF) refusedLogin(w http.ResponseWriter, r *http.Request, a *attempt, code string) {
	pr := web.Problem{
		Status:    http.StatusBadGateway,
		Title:     "The sign-in did not work",
		Message:   "The sign-in service answered with an error. You can try again; if it happens again, tell the people who run this application.",
		Detail:    requestDetail(r),
		Action:    web.Link{Label: "Try again", Href: loginURL(a.ReturnTo)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	}
	if code != "" {
		pr.Detail = "Error: " + code
	}
	switch code {
	case "access_denied":
		pr.Status, pr.Title, pr.Detail = http.StatusForbidden, "The sign-in was cancelled", ""
		pr.Message = "You are not signed in. If you did not mean to cancel, try again."
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		pr.Status, pr.Title, pr.Detail = http.StatusUnauthorized, "You need to sign in", ""
		pr.Message = "The sign-in service does not know you in this browser at the moment."
		pr.Action.Label = "Sign in"
	case "temporarily_unavailable", "server_error":
		pr.Status, pr.Title = http.StatusServiceUnavailable, "The sign-in service is busy"
		pr.Message = "It cannot sign you in at the moment. Please try again in a little while."
	}
	b.problem(w, r, pr)
}

// failedLogin answers a login that did not pass our checks. The cause is for
// the log: the page would tell an attacker which check to work on.
func (b *BFF) failedLogin(w http.ResponseWriter, r *http.Request, a *attempt, cause error) {
	b.logger.WarnContext(r.Context(), "login failed", "cause", cause)
	if errors.Is(cause, token.ErrStepUp) {
		b.problem(w, r, web.Problem{
			Status:    http.StatusForbidden,
			Title:     "A stronger sign-in is needed",
			Message:   "What you wanted to do needs a sign-in that is fresher or stronger than the one that the sign-in service has just made. What you were signed in to before is as it was.",
			Detail:    requestDetail(r),
			Action:    web.Link{Label: "Go to the home page", Href: "/"},
			Secondary: &web.Link{Label: "Sign in anew", Href: loginFor(url.Values{"prompt": {"login"}}, a.ReturnTo)},
		})
		return
	}
	b.problem(w, r, web.Problem{
		Status:    http.StatusBadGateway,
		Title:     "The sign-in could not be completed",
		Message:   "The answer of the sign-in service was not accepted, so you are not signed in. You can try again; if it happens again, tell the people who run this application.",
		Detail:    requestDetail(r),
		Action:    web.Link{Label: "Try again", Href: loginURL(a.ReturnTo)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	})
}
