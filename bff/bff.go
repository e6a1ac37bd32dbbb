package bff

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
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
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// DefaultScope is asked for when Config.Scope is empty. offline_access, which
// brings a refresh token, is left out where the provider does not list it, and
// at Keycloak, which gives one without.
const DefaultScope = "openid profile email offline_access"

// DefaultRefreshTimeout is how long the provider may take to answer a refresh
// when Config.RefreshTimeout is 0.
const DefaultRefreshTimeout = 30 * time.Second

// The values of Config.OfflineConsent.
const (
	ConsentAuto   = ""       // where the provider is not known to do without
	ConsentAlways = "always" // at every login
	ConsentNever  = "never"
)

// DefaultProtect is protected when Config.Protect and Config.Public are nil:
// the private pages of the embedded front end.
var DefaultProtect = []string{"/private/:path*", "/profile/:path*", "/my/:path*", "/sessions/:path*"}

// Config describes a bff. BaseURL, Issuer, ClientID, Secrets, Store and API
// are required.
type Config struct {
	// BaseURL is the origin that browsers see, without a path:
	// "https://shop.example". http is for loopback only.
	BaseURL string

	// Issuer is the OpenID provider, as an https URL (http on loopback).
	Issuer string
	// ProviderInternalURL is where the provider is called, if not at Issuer: an
	// origin, such as "https://keycloak.auth.svc:8443", that replaces scheme, host
	// and port of each call that this process makes. Browsers are sent to the
	// provider's own addresses all the same.
	ProviderInternalURL string
	// InsecureProviderHTTP lets ProviderInternalURL be http off loopback: the
	// client's secret, codes and tokens are then sent in the clear.
	InsecureProviderHTTP bool
	// ClientID and ClientSecret are this client's, as registered there.
	ClientID, ClientSecret string
	// ClientKey is what this client has instead of a secret: one or several
	// private keys, in PEM or as JWK or JWK set (RSA, or ECDSA on P-256). The
	// first signs, all are published at /api/auth/jwks.json. Without secret
	// and key the client is a public one, and PKCE alone protects the code.
	ClientKey string
	// ClientAuth is how the client authenticates, one of the Auth constants.
	// "" takes what goes with the credential that there is; a secret is sent
	// as the provider lists, basic first.
	ClientAuth string
	// AssertionAudience is the audience of the assertions that are signed with
	// ClientKey: AssertionForIssuer or AssertionForTokenEndpoint; "" for the
	// issuer.
	AssertionAudience string
	// ResponseMode is how the provider is asked to answer; one of the Mode
	// constants.
	ResponseMode string
	// OmitPAR turns off pushed authorization requests (RFC 9126), which are
	// made where the provider offers them.
	OmitPAR bool
	// Audience is the API's identifier. It is asked for at login as
	// "audience" and, if it is an absolute URI, as "resource" (RFC 8707), and
	// again at each token request. OmitAudience and OmitResource turn either
	// off for providers that refuse it.
	Audience                   string
	OmitAudience, OmitResource bool
	// Scope is asked for at login, separated by spaces; "" for DefaultScope.
	Scope string

	// OfflineConsent says whether a login that asks for offline access
	// prompts for consent; one of the Consent constants.
	OfflineConsent string

	// Secrets are the key material for cookies and stored tokens, 32
	// characters at least, newest first. All of them open, and the first that
	// all live nodes have seals.
	Secrets []string
	// SecretsCompromised says that secrets which are not given here must not
	// be used any more; see session.ManagerConfig.
	SecretsCompromised bool
	// Nodes is how many bffs share the store, this one included; 0 if that is
	// not known.
	Nodes int
	// Store keeps the sessions.
	Store session.Store
	// IdleTimeout and AbsoluteTimeout end sessions; 0 for 24 hours and 7
	// days.
	IdleTimeout, AbsoluteTimeout time.Duration
	// CookieName is the session cookie's name, without the prefix __Host- that
	// it has over https; "" for "gatehouse". The names of other cookies begin
	// with it. Instances on one host need different ones.
	CookieName string
	// RefreshTimeout is how long the provider may take to answer a refresh,
	// besides 5 seconds to connect; 0 for DefaultRefreshTimeout.
	RefreshTimeout time.Duration

	// Revoke, when set, is told of access tokens that must stop being good
	// before they expire, because a person has signed out or the provider has
	// ended sessions. An error is logged; the logout goes on.
	Revoke func(context.Context, Revocation) error

	// API answers /api and everything below, save /api/auth/: the gateway, or
	// [NewProxy] to one in another process. When the server that [BFF.Server]
	// returns shuts down, its method Drain is called, if it has one, to end its
	// streams; those of an API without it are ended here.
	API http.Handler
	// TokenAddress is where clients with bearer tokens reach the API, such as
	// "https://api.example". A client that sends its token to the bff is told;
	// "" tells it only that there is a gateway.
	TokenAddress string
	// Frontend answers everything else; nil for the embedded pages.
	Frontend http.Handler
	// Pages are more of the embedded pages, in the same frame. Call is what
	// their page /private calls in the person's name, a path below /api; ""
	// for nothing. CallConfirmed is another one, which wants a stronger sign-in.
	Pages               []web.Section
	Call, CallConfirmed string
	// Protect lists the front end's pages that need a login, in the manner of
	// a Next.js matcher: "/private", "/orders/:id", "/private/:path*". A page
	// in any case, with any extension, and everything below it belong to the
	// page. nil for DefaultProtect; empty and not nil for none.
	Protect []string
	// Public, if it is not nil, replaces Protect: it lists the paths that need
	// no login, by the same patterns, and all others need one. Recommended for
	// front-end servers, which give a page's data under addresses of their own.
	Public []string
	// AllowedHosts are the names, beside those of loopback, to which a BFF with
	// a BaseURL on loopback answers; requests with another Host get 421. Health
	// checks and back-channel logout have no such limit.
	AllowedHosts []string
	// TrustedProxies are the networks whose X-Forwarded-For is believed for
	// the address of a browser.
	TrustedProxies []netip.Prefix
	// LoginRate is how many logins one address (an IPv6 /64) may start in a
	// minute; 0 for DefaultLoginRate.
	LoginRate int
	// Development shows on the embedded pages that this is no production.
	Development bool

	// Provider is the provider that another part of the same process already
	// follows; nil makes one from Issuer and ProviderInternalURL.
	Provider *oidc.Provider
	// HTTPClient calls the provider; nil for one of its own. A call ends
	// within 5 seconds, and a refresh as RefreshTimeout says, whatever the
	// Timeout of the client.
	HTTPClient *http.Client
	// SettingName returns what a program calls a field of Config, for log lines
	// that tell an operator which one to look at; nil for the field's own name.
	SettingName func(field string) string
	// Now is the clock; nil for time.Now.
	Now func() time.Time
	// Rand is the source of all secrets; nil for crypto/rand.
	Rand io.Reader
	// Logger gets one line a request; nil for none.
	Logger *slog.Logger
}

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
	withDefaults(&cfg)
	base, err := parseBaseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	store, ok := cfg.Store.(revocation.Store)
	switch {
	case cfg.ClientID == "":
		return nil, errors.New("client id: missing; enter the one that the provider gave this application")
	case cfg.LoginRate < 0:
		return nil, fmt.Errorf("login rate %d: negative; give how many logins one address may start in a minute", cfg.LoginRate)
	case cfg.RefreshTimeout < 0:
		return nil, fmt.Errorf("refresh timeout %v: negative; give how long the provider may take to answer a refresh", cfg.RefreshTimeout)
	case cfg.Store == nil:
		return nil, errors.New("session store: missing")
	case !ok:
		return nil, fmt.Errorf("session store: %T keeps no notes: have it implement session.NoteStore, or embed session.LocalNotes if it belongs to one process", cfg.Store)
	case cfg.API == nil:
		return nil, errors.New("API: missing; give the gateway, or NewProxy to it")
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
		starts:    newLoginStarts(cfg.LoginRate, cfg.Now),
		workLimit: cfg.RefreshTimeout + connectTimeout,
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
	b.logouts, err = token.NewLogoutVerifier(token.LogoutConfig{Provider: b.provider, ClientID: cfg.ClientID, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	b.sessions, err = session.NewManager(session.ManagerConfig{
		Store:           cfg.Store,
		Secrets:         cfg.Secrets,
		IdleTimeout:     cfg.IdleTimeout,
		AbsoluteTimeout: cfg.AbsoluteTimeout,
		BaseURL:         base,
		CookieName:      cfg.CookieName,
		Now:             cfg.Now,
		Rand:            cfg.Rand,
		Logger:          cfg.Logger,

		SecretsCompromised: cfg.SecretsCompromised,
		Nodes:              cfg.Nodes,
	})
	if err != nil {
		return nil, err
	}
	b.keys = b.sessions
	b.origins = origins.New(origins.Config{
		Base: base, SessionCookie: b.sessions.CookieName(), TrustedProxies: cfg.TrustedProxies,
		CrossSite: func(r *http.Request) bool { return r.URL.Path == route.BackchannelLogout || b.postsForm(r) },
	})
	if b.rules, err = protect.New(protect.Config{Protect: cfg.Protect, Public: cfg.Public, Host: base.Host}); err != nil {
		return nil, err
	}
	if b.hosts, err = hostcheck.New(base.Hostname(), cfg.AllowedHosts); err != nil {
		return nil, fmt.Errorf("allowed hosts: %w", err)
	}
	b.pages, err = web.New(web.Config{User: pageUser, Unknown: userUnknown, Sections: cfg.Pages, Call: cfg.Call, CallConfirmed: cfg.CallConfirmed, Logger: cfg.Logger, DevBanner: cfg.Development})
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
	b.revoker = revocation.New(revocation.Config{Store: store, Deny: b.denyTarget, Now: cfg.Now})
	b.once = login.New(login.Config{
		Marks: b.sessions.Notes("login attempt"), Outcomes: b.sessions.Notes("login outcome"),
		Sealer: b.keys, Work: &b.work, Limit: requestTimeout, Now: cfg.Now, Logger: cfg.Logger,
	})
	b.streams.count = map[session.ID]int{}
	b.handler = b.chain()
	return b, nil
}

func withDefaults(cfg *Config) {
	if cfg.LoginRate == 0 {
		cfg.LoginRate = DefaultLoginRate
	}
	if cfg.RefreshTimeout == 0 {
		cfg.RefreshTimeout = DefaultRefreshTimeout
	}
	if cfg.Protect == nil && cfg.Public == nil {
		cfg.Protect = DefaultProtect
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	cfg.Logger = requestid.Logger(cfg.Logger)
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{}
	}
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

func parseBaseURL(raw string) (*url.URL, error) {
	base, err := origin.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("base URL%s: %w", origin.Shown(raw), err)
	}
	return base, nil
}
