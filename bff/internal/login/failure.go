package login

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// A failure is why an attempt has failed, as far as pages tell.
type failure string

const (
	failureResponse    failure = "answer"      // the browser brought no valid authorization response
	failureProvider    failure = "provider"    // the provider's response is not valid
	failureOutage      failure = "outage"      // the provider did not respond, or with 429 or 5xx
	failureSignedOut   failure = "signed out"  // revoked meanwhile
	failureStepUp      failure = "step up"     // too old or too weak
	failureStore       failure = "store"       // the session was not stored
	failureInterrupted failure = "interrupted" // the process that redeemed the code has ended
	failureApplication failure = "application" // refused by the application
	failureHook        failure = "hook"        // the application has not decided
	failureInternal    failure = "internal"
)

// result returns the outcome of a login in metrics. A failure of another version counts as
// a fault of this one.
func (f failure) result() string {
	switch f {
	case failureResponse:
		return metrics.LoginResponse
	case failureProvider, failureOutage:
		return metrics.LoginProvider
	case failureSignedOut:
		return metrics.LoginSignedOut
	case failureStepUp:
		return metrics.LoginStepUp
	case failureStore:
		return metrics.LoginStore
	case failureInterrupted:
		return metrics.LoginInterrupted
	}
	return metrics.LoginInternal
}

// code returns the code of a problem page.
func (f failure) code() string {
	switch f {
	case failureResponse:
		return "response_invalid"
	case failureProvider:
		return "provider_invalid"
	case failureOutage:
		return "provider_unavailable"
	case failureSignedOut:
		return "signed_out"
	case failureStepUp:
		return "step_up_failed"
	case failureStore:
		return "store_unavailable"
	case failureInterrupted:
		return "login_interrupted"
	}
	return "internal"
}

// cause returns the cause of an audit event, "" for an outage, which is no refusal.
func (f failure) cause() audit.Cause {
	switch f {
	case failureResponse:
		return audit.Response
	case failureProvider:
		return audit.Tokens
	case failureSignedOut:
		return audit.SignedOut
	case failureStepUp:
		return audit.StepUp
	}
	return ""
}

// refusalCause is failure.cause for an error of the provider.
func refusalCause(code string) audit.Cause {
	switch refusalResult(code) {
	case metrics.LoginCancelled:
		return audit.Cancelled
	case metrics.LoginNeedsUser:
		return audit.NeedsUser
	case metrics.LoginRefused:
		return audit.Provider
	}
	return ""
}

// recordRefusal records a login that was refused. A browser can make up any number.
func (h *Handlers) recordRefusal(ctx context.Context, cause audit.Cause) {
	if cause != "" {
		h.cfg.Audit.RecordSampled(ctx, audit.Event{Action: audit.SignInRefused, Cause: cause})
	}
}

// An outcome is the result of an attempt: a session or a failure. It is stored
// for nodes of other versions too.
type outcome struct {
	Session string  `json:"s,omitempty"` // the value of its cookie
	Failure failure `json:"f,omitempty"`
	// Refusal is the page of failureApplication.
	Refusal *Refusal `json:"r,omitempty"`
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

func failureOf(err error) failure {
	if _, ok := errors.AsType[*Refusal](err); ok {
		return failureApplication
	}
	refusal, refused := errors.AsType[*rp.Error](err)
	switch {
	case errors.Is(err, errHook):
		return failureHook
	case errors.Is(err, errStore):
		return failureStore
	case errors.Is(err, errRevoked):
		return failureSignedOut
	case errors.Is(err, token.ErrStepUp):
		return failureStepUp
	case refused && refusal.Status < http.StatusInternalServerError && slices.Contains(codeErrors, refusal.Code):
		return failureResponse
	case refused && (refusal.Status >= http.StatusInternalServerError || refusal.Status == http.StatusTooManyRequests):
		return failureOutage
	}
	if _, silent := errors.AsType[*rp.NoResponse](err); silent {
		return failureOutage
	}
	return failureProvider
}

// codeErrors are the errors of token endpoints for an invalid code. Entra
// answers invalid_request to a malformed one.
var codeErrors = []string{"invalid_grant", "invalid_request"}

// stale answers a callback without an attempt in this browser: of an old tab, a
// bookmark, a second click, or another user's link. to is where the login led,
// "" if that is not known.
func (h *Handlers) stale(w http.ResponseWriter, r *http.Request, to string) {
	h.outcomes.Add(metrics.LoginStale)
	h.recordRefusal(r.Context(), audit.Stale)
	p := web.Problem{
		Code: "login_stale", Status: http.StatusBadRequest,
		Title:   "This sign-in has run out",
		Message: "It was started too long ago, finished already, or began in another browser. Nothing has gone wrong with your account. Please start again.",
		Action:  web.Link{Label: "Sign in", Href: route.LoginURL(to)},
	}
	if strings.Join(r.Header["Cookie"], "") == "" {
		p.Code, p.Title = "cookies_missing", "This sign-in cannot be completed here"
		p.Message = "Your browser sent no cookie along. Either the sign-in began in another browser, or this one does not keep cookies for this site: allow them, and start again."
	}
	if _, err := h.cfg.Sessions.Load(r.Context(), r); err == nil {
		p.Code, p.Title = "signed_in_already", "You are signed in already"
		p.Message = "This link belongs to a sign-in that is over. You can simply go on."
		p.Action = web.Link{Label: "Continue", Href: cmp.Or(to, "/")}
	}
	h.cfg.Respond.Problem(w, r, p)
}

// tryAgain returns a page about a login that did not work. It offers to start the
// login again, or the home page.
func tryAgain(r *http.Request, to, code string, status int, title string) web.Problem {
	return web.Problem{
		Code:      code,
		Status:    status,
		Title:     title,
		Detail:    respond.Detail(r),
		Action:    web.Link{Label: "Try again", Href: route.LoginURL(to)},
		Secondary: &web.Link{Label: "Go to the home page", Href: "/"},
	}
}

// refused answers a login with an error of the provider. status is for errors
// without a status of their own: 400 where the browser can have made up the
// response. 503 is what server_error and temporarily_unavailable stand for (RFC
// 6749 §4.1.2.1).
func (h *Handlers) refused(w http.ResponseWriter, r *http.Request, a *attempt, code string, status int) {
	h.outcomes.Add(refusalResult(code))
	h.recordRefusal(r.Context(), refusalCause(code))
	p := tryAgain(r, a.ReturnTo, "provider_error", status, "The sign-in did not work")
	p.Message = "The sign-in service answered with an error. You can try again; if it happens again, tell the people who run this application."
	if code != "" {
		p.Detail = "Error: " + code
	}
	switch {
	case code == "access_denied":
		p.Code, p.Status, p.Title, p.Detail = "login_cancelled", http.StatusForbidden, "The sign-in was cancelled", ""
		p.Message = "You are not signed in. If you did not mean to cancel, try again."
	case needsUser(code):
		p.Code, p.Status, p.Title, p.Detail = "login_required", http.StatusUnauthorized, "You need to sign in", ""
		p.Message = "The sign-in service does not know you in this browser at the moment."
		p.Action.Label = "Sign in"
	case code == "temporarily_unavailable" || code == "server_error":
		p.Code, p.Status, p.Title = "provider_unavailable", http.StatusServiceUnavailable, "The sign-in service is busy"
		p.Message = "It cannot sign you in at the moment. Please try again in a little while."
	}
	h.cfg.Respond.Problem(w, r, p)
}

// failed answers a login that has failed. The log has the error; on the page it
// would tell an attacker which check failed. 4xx is for what a browser can
// cause, 502 for a provider that misbehaves.
func (h *Handlers) failed(w http.ResponseWriter, r *http.Request, a *attempt, f failure) {
	h.outcomes.Add(f.result())
	h.recordRefusal(r.Context(), f.cause())
	p := tryAgain(r, a.ReturnTo, f.code(), http.StatusBadGateway, "The sign-in could not be completed")
	p.Message = "The answer of the sign-in service was not accepted, so you are not signed in. You can try again; if it happens again, tell the people who run this application."
	switch f {
	case failureResponse:
		p.Status = http.StatusBadRequest
		p.Message = "What your browser has brought from the sign-in service is not good, or no longer, so you are not signed in. Please start again; if it happens again, tell the people who run this application."
		p.Action.Label = "Sign in"
	case failureOutage:
		p.Message = "The sign-in service does not work properly at the moment, so you are not signed in. Please try again in a little while."
	case failureSignedOut:
		p.Status = http.StatusUnauthorized
		p.Message = "You were signed out while this sign-in was in progress. Please start again."
		p.Action.Label = "Sign in"
	case failureInterrupted:
		p.Status, p.Title = http.StatusServiceUnavailable, "The sign-in was interrupted"
		p.Message = "The server that was completing it has stopped, so you are not signed in. That is not your fault. Please start again."
		p.Action.Label = "Sign in"
	case failureStore:
		p.Status, p.Title = http.StatusServiceUnavailable, "Please try again in a little while"
		p.Message = "Your sign-in cannot be stored at the moment, so you are not signed in."
	case failureInternal, failureHook:
		p.Status, p.Title = http.StatusInternalServerError, "Something went wrong"
		p.Message = "This was our fault, not yours. You are not signed in. Please try again."
	case failureStepUp:
		p.Status, p.Title = http.StatusForbidden, "A stronger sign-in is needed"
		p.Message = "What you wanted to do needs a sign-in that is fresher or stronger than the one that the sign-in service has just made. What you were signed in to before is as it was."
		p.Action = web.Link{Label: "Go to the home page", Href: "/"}
		p.Secondary = &web.Link{Label: "Sign in anew", Href: route.LoginFor(url.Values{"prompt": {"login"}}, a.ReturnTo)}
	}
	unavailable(w, p.Status)
	h.cfg.Respond.Problem(w, r, p)
}

// unavailable adds to a 503 when to try again.
func unavailable(w http.ResponseWriter, status int) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", respond.RetryAfter)
	}
}
