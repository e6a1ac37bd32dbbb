// Package frontend owns the answers for pages: which request needs a login,
// what the front end is told of the session, and which headers pass in either
// direction. It leaves the rules about pages to bff/internal/protect, and the
// pages to bff/web or another front end.
package frontend

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// lookupTimeout is how long a public page waits for the session store.
const lookupTimeout = 200 * time.Millisecond

// A sessionless front end answers from the path alone, as a directory does. Its
// public files need no session.
type sessionless interface{ Sessionless() }

// Config configures a Frontend. All fields are required.
type Config struct {
	// Handler is the front end, in this process or a proxy.
	Handler http.Handler
	// Rules say which pages need a login.
	Rules *protect.Rules
	// Base is the base URL.
	Base     *url.URL
	Manager  *session.Manager
	Sessions forward.Sessions
	Watcher  forward.Watcher
	// Returned answers a browser that returns from the provider after a logout.
	// It reports whether the request is one.
	Returned func(http.ResponseWriter, *http.Request) bool
	Origins  *origins.Origins
	// Stopping is closed when the process is about to stop. Work counts WebSockets.
	Stopping <-chan struct{}
	Work     *inflight.Group
	Streams  *metrics.UpDownCounter // nil for none
	Respond  *respond.Responder
	Logger   *slog.Logger
	// Tracer makes a span of each request to Handler; nil for none.
	Tracer *tracing.Tracer
}

// template is the template of the paths of pages.
const template = "/{path}"

// A Frontend serves the pages. It is safe for concurrent use.
type Frontend struct {
	cfg         Config
	sessionless bool
	lookups     *outage.Monitor // of sessions for public pages
	shared      forward.Shared
}

// New returns a Frontend.
func New(cfg Config) *Frontend {
	_, sessionless := cfg.Handler.(sessionless)
	if sessionless {
		cfg.Tracer = nil // a file is read
	}
	lookups := outage.New(outage.Config{
		Name: "session look-up for public pages", Logger: cfg.Logger, Settle: 2 * time.Second,
	})
	return &Frontend{cfg: cfg, sessionless: sessionless, lookups: lookups, shared: forward.Shared{
		Unavailable: cfg.Respond.FrontendUnavailable, Sessions: cfg.Watcher,
		Stopping: cfg.Stopping, Work: cfg.Work, Streams: cfg.Streams,
	}}
}

// ServeHTTP answers for a page. A page that needs a login and a request without
// a session give a redirect to the login, or 401 if the request is no
// navigation.
func (f *Frontend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !protect.Canonical(r.URL) || protect.EncodedSlash(r.URL) {
		// The rules and the front end might interpret such a path differently
		// (CVE-2026-40575).
		respond.Error(w, http.StatusNotFound, "no such page")
		return
	}
	// Browsers enforce it beside the front end's own policy.
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	if f.cfg.Returned(w, r) {
		return
	}
	a := f.newAnswer(w, r)
	s, state, err := f.find(r, a.protected)
	switch {
	case err != nil:
		f.cfg.Respond.StoreUnavailable(w, r, err)
		return
	case s != nil:
		a.Session = s
		defer a.Release()
	case state == stateUnknown, !a.protected:
	case origins.Navigation(r):
		respond.SeeOther(w, route.LoginURL(route.ReturnTo(r.URL.RequestURI())))
		return
	default:
		w.Header().Set(route.LoginHeader, route.LoginURL(f.cfg.Origins.Page(r)))
		respond.Error(w, http.StatusUnauthorized, "this page needs a login")
		return
	}
	serve := a.ServeUntilStop
	if f.sessionless { // files end by themselves
		serve = a.Serve
	}
	serve(f.cfg.Tracer, template, func(ctx context.Context) {
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		f.cfg.Handler.ServeHTTP(a, f.outgoing(withVisitor(r, s, state), s, state))
		a.Finish()
	})
}

// find returns the session of a request, nil if it has none, and what the front
// end is told of it, "" for nothing. A page that needs a session, and an answer
// that ends with it, wait for the store. Other pages wait for at most
// lookupTimeout.
func (f *Frontend) find(r *http.Request, protected bool) (*session.Session, state, error) {
	if f.sessionless && !protected {
		return nil, "", nil
	}
	if len(r.CookiesNamed(f.cfg.Manager.CookieName())) == 0 {
		return nil, stateNone, nil
	}
	if !protected && !origins.Upgrade(r) && !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		s, state := f.findInTime(r)
		return s, state, nil
	}
	s, err := f.cfg.Sessions.Used(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, stateNone, nil
	case err != nil:
		return nil, "", err
	}
	return s, stateActive, nil
}

// findInTime is find for a page that is shown with and without a session.
func (f *Frontend) findInTime(r *http.Request) (*session.Session, state) {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	type result struct {
		s   *session.Session
		err error
	}
	results := make(chan result, 1)
	go func() { // since a store need not return when its context ends
		defer cancel()
		s, err := f.cfg.Sessions.Current(r.WithContext(ctx))
		if err == nil {
			if s, err = f.cfg.Manager.Use(ctx, s); !errors.Is(err, session.ErrNotFound) {
				err = nil
			}
		}
		results <- result{s, err}
	}()
	var got result
	select {
	case got = <-results:
	case <-ctx.Done():
		select {
		case got = <-results: // the goroutine ends the context too
		default:
			got.err = ctx.Err()
		}
	}
	switch {
	case got.err == nil:
		f.lookups.OK(r.Context())
		return got.s, stateActive
	case errors.Is(got.err, session.ErrNotFound):
		f.lookups.OK(r.Context())
		return nil, stateNone
	}
	f.lookups.Fail(r.Context(), got.err)
	return nil, stateUnknown
}

// needsLogin reports whether a request needs a login. Next.js shows pages that
// lie within another page as a part of it if Next-Url names that page.
func (f *Frontend) needsLogin(r *http.Request) bool {
	for _, page := range r.Header["Next-Url"] {
		u, err := url.Parse(page)
		if err != nil || !protect.Canonical(u) || f.cfg.Rules.NeedsLogin(u) {
			return true
		}
	}
	return f.cfg.Rules.NeedsLogin(r.URL)
}

// An answer is the front end's answer. Protected pages are stored by their
// browser only, and the front end cannot set the bff's cookies.
type answer struct {
	forward.Answer
	cookie    string // the name of the session cookie
	protected bool   // the page needs a login
}

func (f *Frontend) newAnswer(w http.ResponseWriter, r *http.Request) *answer {
	a := &answer{cookie: f.cfg.Manager.CookieName(), protected: f.needsLogin(r)}
	a.Corrector, a.Shared = a, &f.shared
	a.Begin(w, r)
	return a
}

// Correct is for forward.Answer.
func (a *answer) Correct(_ int, h http.Header) {
	forward.WithoutOurCookies(h, a.cookie)
	if !a.protected {
		return
	}
	h["Cache-Control"] = []string{forward.Privately(h["Cache-Control"])}
	for name := range h {
		if forward.OverridesCaching(name) {
			h.Del(name)
		}
	}
}
