// Package login owns logins: the redirect to the provider, the callback, the
// attempts in the cookies of browsers, the single use of each of them, and the
// limits on logins and cookies. It leaves requests to the provider to package
// rp, sessions to bff/session, and the order of logouts and logins to
// internal/revocation.
package login

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// Config configures the Handlers. All fields but FormPost, SignIn and
// Parameters are required.
type Config struct {
	// Base is the base URL.
	Base     *url.URL
	Party    *rp.Party
	Sessions *session.Manager
	// Revoker numbers logins, and knows which of them a logout has revoked.
	Revoker *revocation.Revoker
	// Undo takes back a session whose cookie no browser has got yet.
	Undo func(ctx context.Context, s *session.Session)
	// SignIn asks the application about a verified login, nil for none. It returns the
	// claims of the session, or a *Refusal. Discard revokes the refresh token of a login
	// without a session.
	SignIn  func(context.Context, session.NewSession) (map[string]any, error)
	Discard func(ctx context.Context, refreshToken string)
	// FormPost says that the provider answers in a form.
	FormPost bool
	// Parameters are those of bff.LoginConfig.
	Parameters []string
	// Rate is the number of logins that one address may start in a minute.
	Rate int
	// Work counts what a stop of the process must wait for, and Limit bounds the
	// time to redeem a code.
	Work    *inflight.Group
	Limit   time.Duration
	Origins *origins.Origins
	Respond *respond.Responder
	// Setting returns the name of the setting for a field of bff.Config.
	Setting func(field string) string
	Now     func() time.Time
	Rand    io.Reader
	Logger  *slog.Logger
	// MeterProvider makes the instruments of the metrics, nil for none. Limited counts
	// requests that a limit refuses.
	MeterProvider metric.MeterProvider
	Limited       *metrics.Counter
	// Audit records sign-ins and refusals; nil for none.
	Audit *auditlog.Recorder
}

// Handlers serve the addresses of the login. They are safe for concurrent use.
type Handlers struct {
	cfg  Config
	jar  *jar
	rate *Rate
	once *once
	// allowed are the parameters that a link may give, fixed are those of every request.
	allowed []string
	fixed   url.Values

	attempts, outcomes *metrics.Counter

	movedLogged sync.Once
	unreturned  unreturned
}

// New returns the Handlers of a Config.
func New(cfg Config) *Handlers {
	var named []string
	fixed := url.Values{}
	for _, parameter := range cfg.Parameters {
		if name, value, given := strings.Cut(parameter, "="); given {
			fixed.Set(name, value)
		} else {
			named = append(named, name)
		}
	}
	// A link must not lead to another organization than the configured one, unless it may.
	allowed := slices.Concat(named, slices.DeleteFunc(slices.Clone(loginParameters), func(name string) bool {
		return fixed.Has(name) && !slices.Contains(neededParameters, name)
	}))
	return &Handlers{
		allowed: allowed, fixed: fixed,
		cfg:  cfg,
		jar:  &jar{sessions: cfg.Sessions, secure: cfg.Base.Scheme == "https", now: cfg.Now},
		rate: NewRate(cfg.Rate, cfg.Now),
		once: &once{
			marks: cfg.Sessions.Notes("login attempt"), outcomes: cfg.Sessions.Notes("login outcome"), sealer: cfg.Sessions,
			work: cfg.Work, limit: cfg.Limit, now: cfg.Now, logger: cfg.Logger,
		},
		attempts: metrics.NewCounter(cfg.MeterProvider, metrics.LoginAttempts),
		outcomes: metrics.NewCounter(cfg.MeterProvider, metrics.LoginOutcomes),
	}
}

// loginParameters are the parameters of a link that are added to the
// authorization request. A page must not be able to change the scope, the
// response type or the redirect URI.
var loginParameters = []string{
	"prompt", "login_hint", "screen_hint", "max_age", "acr_values", "ui_locales", "connection", "organization",
}

// neededParameters are those that links of the bff itself need, for step-up and silent
// logins.
var neededParameters = []string{"prompt", "max_age", "acr_values"}

// MaxParameter bounds each parameter of a link, in bytes.
const MaxParameter = 512

// Login sends the browser to the provider.
func (h *Handlers) Login(w http.ResponseWriter, r *http.Request) {
	if h.moves(w, r) {
		return
	}
	query := r.URL.Query()
	to := route.ReturnTo(query.Get("returnTo"))
	if n := len(query.Get("returnTo")); n > route.MaxReturnTo {
		h.cfg.Logger.InfoContext(r.Context(), "login leads to the home page: returnTo is too long", "bytes", n, "limit", route.MaxReturnTo)
	}
	silent := query.Get("prompt") == "none"
	if origins.Prefetch(r) {
		// A page with a link to the login would start one for each visitor.
		// Browsers discard this answer and ask again after a click.
		w.Header().Set("Retry-After", "1")
		respond.Error(w, http.StatusServiceUnavailable, "a login is not started by a prefetch")
		return
	}
	if h.limited(w, r, to) || h.stopsLoop(w, r, to, silent) {
		return
	}
	md, err := h.cfg.Party.Metadata(r.Context())
	switch {
	case err != nil && silent:
		h.endSilently(w, r, to, err)
		return
	case err != nil:
		h.outcomes.Add(metrics.LoginUnavailable)
		h.cfg.Respond.ProviderUnavailable(w, r, err, r.URL.RequestURI())
		return
	}
	extra := maps.Clone(h.fixed)
	for _, name := range h.allowed {
		if value := query.Get(name); value != "" && len(value) <= MaxParameter {
			extra.Set(name, value)
		}
	}
	a, err := newAttempt(h.cfg.Rand, h.cfg.Now(), md.Issuer, to)
	if err != nil {
		h.cfg.Respond.InternalError(w, r, err)
		return
	}
	a.Silent = silent
	if a.Number, err = h.cfg.Revoker.Begin(r.Context()); err != nil {
		// The store may be back when the login completes. It is then ordered by
		// time.
		h.cfg.Logger.DebugContext(r.Context(), "login not numbered", "err", err)
	}
	if !a.setStepUp(extra) {
		h.brokenLink(w, r, to, h.cfg.Respond.Texts(r).Text("login.link-max-age"))
		return
	}
	target, err := h.cfg.Party.AuthorizationURL(r.Context(), md, a.request(), extra)
	if err != nil {
		h.notStarted(w, r, a, extra, err)
		return
	}
	switch err = h.jar.keep(w, r, a); {
	case errors.Is(err, errAttemptSize):
		h.brokenLink(w, r, a.ReturnTo, h.cfg.Respond.Texts(r).Text("login.link-size"))
	case err != nil:
		h.cfg.Respond.InternalError(w, r, err)
	default:
		h.attempts.Add()
		h.noteStarted(r.Context())
		respond.SeeOther(w, target)
	}
}

// setStepUp copies what an authorization request demands of the login, so that
// the callback can verify it. It reports whether max_age is a number of
// seconds.
func (a *attempt) setStepUp(request url.Values) bool {
	a.ACR = request.Get("acr_values")
	raw := request.Get("max_age")
	if raw == "" {
		return true
	}
	seconds, err := strconv.ParseInt(raw, 10, 32)
	if err != nil || seconds < 0 {
		return false
	}
	a.MaxAge = &seconds
	request.Set("max_age", strconv.FormatInt(seconds, 10)) // Go parses "+5", providers need not
	return true
}

func (h *Handlers) brokenLink(w http.ResponseWriter, r *http.Request, to, message string) {
	t := h.cfg.Respond.Texts(r)
	h.cfg.Respond.Problem(w, r, web.Problem{
		Code: "link_invalid", Status: http.StatusBadRequest, Title: t.Text("login.link-title"), Message: message,
		Action: web.Link{Label: t.Text("action.sign-in"), Href: route.LoginURL(to)},
	})
}

// notStarted answers a login whose pushed authorization request has failed.
func (h *Handlers) notStarted(w http.ResponseWriter, r *http.Request, a *attempt, extra url.Values, err error) {
	refusal, refused := errors.AsType[*rp.Error](err)
	switch {
	case a.Silent:
		h.endSilently(w, r, a.ReturnTo, err)
	case refused && refusal.Status < http.StatusInternalServerError:
		h.cfg.Logger.WarnContext(r.Context(), "login refused by the provider; gatehouse check says more", "err", err)
		status := http.StatusBadGateway
		if refusal.Code == "invalid_request" && len(extra) > 0 { // parameters of the link may be the reason
			status = http.StatusBadRequest
		}
		h.refused(w, r, a, refusal.Code, status)
	default:
		h.outcomes.Add(metrics.LoginUnavailable)
		h.cfg.Respond.ProviderUnavailable(w, r, err, route.LoginURL(a.ReturnTo))
	}
}

// endSilently ends a failed login with prompt=none. A page has started it, not
// the user, so that the browser returns to the page without an error.
func (h *Handlers) endSilently(w http.ResponseWriter, r *http.Request, to string, err error) {
	level, result := slog.LevelInfo, metrics.LoginUnavailable
	if refusal, ok := errors.AsType[*rp.Error](err); ok {
		level, result = refusalLevel(refusal.Code), refusalResult(refusal.Code)
		h.recordRefusal(r.Context(), refusalCause(refusal.Code))
	}
	h.outcomes.Add(result)
	h.cfg.Logger.Log(r.Context(), level, "silent login without effect", "err", err)
	h.returnSilently(w, r, to)
}

func (h *Handlers) returnSilently(w http.ResponseWriter, r *http.Request, to string) {
	h.jar.addLogin(w, r, "", to) // a page that tries at each visit loops
	respond.SeeOther(w, to)
}

// movedParameter marks a login that was redirected to the base URL.
const movedParameter = "moved"

// moves redirects a login at another host than that of the base URL
// (www.shop.example, or 127.0.0.1 for localhost) to the base URL, and reports
// whether it has. The login would end there, where a cookie of this host is
// unknown. It redirects once: behind a proxy that rewrites Host, every host is
// another one.
func (h *Handlers) moves(w http.ResponseWriter, r *http.Request) bool {
	host, base := (&url.URL{Host: r.Host}).Hostname(), h.cfg.Base
	if strings.EqualFold(host, base.Hostname()) || loopback.Host(host) && !loopback.Host(base.Hostname()) {
		return false // a proxy on this machine calls the bff by a loopback name
	}
	if loopback.Host(host) { // in development, without a proxy
		http.Redirect(w, r, base.String()+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return true
	}
	query := r.URL.Query()
	if query.Has(movedParameter) {
		h.movedLogged.Do(func() {
			h.cfg.Logger.WarnContext(r.Context(), "logins begin at another host than that of the base URL; have the proxy pass on Host, or correct the base URL",
				"host", r.Host, "base_url", base.String())
		})
		return false
	}
	h.cfg.Logger.InfoContext(r.Context(), "login moved to the base URL", "host", r.Host, "base_url", base.String())
	query.Set(movedParameter, "1")
	http.Redirect(w, r, base.String()+route.Login+"?"+query.Encode(), http.StatusTemporaryRedirect)
	return true
}
