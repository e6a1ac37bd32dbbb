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
	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
	"github.com/gatehouse-dev/gatehouse/bff/internal/upstream"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
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

// socketHeaders are those of a WebSocket handshake (RFC 6455 §4.1), which reach a route
// besides apiHeaders. The bff has compared Origin with its own.
var socketHeaders = []string{
	"Origin", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version",
}

// Sessions finds the session of a request. The error is session.ErrNotFound for
// a request without one.
type Sessions interface {
	// Current does not extend the session, Used does.
	Current(r *http.Request) (*session.Session, error)
	Used(r *http.Request) (*session.Session, error)
}

// A Token says which access token the requests of an API carry.
type Token int

// The tokens.
const (
	UserToken   Token = iota // that of the session, if there is one
	NoToken                  // none
	RouteToken               // of APIConfig.Source, for the user of the session
	ClientToken              // of APIConfig.Source, for the bff itself
)

// A Source gives the requests of a route their tokens; see package routetoken.
type Source interface {
	Authorization(ctx context.Context, s *session.Session) (string, error)
	Refused(s *session.Session, authorization string) bool
}

// APIConfig configures an API. Fields without "Default" are required.
type APIConfig struct {
	// Handler is the API, in this process or a [NewProxy].
	Handler http.Handler
	// Path is the prefix of the requests, such as "/api".
	Path string
	// Backend says that Handler is a server of another kind than a gateway: it may have
	// pages and WebSockets, and tells of a refused token in its own way. Default: a gateway.
	Backend bool
	// Strip removes Path from requests. Default: it stays.
	Strip bool
	// Servers are the addresses of a Backend. A Location at one becomes one below Base.
	Servers []*url.URL
	// Private refuses requests without a session. Default: the API decides.
	Private bool
	// Token says which token requests carry, and Source gives it. Default: UserToken.
	Token  Token
	Source Source
	// MaxBodyBytes bounds the bodies of requests. Default: Handler does.
	MaxBodyBytes int64
	// Base is the base URL: the API is called with its host.
	Base *url.URL
	// TokenAddress is the address for clients with bearer tokens, in the hint
	// that they get here. Default: none.
	TokenAddress string
	// RequestHeaders are those that reach the API besides apiHeaders, in canonical form.
	// Default: none.
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
	cfg      APIConfig
	headers  map[string]bool // request headers that pass
	template string          // of the paths
	drainer  drainer         // nil for an API that does not end its streams itself
	shared   Shared
}

// NewAPI returns an API.
func NewAPI(cfg APIConfig) *API {
	d, _ := cfg.Handler.(drainer)
	passing := map[string]bool{}
	for _, name := range slices.Concat(apiHeaders, cfg.RequestHeaders) {
		passing[name] = true
	}
	return &API{
		cfg: cfg, headers: passing, template: cfg.Path + "/{path}", drainer: d,
		shared: Shared{Sessions: cfg.Watcher, Stopping: cfg.Stopping, Work: cfg.Work, Streams: cfg.Streams},
	}
}

// Backend reports whether requests go to a server that is no gateway.
func (api *API) Backend() bool { return api.cfg.Backend }

// Drain ends the streams of an API that does so itself.
func (api *API) Drain() {
	if api.drainer != nil {
		api.drainer.Drain()
	}
}

// ServeHTTP forwards a request. Unless the API is Private, a request without a session
// goes on without a token: the API decides whether it needs one.
func (api *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if api.cfg.Backend {
		// Browsers enforce it beside the server's own policy.
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	}
	if limit := api.cfg.MaxBodyBytes; limit > 0 && r.ContentLength != 0 {
		if r.ContentLength > limit {
			tooLarge(w)
			return
		}
		r = r.WithContext(r.Context())
		r.Body = http.MaxBytesReader(nil, r.Body, limit)
	}
	s, err := api.signedIn(r)
	answer := api.newAnswer(w, r, s)
	defer func() { answer.Release() }()
	if err == nil || api.continueWithoutToken(answer, err) {
		if !api.authorize(answer, err) {
			return
		}
		answer.renewable = upstream.Replayable(r) && api.renewable(answer)
		api.call(answer, r)
	}
	if !answer.refused {
		return
	}
	// The API refuses a token that has not expired: its key was withdrawn, or
	// the token was revoked. Another token is tried once.
	api.cfg.Logger.InfoContext(r.Context(), "the API refused the access token; trying with another one", "session", s, "route", api.cfg.Path)
	if api.cfg.Token == UserToken {
		s, err = api.cfg.Tokens.WaitForRefresh(r.Context(), s)
	}
	answer = api.newAnswer(w, r, s)
	answer.again = true
	if err != nil && !api.continueWithoutToken(answer, err) || !api.authorize(answer, err) {
		return
	}
	api.call(answer, r)
}

