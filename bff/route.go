package bff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/prefixes"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// A Route sends the requests below a path to servers of their own, or to Config.API by
// rules of their own. Of several routes the one with the longest path counts. Requests
// below /api that belong to no route go to Config.API, all others to Config.Frontend.
//
// Requests and answers pass the filters of Config.API: the cookies of the browser and an
// Authorization of its own do not reach the servers, their cookies do not reach the
// browser, requests of other origins are refused, and streams and WebSockets end with the
// session. A Location at one of the servers becomes the address of the route.
type Route struct {
	// Path is the prefix of the requests, in whole segments: "/orders" covers /orders and
	// /orders/5, but not /orders2. It can be /api or below it, except below /api/auth. A
	// path that a server could read as that of another route, such as /Orders/5, is 404.
	Path string
	// Upstream are the servers. Without targets the requests go to Config.API. Its Probe
	// is ProbeTCP by default.
	Upstream UpstreamConfig
	// StripPrefix removes Path from requests, which the servers learn in X-Forwarded-Prefix.
	StripPrefix bool
	// Public lets requests without a session pass. Others get 401, or are redirected to the
	// login if they open a page.
	Public bool
	// Token is the access token that requests carry.
	Token RouteToken
	// RequestHeaders are header fields that reach the servers besides those of HTTP, as
	// Config.RequestHeaders are for Config.API.
	RequestHeaders []string
	// MaxBodyBytes bounds the body of a request; a longer one gets 413. Default: no limit
	// but that of the servers.
	MaxBodyBytes int64
}

// A RouteToken is the access token of a route. Its zero value is the token of the
// session, or none for a request without a session.
type RouteToken struct {
	// Kind is whose token it is. Default: TokenUser.
	Kind TokenKind
	// Audience is what the token is for, if it is another audience than that of the login.
	// The token must name it, or it is not used.
	Audience string
	// Scope is the scope that is requested, separated by spaces. Default: the provider's.
	Scope string
	// Grant is how a user's token with an Audience or a Scope is obtained. Default:
	// GrantRefresh.
	Grant TokenGrant
}

// A TokenKind says whose token requests carry.
type TokenKind string

// The kinds of tokens.
const (
	TokenUser   TokenKind = "user"   // the signed-in user's, if there is one
	TokenClient TokenKind = "client" // the bff's own, by client credentials (RFC 6749 §4.4)
	TokenNone   TokenKind = "none"   // no token
)

// A TokenGrant is how a user's token for another audience is obtained.
type TokenGrant string

// The grants.
const (
	GrantRefresh  TokenGrant = "refresh"  // by the refresh token, with audience, resource or scope
	GrantExchange TokenGrant = "exchange" // by token exchange (RFC 8693)
)

// api reports whether the route leads to Config.API.
func (r *Route) api() bool { return len(r.Upstream.Targets) == 0 }

// servers returns the addresses of the servers, as their requests name them.
func (r *Route) servers() []*url.URL {
	var servers []*url.URL
	for _, target := range r.Upstream.Targets {
		u, err := upstreamURL(target)
		switch {
		case err != nil: // Validate has accepted it
			continue
		case u.Scheme == "unix":
			u = &url.URL{Scheme: "http", Host: "localhost"}
		}
		servers = append(servers, u)
	}
	return servers
}

// validate returns what is wrong with a route by itself.
func (r *Route) validate() error {
	errs := []error{r.validatePath(), invalid.In("Token", r.Token.validate())}
	if r.api() {
		for field, given := range map[string]bool{
			"StripPrefix": r.StripPrefix, "RequestHeaders": len(r.RequestHeaders) > 0, "MaxBodyBytes": r.MaxBodyBytes != 0,
			"Upstream.Timeout": r.Upstream.Timeout != 0, "Upstream.Probe": r.Upstream.Probe != "", "Upstream.TLS": r.Upstream.TLS != nil,
		} {
			if given {
				errs = append(errs, &invalid.Error{Field: field, Problem: "has no effect for a route to the gateway",
					Remedy: "remove it, or give a server in Upstream.Targets"})
			}
		}
	} else {
		errs = append(errs, invalid.In("Upstream", r.Upstream.Validate()))
		for i, target := range r.Upstream.Targets {
			u, err := upstreamURL(target)
			if err == nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
				errs = append(errs, invalid.Field(fmt.Sprintf("Upstream.Targets[%d]", i), u.Redacted(),
					"has a user, a query or a fragment, which would not be used", "remove it"))
			}
		}
	}
	if r.MaxBodyBytes < 0 {
		errs = append(errs, invalid.Field("MaxBodyBytes", r.MaxBodyBytes, "is negative", "give a number of bytes, or 0 for no limit"))
	}
	return errors.Join(append(errs, headers.Check("RequestHeaders", r.RequestHeaders)...)...)
}

func (r *Route) validatePath() error {
	const example = "give a prefix such as /orders or /api/orders, which covers all paths below it"
	if r.Path == "" {
		return invalid.Missing("Path", example)
	}
	if err := prefixes.Check(r.Path); err != nil {
		remedy := example
		if r.Path == "/" {
			remedy += "; a server for all other paths is a front end"
		}
		return invalid.Field("Path", r.Path, err.Error(), remedy)
	}
	for _, own := range []string{"/api/auth", "/healthz", "/readyz"} {
		if route.Under(r.Path, own) {
			return invalid.Field("Path", r.Path, "is an address of the bff itself", "give another one")
		}
	}
	return nil
}

func (t RouteToken) validate() error {
	var errs []error
	kind := cmp.Or(t.Kind, TokenUser)
	switch {
	case !slices.Contains([]TokenKind{TokenUser, TokenClient, TokenNone}, kind):
		errs = append(errs, invalid.Field("Kind", t.Kind, "is no kind of token", fmt.Sprintf("give %s, %s or %s", TokenUser, TokenClient, TokenNone)))
	case kind == TokenNone && t.Audience+t.Scope != "":
		errs = append(errs, invalid.Field("Kind", t.Kind, "contradicts Audience and Scope", "remove them, or give another Kind"))
	case kind == TokenUser && t.Scope != "" && t.Audience == "":
		errs = append(errs, invalid.Missing("Audience", "give the audience that the token with this Scope must name"))
	}
	switch {
	case !slices.Contains([]TokenGrant{"", GrantRefresh, GrantExchange}, t.Grant):
		errs = append(errs, invalid.Field("Grant", t.Grant, "is no grant", fmt.Sprintf("give %s or %s", GrantRefresh, GrantExchange)))
	case t.Grant != "" && (kind != TokenUser || t.Audience == ""):
		errs = append(errs, invalid.Field("Grant", t.Grant, "has no effect", "remove it; it is for a user's token with an Audience"))
	}
	return errors.Join(errs...)
}

// validateRoutes returns what is wrong with each route, and with several beside each other.
func validateRoutes(routes []Route) error {
	var errs []error
	tokens := map[RouteToken]bool{}
	for _, r := range routes {
		if cmp.Or(r.Token.Kind, TokenUser) == TokenUser && r.Token.Audience != "" {
			tokens[RouteToken{Audience: r.Token.Audience, Scope: r.Token.Scope, Grant: cmp.Or(r.Token.Grant, GrantRefresh)}] = true
		}
	}
	if len(tokens) > session.MaxRoutes {
		errs = append(errs, invalid.Field("Routes", len(tokens), "is the number of different tokens for users, and a session keeps "+strconv.Itoa(session.MaxRoutes),
			"let routes share an audience and scope"))
	}
	for i := range routes {
		in := fmt.Sprintf("Routes[%d]", i)
		err := routes[i].validate()
		if err == nil {
			err = routes[i].conflict(routes, i)
		}
		errs = append(errs, invalid.In(in, err))
	}
	return errors.Join(errs...)
}

// refreshedAudiences returns the audiences for which the users' refresh tokens are used.
func refreshedAudiences(routes []Route) []string {
	var audiences []string
	for _, r := range routes {
		user := cmp.Or(r.Token.Kind, TokenUser) == TokenUser && r.Token.Audience != ""
		if user && cmp.Or(r.Token.Grant, GrantRefresh) == GrantRefresh && !slices.Contains(audiences, r.Token.Audience) {
			audiences = append(audiences, r.Token.Audience)
		}
	}
	return audiences
}

// conflict returns an error if the route at index i has the path of an earlier one, or
// leads to the addresses of another one around its rules.
func (r *Route) conflict(routes []Route, i int) error {
	for j := range routes[:i] {
		if strings.EqualFold(routes[j].Path, r.Path) {
			return invalid.Field("Path", r.Path, fmt.Sprintf("is also that of Routes[%d]", j), "drop one of the two")
		}
	}
	for j := range routes {
		other := &routes[j]
		if i == j || r.Public == other.Public && r.Token == other.Token {
			continue
		}
		for _, target := range r.Upstream.Targets {
			for _, theirs := range other.Upstream.Targets {
				if around := r.wayAround(other, target, theirs); around != "" && owner(routes, around) == i {
					return invalid.Field("Path", r.Path,
						fmt.Sprintf("leads to the addresses of Routes[%d] around its rules: %s reaches what %s does", j, around, other.Path),
						"give both the same Public and Token.Kind, or upstream paths that do not contain each other")
				}
			}
		}
	}
	return nil
}

// wayAround returns a path below r at which the addresses of another route are reached, ""
// if there is none.
func (r *Route) wayAround(other *Route, target, theirs string) string {
	host, root, ok := r.space(target)
	otherHost, otherRoot, otherOK := other.space(theirs)
	if !ok || !otherOK || host != otherHost {
		return ""
	}
	if rest, below := strings.CutPrefix(otherRoot, root); below && (rest == "" || rest[0] == '/') {
		return r.Path + rest
	}
	return ""
}

// space returns the server of a target, and the path under which the requests of the route
// arrive there.
func (r *Route) space(target string) (host, root string, ok bool) {
	u, err := upstreamURL(target)
	if err != nil {
		return "", "", false
	}
	host = strings.ToLower(u.Scheme + "://" + u.Host)
	if u.Scheme == "unix" {
		host, u = target, &url.URL{}
	}
	root = strings.TrimSuffix(u.Path, "/")
	if !r.StripPrefix {
		root += r.Path
	}
	return host, root, true
}

// owner returns the index of the route of a path.
func owner(routes []Route, path string) int {
	best := -1
	for i := range routes {
		if p := routes[i].Path; (path == p || strings.HasPrefix(path, p+"/")) && (best < 0 || len(p) > len(routes[best].Path)) {
			best = i
		}
	}
	return best
}

// routes are those of a BFF, with the API among them. nil means none.
type routes struct {
	table     *prefixes.Table
	handlers  []*forward.API
	labels    []string
	upstreams []func() *Upstream // made at the first call
}

// newRoutes returns the routes of a valid configuration. common is the configuration of
// the API.
func newRoutes(cfg Config, common forward.APIConfig, api *forward.API, tokens *routetoken.Tokens) *routes {
	rs := &routes{}
	var paths []string
	add := func(path string, handler *forward.API) {
		paths, rs.labels, rs.handlers = append(paths, path), append(rs.labels, path+"/*"), append(rs.handlers, handler)
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		c := common
		c.Path, c.Private = r.Path, !r.Public
		if !r.api() {
			c.Backend, c.Strip, c.MaxBodyBytes = true, r.StripPrefix, r.MaxBodyBytes
			c.RequestHeaders = headers.Canonical(r.RequestHeaders)
			c.Servers = r.servers()
			open := rs.open(cfg, r)
			c.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { open().ServeHTTP(w, req) })
		}
		source := routetoken.Route{Path: r.Path, Setting: cfg.SettingName(fmt.Sprintf("Routes[%d]", i)), Audience: r.Token.Audience, Scope: r.Token.Scope}
		switch {
		case r.Token.Kind == TokenNone:
			c.Token = forward.NoToken
		case r.Token.Kind == TokenClient:
			source.Grant = routetoken.Client
			c.Token, c.Source = forward.ClientToken, tokens.Source(source)
		case r.Token.Audience != "":
			source.Grant = routetoken.Grant(cmp.Or(r.Token.Grant, GrantRefresh))
			c.Token, c.Source = forward.RouteToken, tokens.Source(source)
		}
		add(r.Path, forward.NewAPI(c))
	}
	if !slices.Contains(paths, "/api") {
		add("/api", api)
	}
	rs.table = prefixes.New(paths)
	metrics.ObserveGauges(cfg.MeterProvider, metrics.UpstreamAddresses, rs.observe)
	return rs
}

// open returns a function that returns the servers of a route, which are probed from its
// first call on.
func (rs *routes) open(cfg Config, r *Route) func() *Upstream {
	open := sync.OnceValue(func() *Upstream {
		up := r.Upstream
		up.Probe = cmp.Or(up.Probe, ProbeTCP)
		if up.Probe == ProbeTCP {
			up.ProbeInterval = cmp.Or(up.ProbeInterval, time.Second)
		}
		up.MeterProvider = cfg.MeterProvider
		if up.Logger == nil {
			up.Logger = cfg.Logger.With("route", r.Path)
		}
		u, err := newUpstream(up, "upstream", metrics.UpstreamRoute)
		if err != nil {
			panic(err) // Validate has accepted it
		}
		return u
	})
	rs.upstreams = append(rs.upstreams, open)
	return open
}

// run probes the servers until the context ends.
func (rs *routes) run(ctx context.Context) {
	if rs == nil {
		return
	}
	for _, open := range rs.upstreams {
		defer func() { _ = open().Close() }() // returns nil
	}
	<-ctx.Done()
}

// observe measures the addresses of all routes together.
func (rs *routes) observe(_ context.Context, observe func(float64, ...string)) {
	sum := map[string]int{}
	for _, open := range rs.upstreams {
		for state, n := range open().counts() {
			sum[state] += n
		}
	}
	for state, n := range sum {
		observe(float64(n), metrics.UpstreamRoute, state)
	}
}

// serve answers a request that belongs to a route. It reports whether it has.
func (rs *routes) serve(w http.ResponseWriter, r *http.Request) bool {
	if rs == nil {
		return false
	}
	i, ok := rs.table.Find(r.URL)
	switch {
	case !ok:
		respond.Error(w, http.StatusNotFound, "no such address")
		return true
	case i < 0:
		return false
	}
	metrics.SetRoute(w, rs.labels[i])
	if rs.handlers[i].Backend() { // a gateway in this process logs its own route
		accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("route", rs.labels[i]))
	}
	rs.handlers[i].ServeHTTP(w, r)
	return true
}
