package login

import (
	"context"
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

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/claims"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Callback ends a login. It accepts an authorization response only if it
// belongs to an attempt of this browser (login CSRF, code injection), comes from
// the provider to which the browser was sent (mix-up), and is used once.
func (h *Handlers) Callback(w http.ResponseWriter, r *http.Request) {
	// First, so that an outage does not use up the attempt: after a reload the
	// login goes on.
	md, err := h.cfg.Party.Metadata(r.Context())
	if err != nil {
		h.outcomes.Add(metrics.LoginUnavailable)
		h.cfg.Respond.ProviderUnavailable(w, r, err, route.Login)
		return
	}
	response := h.response(w, r)
	state := response.Get("state")
	a, err := h.jar.find(r, state)
	switch {
	case err == nil:
		h.unreturned.returned()
	case !errors.Is(err, errNoAttempt): // at another node, or later, the login goes on
		h.storeUnavailable(w, r, err)
		return
	default:
		h.jar.drop(w, r, state)
		h.cfg.Logger.InfoContext(r.Context(), "login not completed", "err", err)
		h.stale(w, r, h.jar.ledTo(r, state))
		return
	}
	if err := checkResponse(md, a, response); err != nil {
		h.jar.drop(w, r, state)
		h.cfg.Logger.InfoContext(r.Context(), "login not completed", "err", err)
		h.failed(w, r, a, failureResponse)
		return
	}
	if response.Has("error") {
		h.jar.drop(w, r, state)
		h.errorResponse(w, r, a, response)
		return
	}
	code := response.Get("code")
	browser := session.NewSession{UserAgent: r.UserAgent(), Address: h.cfg.Origins.ClientAddress(r), Replaces: h.cfg.Sessions.CookieValue(r)}
	value, repeated, err := h.once.do(r.Context(), use{state: state, seed: a.Seed, code: code, ends: a.ends()},
		func(ctx context.Context) []byte { return h.redeem(ctx, browser, md, a, code).encode() })
	switch {
	case errors.Is(err, errUsed):
		h.jar.drop(w, r, state)
		h.cfg.Logger.InfoContext(r.Context(), "login not completed", "err", err)
		h.stale(w, r, a.ReturnTo)
	case errors.Is(err, errInterrupted):
		h.jar.drop(w, r, state)
		h.cfg.Logger.WarnContext(r.Context(), "login not completed", "err", err)
		h.failed(w, r, a, failureInterrupted)
	case err != nil:
		h.storeUnavailable(w, r, err)
	default:
		h.completed(w, r, a, decodeOutcome(value), repeated)
	}
}

// completed answers a callback with the outcome of the attempt, at this node or
// at another.
func (h *Handlers) completed(w http.ResponseWriter, r *http.Request, a *attempt, o outcome, repeated bool) {
	if o.Failure != "" {
		h.jar.drop(w, r, a.state())
		if o.Refusal != nil {
			h.refusedByApplication(w, r, a, o.Refusal)
			return
		}
		h.failed(w, r, a, o.Failure)
		return
	}
	// A session that has ended since, or was replaced by another login, does not
	// come back.
	_, cookie, err := h.cfg.Sessions.Resume(r.Context(), o.Session)
	switch {
	case errors.Is(err, session.ErrNotFound):
		h.jar.drop(w, r, a.state())
		h.stale(w, r, a.ReturnTo)
	case err != nil:
		h.storeUnavailable(w, r, err)
	default:
		http.SetCookie(w, cookie)
		h.jar.drop(w, r, a.state())
		if !repeated {
			h.outcomes.Add(metrics.LoginCompleted)
			h.jar.addLogin(w, r, a.state(), a.ReturnTo)
		}
		respond.SeeOther(w, a.ReturnTo)
	}
}

// storeUnavailable answers a callback during an outage of the session store.
func (h *Handlers) storeUnavailable(w http.ResponseWriter, r *http.Request, err error) {
	h.outcomes.Add(metrics.LoginStore)
	h.cfg.Respond.StoreUnavailable(w, r, err)
}

// maxCode bounds an authorization code, in bytes.
const maxCode = 8 << 10

// checkResponse returns what is wrong with an authorization response that the
// provider has not given, or not for this attempt. A browser can make up each of
// these.
func checkResponse(md *oidc.Metadata, a *attempt, response url.Values) error {
	for _, name := range []string{"state", "code", "error", "error_description"} { // RFC 6749 §3.1
		if len(response[name]) > 1 {
			return fmt.Errorf("the response has several parameters %s", name)
		}
	}
	if err := checkIssuer(md, a, response["iss"]); err != nil {
		return err
	}
	if response.Has("error") {
		return nil
	}
	switch code := response.Get("code"); {
	case code == "":
		return errors.New("the response has neither code nor error")
	case len(code) > maxCode:
		return fmt.Errorf("the code is longer than %d bytes", maxCode)
	case strings.ContainsFunc(code, func(c rune) bool { return c < ' ' || c > '~' }): // RFC 6749 appendix A.11
		return errors.New("the code has characters that are not allowed")
	}
	return nil
}

// checkIssuer returns an error for a response of another provider than the one
// to which the browser was sent (mix-up: RFC 9207, RFC 9700 §4.4.2).
func checkIssuer(md *oidc.Metadata, a *attempt, iss []string) error {
	switch {
	case a.Issuer != shortHash(md.Issuer):
		return errors.New("the login was started with another provider")
	case len(iss) > 1:
		return errors.New("the response names several issuers")
	case len(iss) == 1 && iss[0] != md.Issuer:
		return errors.New("the response is another issuer's")
	case len(iss) == 0 && md.AuthorizationResponseIssParameterSupported:
		return errors.New("the response lacks iss, which the provider supports")
	}
	return nil
}

// errorResponse answers for a provider that has refused a login.
func (h *Handlers) errorResponse(w http.ResponseWriter, r *http.Request, a *attempt, response url.Values) {
	code, reason := clientauth.ErrorCode(response.Get("error")), clientauth.Printable(response.Get("error_description"))
	if a.Silent {
		h.cfg.Logger.Log(r.Context(), refusalLevel(code), "silent login without effect", "code", code, "reason", reason)
		h.outcomes.Add(refusalResult(code))
		h.recordRefusal(r.Context(), refusalCause(code))
		h.returnSilently(w, r, a.ReturnTo)
		return
	}
	h.cfg.Logger.Log(r.Context(), refusalLevel(code), "login refused by the provider", "code", code, "reason", reason)
	h.refused(w, r, a, code, http.StatusBadRequest)
}

// refusalLevel returns the level at which an error of the provider is logged.
// An error that only the user can do something about is no warning.
func refusalLevel(code string) slog.Level {
	if needsUser(code) || code == "access_denied" {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// refusalResult returns the outcome of a login for an error of the provider.
func refusalResult(code string) string {
	switch {
	case code == "access_denied":
		return metrics.LoginCancelled
	case needsUser(code):
		return metrics.LoginNeedsUser
	case code == "temporarily_unavailable" || code == "server_error":
		return metrics.LoginUnavailable
	}
	return metrics.LoginRefused
}

// needsUser reports whether an error says that the provider has to interact
// with the user (OpenID Connect Core §3.1.2.6).
func needsUser(code string) bool {
	return slices.Contains([]string{"login_required", "interaction_required", "consent_required", "account_selection_required"}, code)
}

// redeem signs in, and logs the outcome.
func (h *Handlers) redeem(ctx context.Context, browser session.NewSession, md *oidc.Metadata, a *attempt, code string) (o outcome) {
	defer func() {
		if p := recover(); p != nil { // in a goroutine of its own, where it would end the process
			h.cfg.Logger.ErrorContext(ctx, "panic in the bff", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			o = outcome{Failure: failureInternal}
		}
	}()
	s, cookie, err := h.signIn(ctx, browser, md, a, code)
	if err == nil {
		h.cfg.Logger.InfoContext(ctx, "signed in", "session", s)
		h.cfg.Audit.Record(ctx, audit.Event{
			Action: audit.SignIn, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(), Client: browser.Address,
		})
		return outcome{Session: cookie.Value}
	}
	o.Failure = failureOf(err)
	o.Refusal, _ = errors.AsType[*Refusal](err)
	switch o.Failure {
	case failureHook:
		h.logHook(ctx, err)
	case failureApplication:
		h.cfg.Logger.InfoContext(ctx, "login refused by the application", "reason", o.Refusal.Reason)
	case failureResponse, failureStepUp, failureSignedOut: // the browser's or the user's doing
		h.cfg.Logger.InfoContext(ctx, "login not completed", "err", err)
	default:
		h.cfg.Logger.WarnContext(ctx, "login failed", "err", err)
	}
	return o
}

var (
	errRevoked = errors.New("the user was signed out while the login was in progress")
	errStore   = errors.New("session store")
)

// signIn redeems the code, verifies the tokens, and creates the session.
// created describes the browser.
func (h *Handlers) signIn(ctx context.Context, created session.NewSession, md *oidc.Metadata, a *attempt, code string) (*session.Session, *http.Cookie, error) {
	tokens, err := h.cfg.Party.Exchange(ctx, md, code, a.verifier())
	if err != nil {
		return nil, nil, fmt.Errorf("code not redeemed: %w", err)
	}
	if tokens.ID == "" {
		return nil, nil, errors.New("token endpoint: the response has no id_token")
	}
	checks := token.IDChecks{Nonce: a.nonce(), AccessToken: tokens.Access, ACRValues: strings.Fields(a.ACR)}
	if a.MaxAge != nil {
		maxAge := time.Duration(*a.MaxAge) * time.Second
		checks.MaxAge = &maxAge
	}
	id, err := h.cfg.Party.VerifyID(ctx, tokens.ID, checks)
	if err != nil {
		return nil, nil, fmt.Errorf("ID token: %w", err)
	}
	known, err := h.claims(ctx, md, id, tokens)
	if err != nil {
		return nil, nil, err
	}
	created.Issuer, created.Subject, created.SID = id.Issuer, id.Subject, id.SessionID
	created.Data = session.Data{Claims: known, Tokens: tokens}
	if err := h.decide(ctx, &created); err != nil {
		return nil, nil, err
	}
	var replaced *session.Session
	if h.cfg.Audit.Enabled() && created.Replaces != "" { // an error is that of Create, too
		replaced, _, _ = h.cfg.Sessions.Resume(ctx, created.Replaces)
	}
	s, cookie, err := h.cfg.Sessions.Create(ctx, created)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errStore, err)
	}
	if replaced != nil {
		h.cfg.Audit.Record(ctx, audit.Event{
			Action: audit.SessionEnded, Cause: audit.Replaced, Client: created.Address,
			Issuer: replaced.Issuer, Subject: replaced.Subject, Session: replaced.ID.String(),
		})
	}
	barred, err := h.cfg.Revoker.Revoked(ctx, revocation.Login{
		Issuer: id.Issuer, Subject: id.Subject, SessionID: id.SessionID,
		Number: a.Number, Started: time.Unix(a.Started, 0), AuthTime: id.AuthTime,
	})
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errStore, err)
	case barred:
		err = errRevoked
	default:
		return s, cookie, nil
	}
	h.cfg.Undo(ctx, s)
	return nil, nil, err
}

