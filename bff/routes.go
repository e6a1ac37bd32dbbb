package bff

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// authRoutes returns the handlers of the addresses below /api/auth, by path and
// method.
func (b *BFF) authRoutes() map[string]map[string]http.HandlerFunc {
	return map[string]map[string]http.HandlerFunc{
		route.Login:              {http.MethodGet: b.login.Login},
		route.Callback:           {http.MethodGet: b.login.Callback},
		route.ClientKeys:         {http.MethodGet: b.clientKeys},
		route.Logout:             {http.MethodGet: b.logout.Logout, http.MethodPost: b.logout.Logout},
		route.BackchannelLogout:  {http.MethodPost: b.logout.Backchannel},
		route.FrontchannelLogout: {http.MethodGet: b.logout.Frontchannel},
		route.Me:                 {http.MethodGet: b.account.Me},
		route.Session:            {http.MethodGet: b.account.Session},
		route.Sessions:           {http.MethodGet: b.account.List, http.MethodDelete: b.account.EndOthers},
		route.Sessions + "/":     {http.MethodDelete: b.account.End}, // and a handle
		route.Events:             {http.MethodGet: b.account.Events},
	}
}

// chain returns the handler of all requests: the routes behind the checks that
// every request passes.
func (b *BFF) chain(requests *metrics.HTTP) http.Handler {
	var h http.Handler = http.HandlerFunc(b.route)
	for _, wrap := range []func(http.Handler) http.Handler{ // innermost first
		b.refuseForged,       // before anything acts on a cookie
		b.login.LimitCookies, // before a server behind the bff refuses them, which would lock the user out
		b.limitHeader,        // before the header is held while anything waits
		b.refuseHost,         // before another site gets an answer
		refuseMethods,        // at every address
		b.answered,           // headers of refusals too, deadlines, and a panic becomes an answer
		accesslog.Wrap(accesslog.Config{ // outermost, since it logs the final answer and sets the request id
			Logger: b.logger, Client: b.origins.ClientAddress, Requests: requests, Tracer: b.tracer, Secure: b.secure,
			Audited: b.audit.Enabled(),
		}),
	} {
		h = wrap(h)
	}
	return h
}

// route calls the handler of a path. Paths are compared exactly: a router that
// cleans them would give protected pages second names.
func (b *BFF) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/healthz" || path == "/readyz":
		metrics.SetRoute(w, path)
		b.health(w, r)
	case strings.HasPrefix(path, web.AssetPrefix):
		metrics.SetRoute(w, web.AssetPrefix+"*")
		b.pages.Assets().ServeHTTP(w, r)
	case route.Under(path, "/api/auth"):
		b.routeAuth(w, r)
	case b.routes.serve(w, r):
	case route.Under(path, "/api"):
		if !protect.Canonical(r.URL) {
			respond.Error(w, http.StatusNotFound, "no such address")
			return
		}
		metrics.SetRoute(w, "/api/*") // a gateway in this process knows it better
		b.api.ServeHTTP(w, r)
	default:
		metrics.SetRoute(w, "/*")
		b.frontend.ServeHTTP(w, r)
	}
}

// allowedMethods is the Allow header of refuseMethods.
const allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// limitHeader refuses a header that is too large without its cookies, which
// login.LimitCookies limits. net/http accepts 1 MiB, so that a browser with too many
// cookies can be told, and holds it until the answer ends.
func (b *BFF) limitHeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := len(r.RequestURI)
		for name, lines := range r.Header {
			if name == "Cookie" {
				continue
			}
			for _, line := range lines {
				n += len(name) + len(line)
			}
		}
		if n > b.limits.MaxHeaderBytes {
			b.limited.Add(metrics.LimitHeader)
			accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("limit", metrics.LimitHeader))
			w.Header().Set("Connection", "close")
			respond.Error(w, http.StatusRequestHeaderFieldsTooLarge, "the header of this request is too large")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseMethods refuses the methods that return the request, with cookies and
// added headers (TRACE, and Microsoft's TRACK), and CONNECT, which asks for a
// tunnel. Some servers ignore the case of methods.
func refuseMethods(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch strings.ToUpper(r.Method) {
		case http.MethodTrace, "TRACK", http.MethodConnect:
			w.Header().Set("Allow", allowedMethods)
			respond.Error(w, http.StatusMethodNotAllowed, "this method is not served")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// routeAuth calls the handler of a path below /api/auth.
func (b *BFF) routeAuth(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if handle, ok := strings.CutPrefix(path, route.Sessions+"/"); ok && handle != "" && !strings.Contains(handle, "/") {
		path = route.Sessions + "/"
	}
	methods, ok := b.auth[path]
	if ok {
		metrics.SetRoute(w, path)
	}
	serve := methods[r.Method]
	switch {
	case b.login.IsFormPost(r):
		b.login.FormPost(w, r)
	case !ok:
		respond.Error(w, http.StatusNotFound, "no such address")
	case serve == nil:
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		respond.Error(w, http.StatusMethodNotAllowed, "this address answers "+allowed+" only")
	default:
		w.Header().Set("Cache-Control", "no-store")
		serve(w, r)
	}
}

// health answers /healthz, and /readyz with 503 if the bff is not ready. The
// reason, which may name machines, is logged only.
func (b *BFF) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path == "/readyz" {
		if err := b.Ready(r.Context()); err != nil {
			if ok, _ := b.unready.Next(); ok {
				b.logger.WarnContext(r.Context(), "not ready", "err", err)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

const (
	// readyTimeout bounds the call of the session store for /readyz.
	readyTimeout = 2 * time.Second
	// unreadyInterval is how often the reason of a failed health check is logged.
	// Load balancers may ask several times a second.
	unreadyInterval = time.Minute
)

// Ready returns why the bff should get no requests at the moment, nil if it should.
// It should once provider and session store have answered. A later outage of either
// changes nothing: it meets all bffs at the same time, and they still serve what
// works without.
func (b *BFF) Ready(ctx context.Context) error {
	if b.alsoReady != nil {
		if err := b.alsoReady(); err != nil {
			return err
		}
	}
	if b.reached.Load() {
		return nil
	}
	if err := b.party.Ready(); err != nil {
		return err
	}
	md, err := b.provider.Metadata()
	if err == nil {
		err = b.party.Fits(md)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := b.sessions.Ready(ctx); err != nil {
		return err
	}
	b.reached.Store(true)
	return nil
}

// refuseForged refuses requests that another origin has caused.
func (b *BFF) refuseForged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.origins.Forged(r) {
			if ok, held := b.forged.Next(); ok {
				b.logger.WarnContext(r.Context(), "cross-origin request refused", "method", accesslog.Method(r), "path", r.URL.Path, "suppressed", held)
			}
			respond.Error(w, http.StatusForbidden, "this request came from another origin")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseHost refuses requests to a server on loopback by other names (DNS
// rebinding). Exempt are addresses that providers and health checks call, maybe
// by another name; their answers are of no use to an attacker.
func (b *BFF) refuseHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", route.BackchannelLogout:
		default:
			if !b.hosts.Allow(r.Host) {
				if ok, held := b.misled.Next(); ok {
					b.logger.WarnContext(r.Context(), "request for an unknown host refused", "host", r.Host, "remedy", hostcheck.Remedy, "suppressed", held)
				}
				respond.Error(w, http.StatusMisdirectedRequest, "this development server answers to names of this machine, such as localhost, and to its allowed hosts (AllowedHosts)")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// setSecure sets the header fields of every answer. Handlers may write to the values.
func (b *BFF) setSecure(h http.Header, values *[3]string) {
	*values = [...]string{"nosniff", "same-origin", "max-age=31536000"}
	h["X-Content-Type-Options"] = values[0:1:1]
	h["Referrer-Policy"] = values[1:2:2]
	if b.secure {
		h["Strict-Transport-Security"] = values[2:3:3]
	}
}

// answered sets the headers and deadlines of an answer, and handles panics.
func (b *BFF) answered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, r := forward.NewWriter(w, r)
		b.setSecure(w.Header(), &answer.Values)
		b.recovered(next, answer, r)
		answer.Finish()
	})
}

// recovered logs a panic of next and answers 500.
func (b *BFF) recovered(next http.Handler, w *forward.Writer, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { // net/http cuts the answer
			panic(p)
		}
		b.logger.ErrorContext(r.Context(), "panic in the bff", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if w.Started() { // a partial answer must not look complete
			panic(http.ErrAbortHandler)
		}
		// Headers of the intended answer, such as cookies, are dropped.
		id := w.Header().Get(requestid.Header)
		clear(w.Header())
		w.Header().Set(requestid.Header, id)
		b.setSecure(w.Header(), &w.Values)
		respond.Error(w, http.StatusInternalServerError, "internal error")
	}()
	next.ServeHTTP(w, r)
}
