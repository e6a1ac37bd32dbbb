package bff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A BFF is an http.Handler for everything a browser asks for. It is safe for
// concurrent use.
type BFF struct {
	base     *url.URL
	denies   func(context.Context, Revocation) error // nil for nobody
	secure   bool                                    // the base URL is https
	provider *oidc.Provider
	rp       *relyingParty
	logouts  *token.LogoutVerifier
	origins  *origins.Origins
	keys     sealer
	sessions *session.Manager
	pages    *web.Pages
	respond  *respond.Responder
	frontend http.Handler
	tokensAt string // for clients with bearer tokens
	api      http.Handler
	rules    *protect.Rules
	hosts    *hostcheck.Hosts // nil for any
	now      func() time.Time
	rand     io.Reader
	logger   *slog.Logger
	handler  http.Handler

	refresher *refresh.Refresher
	pending   *revocations
	// work is what a stop waits for besides requests: refreshes, code
	// exchanges, revocations.
	work      inflight.Group
	workLimit time.Duration // how long a stop waits for it
	// usedTokens are the logout tokens that have done their work.
	usedTokens session.Notes
	revoker    *revocation.Revoker
	once       *login.Once // redeems codes
	moved      sync.Once   // the log of logins at another host
	streams    streamCount
	leaving    chan struct{} // closed when this process is about to end
	leave      sync.Once
	starts     *loginStarts
	touches    touchFailures
}

// A sealer seals what browsers keep for us under a secret that all live nodes
// have.
type sealer interface {
	Seal(purpose string, salt, plaintext []byte) ([]byte, error)
	Open(purpose string, salt, sealed []byte) ([]byte, error)
}