// signedIn returns the session of a request, with a valid access token if it is that of
// the session that counts. An EventSource reconnects by itself for as long as its page is
// open, which is no use of the session: an idle session must end.
func (api *API) signedIn(r *http.Request) (*session.Session, error) {
	if api.anonymous() {
		return nil, session.ErrNotFound
	}
	find := api.cfg.Sessions.Used
	if accept := r.Header["Accept"]; len(accept) == 1 && accept[0] == "text/event-stream" {
		find = api.cfg.Sessions.Current
	}
	s, err := find(r)
	if err != nil || api.cfg.Token != UserToken {
		return s, err
	}
	return api.cfg.Tokens.Fresh(r.Context(), s)
}

// anonymous reports whether requests need no session and get nothing of it, so that
// none is looked up.
func (api *API) anonymous() bool {
	return !api.cfg.Private && (api.cfg.Token == NoToken || api.cfg.Token == ClientToken)
}

// authorize has the answer know the Authorization of its request. It reports whether the
// request goes on; otherwise it has been answered.
func (api *API) authorize(a *apiAnswer, found error) bool {
	s := a.Session
	switch {
	case api.cfg.Token == UserToken:
		if s != nil {
			a.authorization[0] = s.Bearer()
		}
		return true
	case api.cfg.Token == NoToken, api.cfg.Token == RouteToken && s == nil:
		return true
	case found != nil && !errors.Is(found, session.ErrNotFound):
		return true // during an outage of the session store
	}
	if api.cfg.Token == ClientToken {
		s = nil
	}
	authorization, err := api.cfg.Source.Authorization(a.request.Context(), s)
	refusal, ok := errors.AsType[*routetoken.Error](err)
	switch {
	case err == nil:
		a.authorization[0] = authorization
		return true
	case ok:
		accesslog.FromContext(a.request.Context()).Add(slog.LevelInfo, slog.String("err", refusal.Error()))
		if refusal.RetryAfter > 0 {
			respond.RetryIn(a.ResponseWriter, refusal.RetryAfter)
		}
		respond.Error(a.ResponseWriter, refusal.Status, refusal.Public)
		return false
	case errors.Is(err, session.ErrNotFound): // it has ended since it was found
		a.Session, a.private = nil, false
	}
	return api.continueWithoutToken(a, err)
}

// renewable reports whether a token that is refused can be replaced.
func (api *API) renewable(a *apiAnswer) bool {
	switch {
	case a.authorization[0] == "":
		return false
	case api.cfg.Token == UserToken:
		return api.cfg.Tokens.Renewable(a.Session)
	}
	return true
}

// continueWithoutToken reports whether a request whose session gave an error is
// forwarded without a token; otherwise it has been answered. During an outage
// of the session store, GET and HEAD are forwarded: the API may serve them to
// everyone.
func (api *API) continueWithoutToken(a *apiAnswer, err error) bool {
	w, r := a.ResponseWriter, a.request
	unavailable, ok := errors.AsType[*refresh.Unavailable](err)
	switch {
	case errors.Is(err, session.ErrNotFound) && api.cfg.Private:
		api.requireLogin(a)
		return false
	case errors.Is(err, session.ErrNotFound):
		return true
	case ok:
		respond.RetryIn(w, unavailable.RetryAfter)
		respond.Error(w, http.StatusServiceUnavailable, "the sign-in service does not renew your access at the moment; you are still signed in")
		return false
	case !api.cfg.Private && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Context().Err() == nil:
		a.outage = err
		return true
	default:
		api.cfg.Respond.StoreUnavailable(w, r, err)
		return false
	}
}

// requireLogin answers a request that needs a session.
func (api *API) requireLogin(a *apiAnswer) {
	w, r := a.ResponseWriter, a.request
	login := route.LoginURL(api.cfg.Origins.Page(r))
	if origins.Navigation(r) {
		respond.SeeOther(w, login)
		return
	}
	w.Header().Set(route.LoginHeader, login)
	respond.Error(w, http.StatusUnauthorized, "this address needs a login")
}

// tooLarge answers a request with a body beyond MaxBodyBytes.
func tooLarge(w http.ResponseWriter) {
	respond.Error(w, http.StatusRequestEntityTooLarge, "the body of this request is too large")
}

// call has the API answer a request with the authorization of the answer.
func (api *API) call(a *apiAnswer, r *http.Request) {
	if r.ContentLength < 0 || r.ContentLength > longBytes {
		a.watchSession()
	}
	serve := func(ctx context.Context) {
		api.cfg.Handler.ServeHTTP(a, a.outgoing(ctx, r))
		a.finish()
	}
	a.Serve(api.cfg.Tracer, api.template, func(ctx context.Context) {
		if api.drainer != nil {
			serve(ctx)
			return
		}
		closer := &streamCloser{stopping: api.cfg.Stopping, silent: api.cfg.Backend}
		closer.serve(ctx, &a.Answer, serve)
	})
}

// outgoing is the request that the API sees, with the context of the call.
func (a *apiAnswer) outgoing(ctx context.Context, r *http.Request) *http.Request {
	api := a.api
	out := a.copied(ctx, r)
	out.Host = api.cfg.Base.Host // and not what the request says
	out.Trailer = nil
	dropped := ConnectionHeaders(r.Header)
	var room [16]field
	passing := room[:0]
	for name, values := range r.Header {
		if len(values) > 0 && api.headers[name] && !dropped[name] {
			passing = append(passing, field{name, values})
		}
	}
	// A map of up to 8 fields is half as large: those of a browser's fetch without the id, which
	// a gateway in this process takes from the context.
	out.Header = make(http.Header, len(passing)+4)
	for _, f := range passing {
		out.Header[f.name] = f.values
	}
	Describe(out.Header, &a.described, r, api.cfg.Base, api.cfg.Origins)
	if a.authorization[0] != "" {
		out.Header["Authorization"] = a.authorization[:]
	}
	if api.cfg.Backend {
		out = api.toBackend(out, r)
	}
	if api.drainer == nil { // in this process the context carries both
		Identify(out)
		tracing.InjectHeader(ctx, out.Header)
	}
	return out
}

// copied returns a copy of a request.
func (a *apiAnswer) copied(ctx context.Context, r *http.Request) *http.Request {
	a.out = *r.WithContext(ctx) // inlined, so that the copy of the copy is on the stack
	return &a.out
}

// An apiAnswer is the API's answer, corrected for one browser, with the request to the API.
// A handler may keep both, so that they serve no other request.
type apiAnswer struct {
	Answer
	api           *API
	out           http.Request
	described     [3]string // values of headers of out
	authorization [1]string // "" for none
	vary          [1]string // of the answer

	private   bool  // answers a signed-in user
	again     bool  // the request is made a second time
	renewable bool  // a refused token is not reported to the browser
	invalid   bool  // the API refused the token
	refused   bool  // and the browser has seen nothing of it
	outage    error // of the session store, which may know this browser

	hinted *hinted // a 401 that gets a hint; nil for all others
}

func (api *API) newAnswer(w http.ResponseWriter, r *http.Request, s *session.Session) *apiAnswer {
	a := &apiAnswer{api: api, private: s != nil}
	a.Corrector, a.Shared, a.Session = a, &api.shared, s
	a.Begin(w, r)
	return a
}

// Correct is for Answer.
func (a *apiAnswer) Correct(status int, h http.Header) {
	cfg := &a.api.cfg
	a.invalid = status == http.StatusUnauthorized && a.authorization[0] != "" && (invalidToken(h) || cfg.Backend && unexplained(h))
	switch {
	case a.invalid && !a.again:
		a.tokenRefused()
	case cfg.Token == UserToken && a.private && status != http.StatusUnauthorized && status < http.StatusInternalServerError:
		cfg.Tokens.Accepted(a.Session)
	}
	switch {
	case a.outage != nil && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		a.Discard()
		a.api.cfg.Respond.StoreUnavailable(a.ResponseWriter, a.request, a.outage)
		return
	case a.refused:
		a.Discard()
		return
	case status == http.StatusUnauthorized && cfg.Token == ClientToken:
		// No login of the user's would help, so a 401 would have browsers sign in for ever.
		cfg.Logger.ErrorContext(a.request.Context(), "the server of a route refuses the client's own token", "route", cfg.Path,
			"remedy", "compare the audience and scope of the route with what the server expects")
		a.Discard()
		respond.Error(a.ResponseWriter, http.StatusBadGateway, "the server behind this one refuses this one's token")
		return
	case status == http.StatusUnauthorized && cfg.Token != NoToken:
		demand := route.StepUp(h)
		login := route.LoginFor(demand, a.api.cfg.Origins.Page(a.request)) // which returns to the user's page
		if origins.Navigation(a.request) && (demand != nil || !a.private) {
			a.Discard()
			respond.SeeOther(a.ResponseWriter, login)
			return
		}
		if !a.private && !cfg.Backend && bearerToken(a.request) {
			a.hint(h)
		}
		h.Set(route.LoginHeader, login)
	default:
		h.Del(route.LoginHeader) // only the bff sets it
	}
	if locations := h["Location"]; cfg.Backend && len(locations) == 1 {
		h["Location"] = []string{a.api.localize(locations[0])}
	}
	if cfg.Backend && len(h["Www-Authenticate"]) > 0 { // no dialog for a password, which would not be forwarded
		h["Www-Authenticate"] = slices.DeleteFunc(slices.Clone(h["Www-Authenticate"]), func(challenge string) bool { return !isBearer(challenge) })
	}
	// Only the bff sets cookies of this origin; a cached one would sign other
	// users in (CVE-2025-48947). A server must not remove them either.
	h.Del("Set-Cookie")
	h.Del("Clear-Site-Data")
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
	if !a.api.anonymous() { // a signed-out browser gets another answer at the same address
		if len(h["Vary"]) == 0 {
			a.vary[0] = "Cookie"
			h["Vary"] = a.vary[:]
		} else {
			h.Add("Vary", "Cookie")
		}
	}
}

// tokenRefused tells the source of the token of its refusal, and has the request made
// again if there is another token for it.
func (a *apiAnswer) tokenRefused() {
	cfg := &a.api.cfg
	if cfg.Token == UserToken {
		if a.refused = a.renewable; !a.refused { // too late for this request, not for the next
			cfg.Tokens.Refused(a.Session)
		}
		return
	}
	s := a.Session
	if cfg.Token == ClientToken {
		s = nil
	}
	a.refused = cfg.Source.Refused(s, a.authorization[0]) && a.renewable
}

// unexplained reports whether a 401 has no challenge, or one for bearer tokens without an
// error, as many servers answer to a token that they do not accept.
func unexplained(h http.Header) bool {
	return !slices.ContainsFunc(h["Www-Authenticate"], func(challenge string) bool {
		return !isBearer(challenge) || strings.Contains(challenge, "error=")
	})
}

func isBearer(challenge string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
	return strings.EqualFold(scheme, "Bearer")
}

// invalidToken reports whether a challenge says that the token is invalid (RFC
// 6750 §3.1), and not that it lacks a scope or a newer login.
func invalidToken(h http.Header) bool {
	return slices.ContainsFunc(h["Www-Authenticate"], func(challenge string) bool {
		return strings.Contains(challenge, `error="invalid_token"`)
	})
}
