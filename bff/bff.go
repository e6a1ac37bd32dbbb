package bff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/account"
	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/frontend"
	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/logout"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/probe"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/routetoken"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/internal/storemeter"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
	"github.com/gatehouse-dev/gatehouse/internal/hook"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// socketTime bounds the wait for WebSockets at a stop: a browser has a second to
// receive the close frame.
const socketTime = 1500 * time.Millisecond

// requestTimeout bounds the calls of the provider for one request.
const requestTimeout = 10 * time.Second

// A BFF is an http.Handler for all requests of browsers. It is safe for
// concurrent use.
type BFF struct {
	secure   bool // the base URL is https
	provider *oidc.Provider
	party    *rp.Party
	client   ClientConfig // as it was configured
	limits   LimitsConfig
	origins  *origins.Origins
	sessions *session.Manager
	pages    *web.Pages
	respond  *respond.Responder
	hosts    *hostcheck.Hosts // nil for any
	logger   *slog.Logger
	tracer   *tracing.Tracer
	audit    *auditlog.Recorder
	auth     map[string]map[string]http.HandlerFunc // below /api/auth, by path and method
	handler  http.Handler

	login     *login.Handlers
	prober    *probe.Prober
	refresher *refresh.Refresher
	logout    *logout.Handlers
	pending   *logout.Revocations
	account   *account.Handlers
	api       *forward.API
	routes    *routes            // nil for none
	tokens    *routetoken.Tokens // of routes, nil without
	frontend  *frontend.Frontend
	// work counts the refreshes, code exchanges and revocations that Run waits
	// for, at most for workLimit.
	work      inflight.Group
	workLimit time.Duration
	sockets   inflight.Group // WebSockets and event streams, which end within socketTime of a stop
	alsoReady func() error   // nil for always
	reached   atomic.Bool    // provider and session store have answered
	unready   *throttle.Log  // of the reason
	limited   *metrics.Counter
	forged    *throttle.Log // requests of other origins
	misled    *throttle.Log // requests for other hosts
	stopping  chan struct{} // closed when this process is about to stop
	stop      sync.Once
}

