package bff

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// loginParameters are what a link may add to the authorization request.
// Everything else stays here: a page must not be able to change the scope,
// the response type or the redirect.
var loginParameters = []string{
	"prompt", "login_hint", "screen_hint", "max_age", "acr_values", "ui_locales", "connection", "organization",
}

// maxParameter bounds each of them, in bytes.
const maxParameter = 512

// login sends the browser to the provider.
func (b *BFF) login(w http.ResponseWriter, r *http.Request) {
	if b.movesLogin(w, r) {
		return
	}
	query := r.URL.Query()
	to := route.ReturnTo(query.Get("returnTo"))
	if n := len(query.Get("returnTo")); n > route.MaxReturnTo {
		b.logger.InfoContext(r.Context(), "login leads to the home page: returnTo is too long", "bytes", n, "limit", route.MaxReturnTo)
	}
	silent := query.Get("prompt") == "none"
	if origins.Prefetch(r) {
		// A page with a link to the login would begin one for everybody who
		// sees it. A browser throws this answer away, and asks when it means it.
		w.Header().Set("Retry-After", "1")
		respond.Error(w, http.StatusServiceUnavailable, "a login is not begun before somebody wants it")
		return
	}
	if b.tooManyLogins(w, r, to) || b.stopsLoop(w, r, to, silent) {
		return
	}
	md, err := b.rp.metadata(r.Context())
	if err != nil {
		if silent {
			b.silently(w, r, to, err)
			return
		}
		b.respond.ProviderUnavailable(w, r, err, r.URL.RequestURI())
		return
	}
	extra := url.Values{}
	for _, name := range loginParameters {
		if value := query.Get(name); value != "" && len(value) <= maxParameter {
			extra.Set(name, value)
		}
	}
	a, err := b.newAttempt(md.Issuer, to)
	if err != nil {
		b.respond.InternalError(w, r, err)
		return
	}
	a.Silent = silent
	if a.Number, err = b.revoker.Begin(r.Context()); err != nil {
		// It may be back when the login completes, which is ordered by time then.
		b.logger.WarnContext(r.Context(), "login not numbered", "cause", err)
	}
	broken := func(why string) {
		b.respond.Problem(w, r, web.Problem{
			Status: http.StatusBadRequest, Title: "This sign-in link is broken", Message: why,
			Action: web.Link{Label: "Sign in", Href: route.LoginURL(a.ReturnTo)},
		})
	}
	a.ACR = extra.Get("acr_values")
	if raw := extra.Get("max_age"); raw != "" {
		seconds, err := strconv.ParseInt(raw, 10, 32)
		if err != nil || seconds < 0 {
			broken("Its max_age is not a number of seconds.")
			return
		}
		a.MaxAge = &seconds
		extra.Set("max_age", strconv.FormatInt(seconds, 10)) // "+5" is a number to us and none to others
	}
	target, err := b.rp.authorization(r.Context(), md, a, extra)
	if err != nil {
		b.notPushed(w, r, a, extra, err)
		return
	}
	switch err = b.keepAttempt(w, r, a); {
	case errors.Is(err, errAttemptSize):
		broken("It asks for too much at once.")
	case err != nil:
		b.respond.InternalError(w, r, err)
	default:
		respond.SeeOther(w, target)
	}
}

// notPushed answers a login that the provider did not even let begin.
func (b *BFF) notPushed(w http.ResponseWriter, r *http.Request, a *attempt, extra url.Values, cause error) {
	refusal, refused := errors.AsType[*oauthError](cause)
	switch {
	case a.Silent:
		b.silently(w, r, a.ReturnTo, cause)
	case refused && refusal.status < http.StatusInternalServerError:
		b.logger.WarnContext(r.Context(), "login refused by the provider; gatehouse check says more", "cause", cause)
		status := http.StatusBadGateway
		if refusal.code == "invalid_request" && len(extra) > 0 { // perhaps by what the link has added
			status = http.StatusBadRequest
		}
		b.refusedLogin(w, r, a, refusal.code, status)
	default:
		b.respond.ProviderUnavailable(w, r, cause, route.LoginURL(a.ReturnTo))
	}
}

// silently ends a login with prompt=none that came to nothing: nobody has
// asked for it, so nobody is shown an error. The person is where they were,
// signed in or not as before.
func (b *BFF) silently(w http.ResponseWriter, r *http.Request, to string, cause error) {
	level := slog.LevelInfo
	if refusal, ok := errors.AsType[*oauthError](cause); ok {
		level = refusalLevel(refusal.code)
	}
	b.logger.Log(r.Context(), level, "silent login without effect", "cause", cause)
	b.backFromSilent(w, r, to)
}

func (b *BFF) backFromSilent(w http.ResponseWriter, r *http.Request, to string) {
	b.leaveTrail(w, r, "", to) // a page that tries it at each visit goes in circles
	respond.SeeOther(w, to)
}

// movedParameter marks a login that was moved to the base URL.
const movedParameter = "moved"

// movesLogin reports whether a login was begun at another host than that of the
// base URL (www.shop.example, or 127.0.0.1 for localhost), and has sent the
// browser to the base URL then: the login would end there, where a cookie that
// is set here is unknown. It does so once: behind a proxy that rewrites Host,
// every host is another one.
func (b *BFF) movesLogin(w http.ResponseWriter, r *http.Request) bool {
	host := hostname(r.Host)
	if strings.EqualFold(host, b.base.Hostname()) || loopback.Host(host) && !loopback.Host(b.base.Hostname()) {
		return false // a loopback host is what a proxy on this machine calls us
	}
	if loopback.Host(host) { // a developer, with no proxy between
		http.Redirect(w, r, b.base.String()+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return true
	}
	query := r.URL.Query()
	if query.Has(movedParameter) {
		b.moved.Do(func() {
			b.logger.WarnContext(r.Context(), "logins begin at another host than that of the base URL; have the proxy pass on Host, or correct the base URL",
				"host", r.Host, "base_url", b.base.String())
		})
		return false
	}
	b.logger.InfoContext(r.Context(), "login moved to the base URL", "host", r.Host, "base_url", b.base.String())
	query.Set(movedParameter, "1")
	http.Redirect(w, r, b.base.String()+route.Login+"?"+query.Encode(), http.StatusTemporaryRedirect)
	return true
}

func hostname(hostport string) string {
	u := url.URL{Host: hostport}
	return u.Hostname()
}
