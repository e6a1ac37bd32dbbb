package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// apiHeaders are the request headers that reach the API. All others are
// dropped: the bff's cookies, an Authorization of the browser's, the
// X-Forwarded, X-Original and X-Auth families (CVE-2026-40575), Grpc-Metadata
// (CVE-2026-18972), names with underscores that some servers read as hyphens
// (CVE-2025-64484).
var apiHeaders = []string{
	"Accept", "Accept-Encoding", "Accept-Language",
	"Content-Encoding", "Content-Type",
	"Connect-Accept-Encoding", "Connect-Content-Encoding", "Connect-Protocol-Version", "Connect-Timeout-Ms",
	"Grpc-Accept-Encoding", "Grpc-Encoding", "X-Grpc-Web", "X-User-Agent",
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
	"Last-Event-Id", "Prefer", "Range", "Te", "User-Agent",
}

// apiTemplate is the template of the paths of the API.
const apiTemplate = "/api/{path}"

// Sessions finds the session of a request. The error is session.ErrNotFound for
// a request without one.
type Sessions interface {
	// Current does not extend the session, Used does.
	Current(r *http.Request) (*session.Session, error)
	Used(r *http.Request) (*session.Session, error)
}

// APIConfig configures an API. All fields but TokenAddress and
// RequestHeaders are required.
type APIConfig struct {
	// Handler is the API, in this process or a [NewProxy].
	Handler http.Handler
	// Base is the base URL: the API is called with its host.
	Base *url.URL
	// TokenAddress is the address for clients with bearer tokens, in the hint
	// that they get here; "" for none.
	TokenAddress string
	// RequestHeaders are those that reach the API besides apiHeaders, in canonical form.
	RequestHeaders []string
	Sessions       Sessions
	Watcher        Watcher
	Tokens         *refresh.Refresher
	Origins        *origins.Origins
	// Stopping is closed when the process is about to stop.
	Stopping <-chan struct{}
	// Work counts WebSockets.
	Work    *inflight.Group
	Streams *metrics.UpDownCounter // nil for none
	Respond *respond.Responder
	Logger  *slog.Logger
	// Tracer makes a span of each request to Handler; nil for none.
	Tracer *tracing.Tracer
}

// An API forwards requests to the API with the access token of their session,
// or without a token. It is safe for concurrent use.
type API struct {
	cfg     APIConfig
	headers []string // request headers that pass
	drainer drainer  // nil for an API that does not end its streams itself
}

// NewAPI returns an API.
func NewAPI(cfg APIConfig) *API {
	d, _ := cfg.Handler.(drainer)
	return &API{cfg: cfg, headers: slices.Concat(apiHeaders, cfg.RequestHeaders), drainer: d}
}

// Drain ends the streams of an API that does so itself.
func (api *API) Drain() {
	if api.drainer != nil {
		api.drainer.Drain()
	}
}

// ServeHTTP forwards a request. A request without a session goes on without a
// token: the API decides whether it needs one.
func (api *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, err := api.signedIn(r)
	answer := api.newAnswer(w, r, s)
	if err != nil && !api.continueWithoutToken(answer, err) {
		return
	}
	defer func() { answer.Release() }()
	answer.renewable = s != nil && upstream.Replayable(r) && api.cfg.Tokens.Renewable(s)
	api.call(answer, r, s)
	if s != nil && answer.invalid && !answer.refused { // too late for this request, not for the next
		api.cfg.Tokens.Refused(s)
	}
	if !answer.refused {
		return
	}
	// The API refuses a token that has not expired: its key was withdrawn, or
	// the token was revoked. Another token is tried once.
	api.cfg.Logger.InfoContext(r.Context(), "the API refused the access token; trying with another one", "session", s)
	s, err = api.cfg.Tokens.WaitForRefresh(r.Context(), s)
	answer = api.newAnswer(w, r, s)
	if err != nil && !api.continueWithoutToken(answer, err) {
		return
	}
	api.call(answer, r, s)
}

// signedIn returns the session of a request with a valid access token. An
// EventSource reconnects by itself for as long as its page is open, which is no
// use of the session: an idle session must end.
func (api *API) signedIn(r *http.Request) (*session.Session, error) {
	find := api.cfg.Sessions.Used
	if accept := r.Header["Accept"]; len(accept) == 1 && accept[0] == "text/event-stream" {
		find = api.cfg.Sessions.Current
	}
	s, err := find(r)
	if err != nil {
		return nil, err
	}
	return api.cfg.Tokens.Fresh(r.Context(), s)
}

// continueWithoutToken reports whether a request whose session gave an error is
// forwarded without a token; otherwise it has been answered. During an outage
// of the session store, GET and HEAD are forwarded: the API may serve them to
// everyone.
func (api *API) continueWithoutToken(a *apiAnswer, err error) bool {
	w, r := a.ResponseWriter, a.request
	unavailable, ok := errors.AsType[*refresh.Unavailable](err)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return true
	case ok:
		respond.RetryIn(w, unavailable.RetryAfter)
		respond.Error(w, http.StatusServiceUnavailable, "the sign-in service does not renew your access at the moment; you are still signed in")
		return false
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Context().Err() == nil:
		a.outage = err
		return true
	default:
		api.cfg.Respond.StoreUnavailable(w, r, err)
		return false
	}
}