// New returns a BFF. Its errors are those of [Config.Validate]. It makes no
// network connection; [BFF.Run] does.
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
		secure:    base.Scheme == "https",
		provider:  cfg.Provider,
		client:    cfg.Client,
		limits:    cfg.Limits,
		logger:    cfg.Logger,
		alsoReady: cfg.Ready,
		unready:   throttle.Every(unreadyInterval),
		forged:    throttle.Every(time.Minute),
		misled:    throttle.Every(time.Minute),
		stopping:  make(chan struct{}),
		workLimit: cfg.Sessions.RefreshTimeout + rp.ConnectTimeout,
	}
	if b.party, err = rp.New(cfg.party(base)); err != nil {
		return nil, fmt.Errorf("bff: %w", err)
	}
	b.prober = probe.New(b.party)
	logoutTokens, err := b.party.LogoutTokens()
	if err != nil {
		return nil, err
	}
	trusted := clientaddr.Trust{Proxies: cfg.TraceTrusted}
	if cfg.TraceTrusted == nil {
		trusted = clientaddr.Trust{Proxies: cfg.Access.TrustedProxies, UnixSocket: cfg.Access.TrustUnixSocket}
	}
	b.tracer = tracing.New(tracing.Config{Provider: cfg.TracerProvider, Part: "bff", Trusted: trusted})
	var ended func(context.Context, audit.Event)
	if cfg.Hooks.SessionEnded != nil {
		ended = hook.NewEnded(hook.EndedConfig{
			Call: cfg.Hooks.SessionEnded, Timeout: cfg.Hooks.Timeout, Begin: b.work.Begin, Logger: cfg.Logger,
		}).Observe
	}
	b.audit = auditlog.New(auditlog.Config{
		Handler: cfg.Audit, Observe: ended, Part: "bff", Now: cfg.Now, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
	})
	store := storemeter.Measure(cfg.Sessions.Store.(revocation.Store), cfg.MeterProvider, b.tracer, b.audit) // of the type: Validate
	limited := metrics.NewCounter(cfg.MeterProvider, metrics.LimitRejections)
	b.limited = limited
	streams := metrics.NewUpDownCounter(cfg.MeterProvider, metrics.StreamsOpen)
	manager := cfg.Sessions.manager()
	manager.Store = store
	manager.BaseURL, manager.Now, manager.Rand, manager.Logger = base, cfg.Now, cfg.Rand, cfg.Logger
	manager.Issuer = cfg.Provider.Issuer()
	manager.Evicted = func(ctx context.Context, r session.Record) {
		b.audit.Record(ctx, audit.Event{
			Action: audit.SessionEnded, Cause: audit.Evicted, Issuer: r.Issuer, Subject: r.Subject, Session: r.ID.String(),
		})
	}
	b.sessions, err = session.NewManager(manager)
	if err != nil {
		return nil, err
	}
	b.origins = origins.New(origins.Config{
		Base: base, SessionCookie: b.sessions.CookieName(), TrustedProxies: cfg.Access.TrustedProxies, TrustUnixSocket: cfg.Access.TrustUnixSocket,
		CrossSite: func(r *http.Request) bool { return r.URL.Path == route.BackchannelLogout || b.login.IsFormPost(r) },
	})
	rules, err := protect.New(protect.Config{Protect: cfg.Access.Protect, Public: cfg.Access.Public, Host: base.Host})
	if err != nil {
		return nil, err
	}
	if b.hosts, err = hostcheck.New(base.Hostname(), cfg.Access.AllowedHosts); err != nil {
		return nil, fmt.Errorf("allowed hosts: %w", err)
	}
	b.pages, err = web.New(web.Config{
		User: frontend.User, Unknown: frontend.Unknown, Sections: cfg.Pages.Sections, ErrorPages: cfg.Pages.ErrorPages, Catalog: cfg.Pages.Catalog,
		Call: cfg.Pages.Call, CallConfirmed: cfg.Pages.CallConfirmed, Logger: cfg.Logger, DevBanner: cfg.Pages.Development,
	})
	if err != nil {
		return nil, err
	}
	b.respond = respond.New(b.pages, cfg.Pages.ErrorPath, cfg.Pages.Catalog, cfg.Logger)
	pageTracer := b.tracer
	if cfg.Frontend == nil {
		cfg.Frontend, pageTracer = b.pages, nil
	}
	b.pending = logout.NewRevocations(logout.RevocationsConfig{
		Notes: b.sessions.Notes("revocation"), Party: b.party, Work: &b.work, Now: cfg.Now, Logger: cfg.Logger,
	})
	b.refresher = refresh.New(refresh.Config{
		Sessions: b.sessions, Party: b.party, RevokeAt: b.pending.At, Setting: cfg.SettingName,
		Work: &b.work, Now: cfg.Now, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider, Tracer: b.tracer, Audit: b.audit,
	})
	denier := denier{cfg.Revoke, cfg.Logger}
	revoker := revocation.New(revocation.Config{Store: store, Deny: denier.target, Now: cfg.Now})
	b.logout = logout.New(logout.Config{
		Base: base, Sessions: b.sessions, Provider: b.provider, Tokens: logoutTokens, Party: b.party,
		Deny: denier.session, Revoker: revoker, Revocations: b.pending, ForgetLogins: func(w http.ResponseWriter, r *http.Request) { b.login.ForgetHistory(w, r) },
		Origins: b.origins, Respond: b.respond, Now: cfg.Now, Logger: cfg.Logger, Audit: b.audit,
	})
	lookup := account.NewLookup(account.LookupConfig{
		Sessions: b.sessions, Expired: b.refresher.Expired, Now: cfg.Now, Logger: cfg.Logger, Audit: b.audit,
	})
	b.account = account.New(account.Config{
		Lookup: lookup, Logouts: b.logout, Tokens: b.refresher, Revoker: revoker, Denies: cfg.Revoke != nil,
		Limits:   account.Limits{Streams: cfg.Limits.MaxStreams, PerUser: cfg.Limits.MaxStreamsPerUser},
		Stopping: b.stopping, Work: &b.sockets, Respond: b.respond, Streams: streams, Limited: limited, Now: cfg.Now, Logger: cfg.Logger, Audit: b.audit,
	})
	api := forward.APIConfig{
		Handler: cfg.API, Path: "/api", Base: base, TokenAddress: cfg.TokenAddress,
		RequestHeaders: headers.Canonical(cfg.RequestHeaders), Sessions: lookup, Watcher: lookup, Tokens: b.refresher,
		Origins: b.origins, Stopping: b.stopping, Work: &b.sockets, Streams: streams, Respond: b.respond, Logger: cfg.Logger, Tracer: b.tracer,
	}
	b.api = forward.NewAPI(api)
	if len(cfg.Routes) > 0 {
		b.tokens = routetoken.New(routetoken.Config{
			Sessions: b.sessions, Party: b.party, Refresher: b.refresher, Setting: cfg.SettingName,
			Work: &b.work, Now: cfg.Now, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider, Tracer: b.tracer,
		})
		b.routes = newRoutes(cfg, api, b.api, b.tokens)
	}
	b.frontend = frontend.New(frontend.Config{
		Handler: cfg.Frontend, Rules: rules, Base: base, Manager: b.sessions, Sessions: lookup, Watcher: lookup,
		Returned: b.logout.Returned, Origins: b.origins, Stopping: b.stopping, Work: &b.sockets, Streams: streams, Respond: b.respond, Logger: cfg.Logger, Tracer: pageTracer,
	})
	redeemTimeout := requestTimeout
	if cfg.Hooks.SignIn != nil {
		redeemTimeout += cfg.Hooks.Timeout
	}
	b.login = login.New(login.Config{
		SignIn: cfg.Hooks.signIn(cfg.Logger), Discard: b.pending.Now,
		Base: base, Party: b.party, Sessions: b.sessions, Revoker: revoker, Undo: b.logout.Undo,
		FormPost: cfg.Login.ResponseMode == ModeFormPost, Parameters: cfg.Login.Parameters, Rate: cfg.Login.Rate, Work: &b.work, Limit: redeemTimeout,
		Origins: b.origins, Respond: b.respond, Setting: cfg.SettingName, Now: cfg.Now, Rand: cfg.Rand, Logger: cfg.Logger,
		MeterProvider: cfg.MeterProvider, Limited: limited, Audit: b.audit,
	})
	b.auth = b.authRoutes()
	b.handler = b.chain(metrics.NewHTTP(cfg.MeterProvider, metrics.PartBFF))
	return b, nil
}

// Join announces this bff to the others that share its session store; see
// session.Manager.Join. Without it, Run does.
func (b *BFF) Join(ctx context.Context) error { return b.sessions.Join(ctx) }

// SetSecrets replaces SessionConfig.Secrets; see [session.Manager.SetSecrets].
func (b *BFF) SetSecrets(ctx context.Context, secrets []string) error {
	return b.sessions.SetSecrets(ctx, secrets)
}

// SetClientCredential replaces ClientConfig.Secret and ClientConfig.Key. Requests to
// the provider that have begun use the credential before. Its error is that of
// [Config.Validate].
func (b *BFF) SetClientCredential(secret, key string) error {
	cfg := b.client
	cfg.Secret, cfg.Key = secret, key
	if err := cfg.validate(); err != nil {
		return invalid.In("Client", err)
	}
	return b.party.SetCredential(secret, key)
}

// Run does the work outside requests until the context ends: it refreshes the
// provider's metadata and keys, removes expired sessions, receives the events of
// the session store, and revokes refresh tokens after logouts. Then it revokes
// the tokens that this process still has to, and returns when no refresh, code
// exchange or revocation is under way, or 5 seconds after
// SessionConfig.RefreshTimeout with an error.
func (b *BFF) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return b.provider.Run(running) })
	group.Go(func() error { return b.sessions.Run(running) })
	group.Go(func() error { b.pending.Run(running); return nil })
	group.Go(func() error { b.refresher.Run(running); return nil })
	group.Go(func() error { b.routes.run(running); return nil })
	group.Go(func() error { b.prober.LogMismatches(running); return nil })
	err := group.Wait()
	b.endStreams()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), socketTime)
	defer cancel()
	b.sockets.Wait(bounded)
	defer b.audit.Flush()
	return errors.Join(err, b.finishWork(ctx))
}

// finishWork waits for the work outside requests. An interrupted refresh would
// lose the refresh token that the provider has just rotated.
func (b *BFF) finishWork(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.workLimit)
	defer cancel()
	if left := b.work.Wait(bounded); left > 0 {
		return fmt.Errorf("bff: %d refreshes, code exchanges or revocations not finished within %v", left, b.workLimit)
	}
	return nil
}

// endStreams ends all streams. Their browsers connect to another process.
func (b *BFF) endStreams() {
	b.stop.Do(func() { close(b.stopping) })
	b.api.Drain()
}

// ServeHTTP answers one request.
func (b *BFF) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }
