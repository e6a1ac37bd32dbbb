package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/hook"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// A Refusal is the error by which the application refuses a login, and its page. It is a
// part of a stored outcome.
type Refusal struct {
	// Status is that of the page.
	Status int `json:"s"`
	// Reason is the application's word for why.
	Reason string `json:"w,omitempty"`
	// Title and Message are those of the page; "" for those of this package.
	Title   string `json:"t,omitempty"`
	Message string `json:"m,omitempty"`
	// Label and Href are the link to the next step; "" for another login.
	Label string `json:"l,omitempty"`
	Href  string `json:"h,omitempty"`
}

func (r *Refusal) Error() string {
	return "login refused by the application: " + cmp.Or(r.Reason, "no reason given")
}

// errHook means that the application has not decided about a login.
var errHook = errors.New("hook SignIn")

// decide asks the application about a login that is verified, and puts what it has changed into
// the session to create. If it refuses, or fails, no session has the tokens any more.
func (h *Handlers) decide(ctx context.Context, created *session.NewSession) error {
	if h.cfg.SignIn == nil {
		return nil
	}
	claims, err := h.cfg.SignIn(ctx, *created)
	if err == nil {
		created.Data.Claims = claims
		return nil
	}
	h.cfg.Discard(context.WithoutCancel(ctx), created.Data.Tokens.Refresh)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		h.cfg.Audit.Record(ctx, audit.Event{
			Action: audit.SignInRefused, Cause: audit.Application, Reason: refusal.Reason,
			Issuer: created.Issuer, Subject: created.Subject, Client: created.Address,
		})
		return refusal
	}
	return fmt.Errorf("%w: %w", errHook, err)
}

// logHook logs that the application has not decided.
func (h *Handlers) logHook(ctx context.Context, err error) {
	attrs := []any{"err", err}
	if p, ok := errors.AsType[*hook.PanicError](err); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	h.cfg.Logger.ErrorContext(ctx, "hook SignIn failed", attrs...)
}

// refusedByApplication answers a login that the application has refused. The provider knows
// the user still, so that another attempt would have the same outcome: the link asks it
// for another login.
func (h *Handlers) refusedByApplication(w http.ResponseWriter, r *http.Request, a *attempt, refusal *Refusal) {
	h.outcomes.Add(metrics.LoginApplication)
	if a.Silent {
		h.returnSilently(w, r, a.ReturnTo)
		return
	}
	t := h.cfg.Respond.Texts(r)
	p := h.tryAgain(r, a.ReturnTo, "sign_in_refused", refusal.Status, cmp.Or(refusal.Title, t.Text("login.not-allowed-title")))
	p.Reason = refusal.Reason
	p.Message = refusal.Message
	if refusal.Title == "" && refusal.Message == "" {
		p.Message = t.Text("login.not-allowed")
	}
	again := web.Link{Label: t.Text("login.other-account"), Href: route.LoginFor(url.Values{"prompt": {"login"}}, a.ReturnTo)}
	if p.Action = again; refusal.Href != "" {
		p.Action = web.Link{Label: cmp.Or(refusal.Label, refusal.Href), Href: refusal.Href}
		p.Secondary = &again
	}
	unavailable(w, p.Status)
	h.cfg.Respond.Problem(w, r, p)
}