// call has the API answer a request with the token of a session, nil for none.
func (api *API) call(a *apiAnswer, r *http.Request, s *session.Session) {
	serve := func(ctx context.Context) {
		api.cfg.Handler.ServeHTTP(a, api.outgoing(ctx, r, s))
		a.finish()
	}
	a.Serve(api.cfg.Tracer, apiTemplate, func(ctx context.Context) {
		if api.drainer != nil {
			serve(ctx)
			return
		}
		closer := &streamCloser{stopping: api.cfg.Stopping}
		closer.serve(ctx, &a.Answer, serve)
	})
}

// outgoing is the request that the API sees, with the context of the call.
func (api *API) outgoing(ctx context.Context, r *http.Request, s *session.Session) *http.Request {
	out := r.WithContext(ctx)
	out.Host = api.cfg.Base.Host // and not what the request says
	out.Trailer = nil
	dropped := ConnectionHeaders(r.Header)
	out.Header = make(http.Header, 14) // a browser sends about half of what may pass
	for _, name := range api.headers {
		if values := r.Header[name]; len(values) > 0 && !dropped[name] {
			out.Header[name] = values
		}
	}
	Describe(out.Header, r, api.cfg.Base, api.cfg.Origins)
	if s != nil {
		out.Header["Authorization"] = []string{s.Bearer()}
	}
	if api.drainer == nil { // in this process the context carries the trace
		tracing.InjectHeader(ctx, out.Header)
	}
	return out
}

// An apiAnswer is the API's answer, corrected for one browser.
type apiAnswer struct {
	Answer
	api       *API
	private   bool  // answers a signed-in user
	renewable bool  // a refused token is not reported to the browser
	invalid   bool  // the API refused the token
	refused   bool  // and the browser has seen nothing of it
	outage    error // of the session store, which may know this browser

	hinted  []byte // the body of a 401 that gets a hint; nil for all others
	gateway string // the address in the hint
}

func (api *API) newAnswer(w http.ResponseWriter, r *http.Request, s *session.Session) *apiAnswer {
	a := &apiAnswer{api: api, private: s != nil}
	a.Correct, a.Sessions, a.Session = a.correct, api.cfg.Watcher, s
	a.Stopping, a.Work, a.Streams = api.cfg.Stopping, api.cfg.Work, api.cfg.Streams
	a.Begin(w, r)
	return a
}

func (a *apiAnswer) correct(status int, h http.Header) {
	a.invalid = status == http.StatusUnauthorized && invalidToken(h)
	if a.private && status != http.StatusUnauthorized && status < http.StatusInternalServerError {
		a.api.cfg.Tokens.Accepted(a.Session)
	}
	switch {
	case a.outage != nil && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		a.Discard()
		a.api.cfg.Respond.StoreUnavailable(a.ResponseWriter, a.request, a.outage)
		return
	case a.invalid && a.renewable:
		a.refused = true
		a.Discard()
		return
	case status == http.StatusUnauthorized:
		demand := route.StepUp(h)
		login := route.LoginFor(demand, a.api.cfg.Origins.Page(a.request)) // which returns to the user's page
		if origins.Navigation(a.request) && (demand != nil || !a.private) {
			a.Discard()
			respond.SeeOther(a.ResponseWriter, login)
			return
		}
		if !a.private && bearerToken(a.request) {
			a.hint(h)
		}
		h.Set(route.LoginHeader, login)
	default:
		h.Del(route.LoginHeader) // only the bff sets it
	}
	// Only the bff sets cookies of this origin; a cached one would sign other
	// users in (CVE-2025-48947).
	h.Del("Set-Cookie")
	for name := range h {
		// The page is of the same origin, and no CDN may keep a user's answer.
		if strings.HasPrefix(name, "Access-Control-") || (a.private || a.outage != nil) && OverridesCaching(name) {
			h.Del(name)
		}
	}
	switch said := h["Cache-Control"]; {
	case a.outage != nil: // after the outage the answer may be another
		h["Cache-Control"] = []string{"no-store"}
	case !a.private, len(said) == 1 && strings.HasPrefix(said[0], "no-store"): // nearly all
	case len(said) == 0:
		h.Set("Cache-Control", "no-store")
	default:
		h["Cache-Control"] = []string{Privately(said)}
	}
	// A signed-out browser gets another answer at the same address.
	h.Add("Vary", "Cookie")
}

// invalidToken reports whether a challenge says that the token is invalid (RFC
// 6750 §3.1), and not that it lacks a scope or a newer login.
func invalidToken(h http.Header) bool {
	return slices.ContainsFunc(h["Www-Authenticate"], func(challenge string) bool {
		return strings.Contains(challenge, `error="invalid_token"`)
	})
}
