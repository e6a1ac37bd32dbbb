package bff

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/account"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// callback ends a login: it trusts the answer only if it belongs to an
// attempt of this very browser (login CSRF, code injection), from the
// provider that the browser was sent to (mix-up), and once.
func (b *BFF) callback(w http.ResponseWriter, r *http.Request) {
	// First, so that an outage does not use up the attempt: reloading the page
	// goes on with it.
	md, err := b.rp.metadata(r.Context())
	if err != nil {
		b.respond.ProviderUnavailable(w, r, err, route.Login)
		return
	}
	query := b.answer(w, r)
	state := query.Get("state")
	a, err := b.findAttempt(r, state)
	switch {
	case err == nil:
	case !errors.Is(err, errNoAttempt): // at another node, or later, the login goes on
		b.respond.StoreUnavailable(w, r, err)
		return
	default:
		b.dropAttempt(w, r, state)
		b.logger.InfoContext(r.Context(), "login not completed", "cause", err)
		b.stale(w, r, b.ledTo(r, state))
		return
	}
	if err := checkAnswer(md, a, query); err != nil {
		b.dropAttempt(w, r, state)
		b.logger.WarnContext(r.Context(), "login failed", "cause", err)
		b.failedLogin(w, r, a, failureAnswer)
		return
	}
	if query.Has("error") {
		b.dropAttempt(w, r, state)
		b.refusedAnswer(w, r, a, query)
		return
	}
	code := query.Get("code")
	browser := session.NewSession{UserAgent: r.UserAgent(), Address: b.origins.ClientAddress(r), Replaces: b.sessions.CookieValue(r)}
	value, repeated, err := b.once.Do(r.Context(), login.Attempt{State: state, Seed: a.Seed, Code: code, Ends: a.ends()},
		func(ctx context.Context) []byte { return b.redeem(ctx, browser, md, a, code).encode() })
	switch {
	case errors.Is(err, login.ErrUsed):
		b.dropAttempt(w, r, state)
		b.logger.InfoContext(r.Context(), "login not completed", "cause", err)
		b.stale(w, r, a.ReturnTo)
	case errors.Is(err, login.ErrInterrupted):
		b.dropAttempt(w, r, state)
		b.logger.WarnContext(r.Context(), "login not completed", "cause", err)
		b.failedLogin(w, r, a, failureInterrupted)
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
	default:
		b.concluded(w, r, a, decodeOutcome(value), repeated)
	}
}

// concluded answers a callback with what came of the attempt, at this node or
// at another.
func (b *BFF) concluded(w http.ResponseWriter, r *http.Request, a *attempt, o outcome, repeated bool) {
	if o.Failure != "" {
		b.dropAttempt(w, r, a.state())
		b.failedLogin(w, r, a, o.Failure)
		return
	}
	// A session that has ended since, or was replaced by another login, is not
	// brought back.
	_, cookie, err := b.sessions.Resume(r.Context(), o.Session)
	switch {
	case errors.Is(err, session.ErrNotFound):
		b.dropAttempt(w, r, a.state())
		b.stale(w, r, a.ReturnTo)
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
	default:
		http.SetCookie(w, cookie)
		b.dropAttempt(w, r, a.state())
		if !repeated {
			b.leaveTrail(w, r, a.state(), a.ReturnTo)
		}
		respond.SeeOther(w, a.ReturnTo)
	}
}

// checkAnswer returns what is wrong with an answer that the provider has not
// given, or not for this attempt. The browser can make up each of these.
func checkAnswer(md *oidc.Metadata, a *attempt, query url.Values) error {
	for _, name := range []string{"state", "code", "error", "error_description"} { // RFC 6749 section 3.1
		if len(query[name]) > 1 {
			return fmt.Errorf("the answer has several parameters %s", name)
		}
	}
	if err := checkIssuer(md, a, query["iss"]); err != nil {
		return err
	}
	if query.Has("error") {
		return nil
	}
	switch code := query.Get("code"); {
	case code == "":
		return errors.New("the answer has neither code nor error")
	case len(code) > maxCode:
		return fmt.Errorf("the code is longer than %d bytes", maxCode)
	case strings.ContainsFunc(code, func(c rune) bool { return c < ' ' || c > '~' }): // RFC 6749 appendix A.11
		return errors.New("the code has characters that no code has")
	}
	return nil
}

// maxCode bounds an authorization code, in bytes.
const maxCode = 8 << 10

// checkIssuer is the defence against mix-up (RFC 9207, RFC 9700 section
// 4.4.2): the answer comes from where the browser was sent.
func checkIssuer(md *oidc.Metadata, a *attempt, iss []string) error {
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

// refusedAnswer answers for a provider that has refused a login.
func (b *BFF) refusedAnswer(w http.ResponseWriter, r *http.Request, a *attempt, query url.Values) {
	code, reason := errorCode(query.Get("error")), printable(query.Get("error_description"))
	message := "login refused by the provider"
	if a.Silent {
		message = "silent login without effect"
	}
	b.logger.Log(r.Context(), refusalLevel(code), message, "error", code, "reason", reason)
	if a.Silent {
		b.backFromSilent(w, r, a.ReturnTo)
		return
	}
	b.refusedLogin(w, r, a, code, http.StatusBadRequest)
}

// refusalLevel is the level at which an error of the provider is logged: what
// only the person can do something about is no warning.
func refusalLevel(code string) slog.Level {
	if needsPerson(code) || code == "access_denied" {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// needsPerson reports whether an error of the provider says that it has to ask
// the person something (OpenID Connect Core section 3.1.2.6).
func needsPerson(code string) bool {
	return slices.Contains([]string{"login_required", "interaction_required", "consent_required", "account_selection_required"}, code)
}

// A failure is why an attempt has come to nothing, as far as pages tell.
type failure string

const (
	failureAnswer      failure = "answer"      // the browser's answer is not good
	failureProvider    failure = "provider"    // the provider's is not
	failureSignedOut   failure = "signed out"  // revoked meanwhile
	failureStepUp      failure = "step up"     // not fresh or strong enough
	failureStore       failure = "store"       // the session was not stored
	failureInterrupted failure = "interrupted" // the process that redeemed the code has gone
	failureInternal    failure = "internal"
)

// An outcome is what came of an attempt: a session, or a failure.
type outcome struct {
	Session string  `json:"s,omitempty"` // its cookie's value
	Failure failure `json:"f,omitempty"`
}

func (o outcome) encode() []byte {
	value, err := json.Marshal(o)
	if err != nil {
		return nil // decoded as a failure
	}
	return value
}

func decodeOutcome(value []byte) outcome {
	var o outcome
	if err := json.Unmarshal(value, &o); err != nil || o.Session == "" && o.Failure == "" {
		return outcome{Failure: failureInternal}
	}
	return o
}

// redeem signs in, and logs what came of it.
func (b *BFF) redeem(ctx context.Context, browser session.NewSession, md *oidc.Metadata, a *attempt, code string) (o outcome) {
	defer func() {
		if p := recover(); p != nil { // in a goroutine of its own, where it would end the process
			b.logger.ErrorContext(ctx, "panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			o = outcome{Failure: failureInternal}
		}
	}()
	s, cookie, err := b.signIn(ctx, browser, md, a, code)
	if err == nil {
		b.logger.InfoContext(ctx, "signed in", "session", s)
		return outcome{Session: cookie.Value}
	}
	o.Failure = failureOf(err)
	if o.Failure == failureStore {
		b.logger.ErrorContext(ctx, "session store unavailable", "cause", err)
	} else {
		b.logger.WarnContext(ctx, "login failed", "cause", err)
	}
	return o
}

func failureOf(err error) failure {
	refusal, refused := errors.AsType[*oauthError](err)
	switch {
	case errors.Is(err, errStore):
		return failureStore
	case errors.Is(err, errRevoked):
		return failureSignedOut
	case errors.Is(err, token.ErrStepUp):
		return failureStepUp
	case refused && refusal.status < http.StatusInternalServerError && slices.Contains(codeErrors, refusal.code):
		return failureAnswer
	}
	return failureProvider
}

// codeErrors are how token endpoints refuse a code that is not good. Entra
// answers invalid_request to one that is none.
var codeErrors = []string{"invalid_grant", "invalid_request"}

// signIn redeems the code, verifies what comes for it, and creates the
// session; new describes the browser.
func (b *BFF) signIn(ctx context.Context, new session.NewSession, md *oidc.Metadata, a *attempt, code string) (*session.Session, *http.Cookie, error) {
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
	new.Issuer, new.Subject, new.SID = id.Issuer, id.Subject, id.SessionID
	new.Data = session.Data{Claims: claims, Tokens: tokens}
	s, cookie, err := b.sessions.Create(ctx, new)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	barred, err := b.revoker.Barred(ctx, revocation.Login{
		Issuer: id.Issuer, Subject: id.Subject, SessionID: id.SessionID,
		Number: a.Number, Started: time.Unix(a.Started, 0), AuthTime: id.AuthTime,
	})
	switch {
	case err != nil:
		b.logout.Undo(ctx, s)
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	case barred:
		b.logout.Undo(ctx, s)
		return nil, nil, errRevoked
	}
	return s, cookie, nil
}

var errRevoked = errors.New("the person was signed out while the login was in progress")

var errStore = errors.New("session store")

// completed returns the ID token's claims, and those that it lacks although
// their scope was asked for from the userinfo endpoint. Some providers refuse
// userinfo to a token that is meant for our API, so a failure there is no
// failure of the login; another person's answer is.
func (b *BFF) completed(ctx context.Context, md *oidc.Metadata, id *token.Claims, tokens session.Tokens) (map[string]any, error) {
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
	for _, name := range append([]string{"sid", "acr", "amr"}, account.ProtocolClaims...) {
		delete(more, name) // about a login, which only the signed ID token describes
	}
	maps.Copy(more, claims) // what is signed wins
	return more, nil
}

// stale answers a callback that no attempt of this browser waits for: an old
// tab, a bookmark, a second click, or another person's link. Where the login led
// to, if that is known, is where its user goes on.
func (b *BFF) stale(w http.ResponseWriter, r *http.Request, to string) {
	pr := web.Problem{
		Status:  http.StatusBadRequest,
		Title:   "This sign-in has run out",
		Message: "It was started too long ago, finished already, or began in another browser. Nothing has gone wrong with your account. Please start again.",
		Action:  web.Link{Label: "Sign in", Href: route.LoginURL(to)},
	}
	if sentNoCookies(r) {
		pr.Title = "This sign-in cannot be completed here"
		pr.Message = "Your browser sent no cookie along. Either the sign-in began in another browser, or this one does not keep cookies for this site: allow them, and start again."
	}
	if _, err := b.sessions.Load(r.Context(), r); err == nil {
		pr.Title = "You are signed in already"
		pr.Message = "This link belongs to a sign-in that is over. You can simply go on."
		pr.Action = web.Link{Label: "Continue", Href: cmp.Or(to, "/")}
	}
	b.respond.Problem(w, r, pr)
}

// refusedLogin tells the person what the provider answered, with a status for
// errors of no other kind: 400 where the answer has come by way of the browser,
// which can make it up. 503 is what RFC 6749 section 4.1.2.1 has server_error
// and temporarily_unavailable stand for.
func (b *BFF) refusedLogin(w http.ResponseWriter, r *http.Request, a *attempt, code string, status int) {
	pr := web.Problem{
		Status:    status,
		Title:     "The sign-in did not work",
		Message:   "The sign-in service answered with an error. You can try again; if it happens again, tell the people who run this application.",
		Detail:    respond.Detail(r),
		Action:    web.Link{Label: "Try again", Href: route.LoginURL(a.ReturnTo)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	}
	if code != "" {
		pr.Detail = "Error: " + code
	}
	switch {
	case code == "access_denied":
		pr.Status, pr.Title, pr.Detail = http.StatusForbidden, "The sign-in was cancelled", ""
		pr.Message = "You are not signed in. If you did not mean to cancel, try again."
	case needsPerson(code):
		pr.Status, pr.Title, pr.Detail = http.StatusUnauthorized, "You need to sign in", ""
		pr.Message = "The sign-in service does not know you in this browser at the moment."
		pr.Action.Label = "Sign in"
	case code == "temporarily_unavailable" || code == "server_error":
		pr.Status, pr.Title = http.StatusServiceUnavailable, "The sign-in service is busy"
		pr.Message = "It cannot sign you in at the moment. Please try again in a little while."
	}
	b.respond.Problem(w, r, pr)
}

// failedLogin answers a login that has failed. The log has the cause; the page
// would tell an attacker which check to work on. 4xx is for what a browser can
// bring about by itself, 502 for a provider that misbehaves.
func (b *BFF) failedLogin(w http.ResponseWriter, r *http.Request, a *attempt, f failure) {
	pr := web.Problem{
		Status:    http.StatusBadGateway,
		Title:     "The sign-in could not be completed",
		Message:   "The answer of the sign-in service was not accepted, so you are not signed in. You can try again; if it happens again, tell the people who run this application.",
		Detail:    respond.Detail(r),
		Action:    web.Link{Label: "Try again", Href: route.LoginURL(a.ReturnTo)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	}
	switch f {
	case failureAnswer:
		pr.Status = http.StatusBadRequest
		pr.Message = "What your browser has brought from the sign-in service is not good, or no longer, so you are not signed in. Please start again; if it happens again, tell the people who run this application."
		pr.Action.Label = "Sign in"
	case failureSignedOut:
		pr.Status = http.StatusUnauthorized
		pr.Message = "You were signed out while this sign-in was in progress. Please start again."
		pr.Action.Label = "Sign in"
	case failureInterrupted:
		w.Header().Set("Retry-After", respond.RetryAfter)
		pr.Status, pr.Title = http.StatusServiceUnavailable, "The sign-in was interrupted"
		pr.Message = "The server that was completing it has stopped, so you are not signed in. That is not your fault. Please start again."
		pr.Action.Label = "Sign in"
	case failureStore:
		w.Header().Set("Retry-After", respond.RetryAfter)
		pr.Status, pr.Title = http.StatusServiceUnavailable, "Please try again in a little while"
		pr.Message = "Your sign-in cannot be stored at the moment, so you are not signed in."
	case failureInternal:
		pr.Status, pr.Title = http.StatusInternalServerError, "Something went wrong"
		pr.Message = "This was our fault, not yours. You are not signed in. Please try again."
	case failureStepUp:
		pr.Status, pr.Title = http.StatusForbidden, "A stronger sign-in is needed"
		pr.Message = "What you wanted to do needs a sign-in that is fresher or stronger than the one that the sign-in service has just made. What you were signed in to before is as it was."
		pr.Action = web.Link{Label: "Go to the home page", Href: "/"}
		pr.Secondary = &web.Link{Label: "Sign in anew", Href: route.LoginFor(url.Values{"prompt": {"login"}}, a.ReturnTo)}
	}
	b.respond.Problem(w, r, pr)
}
