// Package routetoken owns the access tokens of routes that take another token
// than the session's: the client's own, and tokens for another audience. It
// leaves the session's own token, and the session's refresh token, to package
// refresh, requests to the provider to package rp, and answers to browsers to
// its caller.
package routetoken

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// A Grant is how the token of a route is obtained.
type Grant string

// The grants.
const (
	// Client is the client's own token, by the client credentials grant (RFC 6749 §4.4).
	Client Grant = metrics.RouteClient
	// Refresh is the user's, by the session's refresh token.
	Refresh Grant = metrics.RouteRefresh
	// Exchange is the user's, by a token exchange (RFC 8693) of the session's access token.
	Exchange Grant = metrics.RouteExchange
)

// A Route says which token the requests of a route carry.
type Route struct {
	// Path names the route in log lines. Setting names its element of the
	// configuration, such as "routes[1]".
	Path, Setting string
	Grant         Grant
	// Audience is what the token must be for. It is required, except with Client,
	// where "" means that the token is not examined.
	Audience string
	// Scope is the requested scope, "" for the provider's default.
	Scope string
}

// key returns what routes with the same tokens have in common.
func (r *Route) key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(r.Grant), r.Audience, r.Scope}, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// target returns what is requested.
func (r *Route) target() rp.Target { return rp.Target{Audience: r.Audience, Scope: r.Scope} }

// Config configures Tokens. All fields but MeterProvider and Tracer are required.
type Config struct {
	Sessions  *session.Manager
	Party     *rp.Party
	Refresher *refresh.Refresher
	// Setting returns the name of the setting for a field of bff.Config.
	Setting func(field string) string
	// Work counts what a stop of the process must wait for.
	Work          *inflight.Group
	Now           func() time.Time
	Logger        *slog.Logger
	MeterProvider metric.MeterProvider
	Tracer        *tracing.Tracer
}

// Tokens gives routes their tokens. It is safe for concurrent use.
type Tokens struct {
	cfg     Config
	results *metrics.Counter

	mu      sync.Mutex
	sources []*Source // each key once
}

// New returns Tokens.
func New(cfg Config) *Tokens {
	return &Tokens{cfg: cfg, results: metrics.NewCounter(cfg.MeterProvider, metrics.RouteTokens)}
}

// Source returns the source of a route's tokens. Routes that request the same share
// their tokens.
func (t *Tokens) Source(r Route) *Source {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := r.key()
	for _, src := range t.sources {
		if src.key == key {
			return src
		}
	}
	src := &Source{states: map[session.ID]*state{}, requester: &requester{
		cfg: t.cfg, route: r, key: key, circuit: t.cfg.Refresher.Circuit(r.Path), results: t.results,
		logged: map[string]time.Time{},
	}}
	t.sources = append(t.sources, src)
	return src
}

// Authorization returns the value of the Authorization header for a request of a
// session, nil with Client. [session.ErrNotFound] means that the session is over, an
// *[Error] that there is no token, any other error that the session store does not
// answer.
func (src *Source) Authorization(ctx context.Context, s *session.Session) (string, error) {
	token, err := src.get(ctx, s)
	if err != nil {
		return "", err
	}
	return bearerScheme + token.Access, nil
}

const bearerScheme = "Bearer "

// Refused tells that the upstream has refused a value of Authorization with 401. It
// reports whether Authorization will obtain another one: not if that was done a short
// while ago. It does not block.
func (src *Source) Refused(s *session.Session, authorization string) bool {
	access, ok := strings.CutPrefix(authorization, bearerScheme)
	return ok && src.refused(s, access)
}