// claims returns the claims of the ID token, and those from the userinfo
// endpoint that it lacks although their scope was requested. Some providers
// refuse userinfo for a token with another audience, so that the login goes on
// if the request fails. It fails if the response is about another subject.
func (h *Handlers) claims(ctx context.Context, md *oidc.Metadata, id *token.Claims, tokens session.Tokens) (map[string]any, error) {
	all := claims.Provided(id.Map())
	granted := tokens.Scope
	if granted == "" { // as requested: RFC 6749 §5.1
		granted, _ = h.cfg.Party.Scope(md)
	}
	scopes := strings.Fields(granted)
	lacks := func(scope, claim string) bool {
		_, has := all[claim]
		return !has && slices.Contains(scopes, scope)
	}
	if md.UserinfoEndpoint == "" || !lacks("profile", "name") && !lacks("email", "email") {
		return all, nil
	}
	more, err := h.cfg.Party.Userinfo(ctx, md, tokens.Access)
	if err != nil {
		h.cfg.Logger.WarnContext(ctx, "userinfo request failed; the session has the claims of the ID token alone", "err", err)
		return all, nil
	}
	switch subject, ok := more["sub"].(string); {
	case !ok || subject == "": // "MUST always be returned": OpenID Connect Core §5.3.2
		h.cfg.Logger.WarnContext(ctx, "userinfo not used: the response has no sub")
		return all, nil
	case subject != id.Subject:
		return nil, errors.New("userinfo: the response is about another subject")
	}
	for _, name := range append([]string{"sid", "acr", "amr"}, token.ProtocolClaims...) {
		delete(more, name) // about a login, which only the signed ID token describes
	}
	maps.Copy(more, all) // signed claims win
	return claims.Provided(more), nil
}