// New builds a bff. Every error names what is wrong with which setting, and
// how to mend it. It contacts nobody; Run does.
func New(cfg Config) (*BFF, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bff: %w", err)
	}
	cfg = cfg.withDefaults()
	base, err := origin.Parse(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	b := &BFF{
		base:      base,
		secure:    base.Scheme == "https",
		provider:  cfg.Provider,
		api:       cfg.API,
		tokensAt:  cfg.TokenAddress,
		denies:    cfg.Revoke,
		frontend:  cfg.Frontend,
		now:       cfg.Now,
		rand:      cfg.Rand,
		logger:    cfg.Logger,
		leaving:   make(chan struct{}),
		starts:    newLoginStarts(cfg.Login.Rate, cfg.Now),
		workLimit: cfg.Sessions.RefreshTimeout + connectTimeout,
		touches:   touchFailures{log: throttle.Every(time.Minute)},
	}
	if b.provider == nil {
		b.provider, err = oidc.NewProvider(oidc.Config{
			Issuer: cfg.Issuer, InternalURL: cfg.ProviderInternalURL, InsecureInternalHTTP: cfg.InsecureProviderHTTP,
			HTTPClient: cfg.HTTPClient, Now: cfg.Now, Logger: cfg.Logger,
		})
		if err != nil {
			return nil, err
		}
	}
	if b.rp, err = newRelyingParty(cfg, b.provider, base); err != nil {
		return nil, err
	}
	b.logouts, err = token.NewLogoutVerifier(token.LogoutConfig{Provider: b.provider, ClientID: cfg.Client.ID, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	b.sessions, err = session.NewManager(session.ManagerConfig{
		Store:           cfg.Sessions.Store,
		Secrets:         cfg.Sessions.Secrets,
		IdleTimeout:     cfg.Sessions.IdleTimeout,
		AbsoluteTimeout: cfg.Sessions.AbsoluteTimeout,
		BaseURL:         base,
		CookieName:      cfg.Sessions.CookieName,
		Now:             cfg.Now,
		Rand:            cfg.Rand,
		Logger:          cfg.Logger,

		SecretsCompromised: cfg.Sessions.SecretsCompromised,
		Nodes:              cfg.Sessions.Nodes,
	})
	if err != nil {
		return nil, err
	}
	b.keys = b.sessions
	b.origins = origins.New(origins.Config{
		Base: base, SessionCookie: b.sessions.CookieName(), TrustedProxies: cfg.Access.TrustedProxies,
		CrossSite: func(r *http.Request) bool { return r.URL.Path == route.BackchannelLogout || b.postsForm(r) },
	})
	if b.rules, err = protect.New(protect.Config{Protect: cfg.Access.Protect, Public: cfg.Access.Public, Host: base.Host}); err != nil {
		return nil, err
	}
	if b.hosts, err = hostcheck.New(base.Hostname(), cfg.Access.AllowedHosts); err != nil {
		return nil, fmt.Errorf("allowed hosts: %w", err)
	}
	b.pages, err = web.New(web.Config{User: pageUser, Unknown: userUnknown, Sections: cfg.Pages.Sections, Call: cfg.Pages.Call, CallConfirmed: cfg.Pages.CallConfirmed, Logger: cfg.Logger, DevBanner: cfg.Pages.Development})
	if err != nil {
		return nil, err
	}
	b.respond = respond.New(respond.Config{Pages: b.pages, Logger: cfg.Logger})
	if b.frontend == nil {
		b.frontend = b.pages
	}
	b.pending = newRevocations(b)
	b.refresher = b.newRefresher(cfg)
	b.usedTokens = b.sessions.Notes("logout token")
	b.revoker = revocation.New(revocation.Config{Store: cfg.Sessions.Store.(revocation.Store), Deny: b.denyTarget, Now: cfg.Now})
	b.once = login.New(login.Config{
		Marks: b.sessions.Notes("login attempt"), Outcomes: b.sessions.Notes("login outcome"),
		Sealer: b.keys, Work: &b.work, Limit: requestTimeout, Now: cfg.Now, Logger: cfg.Logger,
	})
	b.streams.count = map[session.ID]int{}
	b.handler = b.chain()
	return b, nil
}

// Join announces this bff to the others that share its session store; see
// session.Manager.Join. Call it before requests are served; Run does it
// otherwise.
func (b *BFF) Join(ctx context.Context) error { return b.sessions.Join(ctx) }

// Run keeps the provider's metadata and keys fresh and expired sessions away,
// hears of sessions that end elsewhere, and revokes the refresh tokens of
// logouts whose browser does not come back, until the context ends. Then it
// revokes those that are still waiting here, and returns when no refresh, code
// exchange or revocation is under way any more, or 5 seconds after
// Config.RefreshTimeout.
func (b *BFF) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return b.provider.Run(running) })
	group.Go(func() error { return b.sessions.Run(running) })
	group.Go(func() error { b.pending.loop(running); return nil })
	group.Go(func() error { b.refresher.Run(running); return nil })
	group.Go(func() error { b.logMismatches(running); return nil })
	err := group.Wait()
	b.goodbye()
	return errors.Join(err, b.finishWork(ctx))
}

// finishWork waits for what is under way without a request. Cut off, a refresh
// would lose the refresh token that the provider has just rotated.
func (b *BFF) finishWork(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.workLimit)
	defer cancel()
	if left := b.work.Wait(bounded); left > 0 {
		return fmt.Errorf("bff: %d refreshes, code exchanges or revocations not finished within %v", left, b.workLimit)
	}
	return nil
}

// goodbye ends all streams, whose browsers then ask another process.
func (b *BFF) goodbye() {
	b.leave.Do(func() { close(b.leaving) })
	if api, ok := b.api.(drainer); ok {
		api.Drain()
	}
}

// Ready says why nobody can sign in at the moment, nil if they can.
func (b *BFF) Ready() error {
	if err := b.provider.Ready(); err != nil {
		return err
	}
	md, err := b.provider.Metadata()
	if err != nil {
		return err
	}
	return b.rp.fits(md)
}

// ServeHTTP answers one request.
func (b *BFF) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }
