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
	t := h.cfg.Respond.Texts(r)
	p := web.Problem{
		Code: "login_stale", Status: http.StatusBadRequest,
		Title:   t.Text("login.expired-title"),
		Message: t.Text("login.expired"),
		Action:  web.Link{Label: t.Text("action.sign-in"), Href: route.LoginURL(to)},
	}
	if strings.Join(r.Header["Cookie"], "") == "" {
		p.Code, p.Title = "cookies_missing", t.Text("login.no-cookie-title")
		p.Message = t.Text("login.no-cookie")
	}
	if _, err := h.cfg.Sessions.Load(r.Context(), r); err == nil {
		p.Code, p.Title = "signed_in_already", t.Text("login.done-title")
		p.Message = t.Text("login.done")
		p.Action = web.Link{Label: t.Text("action.continue"), Href: cmp.Or(to, "/")}
	}
	h.cfg.Respond.Problem(w, r, p)
}

// tryAgain returns a page about a login that did not work. It offers to start the
// login again, or the home page.
func (h *Handlers) tryAgain(r *http.Request, to, code string, status int, title string) web.Problem {
	t := h.cfg.Respond.Texts(r)
	return web.Problem{
		Code:      code,
		Status:    status,
		Title:     title,
		Detail:    h.cfg.Respond.Detail(r),
		Action:    web.Link{Label: t.Text("action.retry"), Href: route.LoginURL(to)},
		Secondary: &web.Link{Label: t.Text("action.home"), Href: "/"},
	}
}

// refused answers a login with an error of the provider. status is for errors
// without a status of their own: 400 where the browser can have made up the
// response. 503 is what server_error and temporarily_unavailable stand for (RFC
// 6749 §4.1.2.1).
func (h *Handlers) refused(w http.ResponseWriter, r *http.Request, a *attempt, code string, status int) {
	h.outcomes.Add(refusalResult(code))
	h.recordRefusal(r.Context(), refusalCause(code))
	t := h.cfg.Respond.Texts(r)
	p := h.tryAgain(r, a.ReturnTo, "provider_error", status, t.Text("login.refused-title"))
	p.Message = t.Text("login.refused")
	if code != "" {
		p.Detail = t.Text("problem.code", "code", code)
	}
	switch {
	case code == "access_denied":
		p.Code, p.Status, p.Title, p.Detail = "login_cancelled", http.StatusForbidden, t.Text("login.cancelled-title"), ""
		p.Message = t.Text("login.cancelled")
	case needsUser(code):
		p.Code, p.Status, p.Title, p.Detail = "login_required", http.StatusUnauthorized, t.Text("login.needed-title"), ""
		p.Message = t.Text("login.needed")
		p.Action.Label = t.Text("action.sign-in")
	case code == "temporarily_unavailable" || code == "server_error":
		p.Code, p.Status, p.Title = "provider_unavailable", http.StatusServiceUnavailable, t.Text("login.busy-title")
		p.Message = t.Text("login.busy")
	}
	h.cfg.Respond.Problem(w, r, p)
}

// failed answers a login that has failed. The log has the error; on the page it
// would tell an attacker which check failed. 4xx is for what a browser can
// cause, 502 for a provider that misbehaves.
func (h *Handlers) failed(w http.ResponseWriter, r *http.Request, a *attempt, f failure) {
	h.outcomes.Add(f.result())
	h.recordRefusal(r.Context(), f.cause())
	t := h.cfg.Respond.Texts(r)
	p := h.tryAgain(r, a.ReturnTo, f.code(), http.StatusBadGateway, t.Text("login.failed-title"))
	p.Message = t.Text("login.failed")
	switch f {
	case failureResponse:
		p.Status = http.StatusBadRequest
		p.Message = t.Text("login.response")
		p.Action.Label = t.Text("action.sign-in")
	case failureOutage:
		p.Message = t.Text("login.outage")
	case failureSignedOut:
		p.Status = http.StatusUnauthorized
		p.Message = t.Text("login.revoked")
		p.Action.Label = t.Text("action.sign-in")
	case failureInterrupted:
		p.Status, p.Title = http.StatusServiceUnavailable, t.Text("login.interrupted-title")
		p.Message = t.Text("login.interrupted")
		p.Action.Label = t.Text("action.sign-in")
	case failureStore:
		p.Status, p.Title = http.StatusServiceUnavailable, t.Text("problem.store-title")
		p.Message = t.Text("login.not-stored")
	case failureInternal, failureHook:
		p.Status, p.Title = http.StatusInternalServerError, t.Text("problem.internal-title")
		p.Message = t.Text("login.internal")
	case failureStepUp:
		p.Status, p.Title = http.StatusForbidden, t.Text("login.step-up-title")
		p.Message = t.Text("login.step-up")
		p.Action = web.Link{Label: t.Text("action.home"), Href: "/"}
		p.Secondary = &web.Link{Label: t.Text("action.sign-in-again"), Href: route.LoginFor(url.Values{"prompt": {"login"}}, a.ReturnTo)}
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
