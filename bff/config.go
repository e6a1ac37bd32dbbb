package bff

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

const (
	// DefaultScope is requested when LoginConfig.Scope is empty. offline_access
	// is left out where the provider does not list it, and at Keycloak, which
	// issues refresh tokens without it.
	DefaultScope = "openid profile email offline_access"

	// DefaultLoginRate is the number of logins a minute when LoginConfig.Rate
	// is 0. It is enough for an office behind one address, and too low to
	// burden a provider.
	DefaultLoginRate = 120

	// DefaultRefreshTimeout is used when SessionConfig.RefreshTimeout is 0.
	DefaultRefreshTimeout = 30 * time.Second
)

// DefaultProtect is used when AccessConfig.Protect and AccessConfig.Public are
// nil: the private pages of the embedded front end.
var DefaultProtect = []string{"/private/:path*", "/profile/:path*", "/my/:path*", "/sessions/:path*"}

// An AuthMethod is a client authentication method of OpenID Connect Core §9.
type AuthMethod string

// The supported client authentication methods.
const (
	AuthBasic      AuthMethod = "client_secret_basic"
	AuthPost       AuthMethod = "client_secret_post"
	AuthPrivateKey AuthMethod = "private_key_jwt"
	AuthNone       AuthMethod = "none" // a public client: PKCE alone protects the code
)

// An AssertionAudience is the audience of client assertions (RFC 7523).
type AssertionAudience string

const (
	// AssertionForIssuer is the provider's issuer, as in RFC 9126 §2 and FAPI
	// 2.0. It is the default.
	AssertionForIssuer AssertionAudience = "issuer"
	// AssertionForTokenEndpoint is for providers that accept no other audience,
	// among them Ory Hydra, Okta and Entra. Do not use it for a client whose key
	// is registered at several providers: one of them could publish another's
	// token endpoint as its own, and authenticate there as the client.
	AssertionForTokenEndpoint AssertionAudience = "token_endpoint"
)

// A ResponseMode is how the provider returns the authorization response.
type ResponseMode string

// The supported response modes.
const (
	ModeQuery    ResponseMode = ""          // in the query of the callback: the provider's default
	ModeFormPost ResponseMode = "form_post" // in a form, so that the code is in no address, history or log
)

// An OfflineConsent says whether a login that requests offline access prompts
// for consent.
type OfflineConsent string

// The values of an OfflineConsent.
const (
	ConsentAuto   OfflineConsent = ""       // always, except at providers known not to need it
	ConsentAlways OfflineConsent = "always" // at every login
	ConsentNever  OfflineConsent = "never"
)

// Config configures a BFF. BaseURL, Provider, Client.ID, Sessions.Store,
// Sessions.Secrets and API are required.
type Config struct {
	// BaseURL is the origin that browsers see, without a path, such as
	// "https://shop.example". http is accepted on loopback only.
	BaseURL string

	// Provider is the OpenID provider. Parts of one process share one.
	Provider *oidc.Provider

	// Client is this client, as registered at the provider.
	Client ClientConfig
	// Login configures the authorization requests.
	Login LoginConfig
	// Sessions configures sessions, their cookie and their store.
	Sessions SessionConfig
	// Limits bounds what clients can take of the process.
	Limits LimitsConfig
	// Pages configures the embedded pages.
	Pages PagesConfig
	// Access says which requests are served, and which pages need a login.
	Access AccessConfig

	// Hooks are functions of the application.
	Hooks Hooks

	// Revoke is called for access tokens that are no longer accepted although
	// they have not expired, because the user has signed out or the provider
	// has ended sessions. It may be nil. Its error is logged; the logout goes
	// on. It is called by several goroutines at once.
	Revoke func(context.Context, Revocation) error

	// API serves /api and the addresses below it, except /api/auth/. It is a
	// gateway, or an [Upstream] to one in another process. When the server that
	// [BFF.Server] returns shuts down, the method Drain of API is called, if
	// there is one, to end its streams. Streams of an API without it are ended
	// here.
	API http.Handler
	// RequestHeaders are header fields that reach the API besides those of HTTP: fields of the
	// application's own, such as "Idempotency-Key". Browsers choose their values. Names
	// that parts, proxies or protocols use are refused. The gateway needs the same list.
	// Default: none.
	RequestHeaders []string
	// Routes are the paths whose requests do not go to API or Frontend, or go to API by
	// rules of their own. Default: none.
	Routes []Route
	// TokenAddress is where clients with bearer tokens reach the API, such as
	// "https://api.example". It is told to clients that send a token to the
	// bff.
	TokenAddress string
	// Frontend serves all other addresses. Default: the embedded pages.
	Frontend http.Handler
	// Ready returns why the bff should get no requests, or nil: a condition of
	// /readyz besides those of [BFF.Ready]. It is called concurrently. Default:
	// none.
	Ready func() error

	// HTTPClient calls the provider. Its Timeout and CheckRedirect are not
	// used: a call ends within 5 seconds, a refresh as Sessions.RefreshTimeout
	// says, and redirects are not followed. Default: a client with
	// http.DefaultTransport.
	HTTPClient *http.Client
	// SettingName returns the name of the program's setting for a field of
	// Config, such as "Client.Secret", for log lines and results of [BFF.Check]
	// that tell an operator what to change. Default: the field's own name.
	SettingName func(field string) string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Rand is the source of secrets. Default: crypto/rand.Reader.
	Rand io.Reader
	// Logger gets one line for each request. Default: none.
	Logger *slog.Logger
	// Audit gets an event for each sign-in and sign-out, and for what package audit
	// lists besides. Provider has one of its own. Default: none.
	Audit audit.Handler
	// MeterProvider makes the instruments of the bff's metrics. Default: none.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the tracer of the bff's spans. Default: none.
	TracerProvider trace.TracerProvider
	// TraceTrusted are the networks of the proxies whose trace is continued, with
	// their decision whether to record it. Such a proxy must not pass on the
	// traceparent of a browser: that of other clients becomes a link. Baggage is
	// never passed on. Default: those of Access, if it is nil.
	TraceTrusted []netip.Prefix
}

// ClientConfig is a client as it is registered at the provider.
type ClientConfig struct {
	// ID is the client_id. It is required.
	ID string
	// Secret is the client_secret. Without Secret and Key the client is a
	// public one.
	Secret string
	// Key is one or several private keys, in PEM or as a JWK or JWK set (RSA, or
	// ECDSA on P-256). The first one signs client assertions; the public
	// halves of all are published at /api/auth/jwks.json.
	Key string
	// Auth is the client authentication method. Default: private_key_jwt with
	// Key, none without a credential; with Secret client_secret_basic, or
	// client_secret_post if the provider lists that alone.
	Auth AuthMethod
	// AssertionAudience is the audience of client assertions. Default:
	// AssertionForIssuer.
	AssertionAudience AssertionAudience
}

// LoginConfig configures authorization requests.
type LoginConfig struct {
	// Scope is the requested scope, separated by spaces. Default: DefaultScope.
	Scope string
	// Audience is the identifier of the API. It is requested as "audience" and,
	// if it is an absolute URI, as "resource" (RFC 8707), at login and at each
	// token request.
	Audience string
	// OpaqueTokens says that the server accepts opaque access tokens, by introspection,
	// so that the log does not warn of them. Default: it accepts JWTs only.
	OpaqueTokens bool
	// OmitAudience and OmitResource leave one of these parameters out, for
	// providers that refuse it.
	OmitAudience, OmitResource bool
	// OfflineConsent says when to prompt for consent to offline access.
	OfflineConsent OfflineConsent
	// ResponseMode is how the provider returns the authorization response.
	ResponseMode ResponseMode
	// OmitPAR turns off pushed authorization requests (RFC 9126), which are
	// used where the provider offers them.
	OmitPAR bool
	// Parameters are parameters of the provider's own for authorization requests: NAME for
	// one that a link to the login may give, such as "kc_idp_hint", besides those that
	// docs/login.md lists, and NAME=VALUE for one that each request has, such as
	// "hd=shop.example" or "organization=org_shop". A link can change one of these only if
	// its NAME is an element too, and prompt, max_age and acr_values always, since step-up
	// needs that: require them by policies. Those that the bff sets itself are refused.
	// Default: none.
	Parameters []string
	// IDTokenAlgorithms are the signature algorithms that are accepted of ID tokens,
	// logout tokens and signed userinfo: of RS256, PS256, ES256 and EdDSA (Ed25519). Those
	// of access tokens are the server's to choose. Default: RS256 alone.
	IDTokenAlgorithms []string
	// Rate is the number of logins that one address (an IPv6 /64) may start in
	// a minute. Default: DefaultLoginRate.
	Rate int
}

// SessionConfig configures sessions. Store and Secrets are required.
type SessionConfig struct {
	// Store keeps the sessions. The BFF does not close it.
	Store session.Store
	// Secrets are the key material for cookies and stored tokens, of at least
	// 32 characters each, newest first. All of them open; the first one that
	// all live nodes have seals.
	Secrets []string
	// SecretsCompromised says that secrets other than Secrets must no longer be
	// used; see [session.ManagerConfig].
	SecretsCompromised bool
	// Nodes is the number of bffs that share the store, this one included, or
	// 0 if it is not known.
	Nodes int
	// IdleTimeout ends a session that is not used. Default:
	// session.DefaultIdleTimeout.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends every session. Default:
	// session.DefaultAbsoluteTimeout.
	AbsoluteTimeout time.Duration
	// MaxPerUser is how many sessions a user may have. A login beyond it ends the
	// least recently used one. Default: session.DefaultMaxPerUser.
	MaxPerUser int
	// CookieName is the session cookie's name without the prefix __Host-, which
	// it has over https. Names of other cookies begin with it. Instances on one
	// host need different ones. Default: session.CookieName.
	CookieName string
	// RefreshTimeout is how long the provider may take to answer a refresh, in
	// addition to 5 seconds to connect. Default: DefaultRefreshTimeout.
	RefreshTimeout time.Duration
}

// LimitsConfig bounds what clients can take of a process. Zero values are the
// defaults.
type LimitsConfig struct {
	// MaxStreams is how many event streams of sessions may be open, at about 16 KB
	// each. More get 429. Default: DefaultMaxStreams.
	MaxStreams int
	// MaxStreamsPerUser is how many of them one user may have. Default:
	// DefaultMaxStreamsPerUser.
	MaxStreamsPerUser int
	// MaxConnStreams bounds the requests in flight of one HTTP/2 connection. Further
	// ones wait. Default: DefaultMaxConnStreams.
	MaxConnStreams int
	// MaxHeaderBytes bounds the header of a request without its cookies, in bytes. A
	// larger one gets 431. Default: DefaultMaxHeaderBytes.
	MaxHeaderBytes int
}

// The defaults of LimitsConfig.
const (
	DefaultMaxStreams        = 15_000
	DefaultMaxStreamsPerUser = 100
	DefaultMaxConnStreams    = 100
	DefaultMaxHeaderBytes    = 64 << 10
)

// PagesConfig configures the embedded pages.
type PagesConfig struct {
	// Catalog has name, logo, colors and texts of the pages. Default: the
	// built-in one, in English.
	Catalog *catalog.Catalog
	// Sections are the application's pages, shown after those of package web.
	Sections []web.Section
	// ErrorPages has templates of the application for the pages of problems and for
	// pages that do not exist; see [web.Config]. Those of problems are shown with any
	// front end. Default: the pages of package web.
	ErrorPages fs.FS
	// ErrorPath is the path of a page of the front end that shows problems instead,
	// such as "/error". It must need no login. Browsers are redirected there with the
	// parameters code, status, request, and reason and returnTo if there are any; the
	// text is the page's own. Default: none.
	ErrorPath string
	// Call is a path below /api that the page /private calls for the signed-in
	// user. Without it the page has no button.
	Call string
	// CallConfirmed is a second such path, which needs a stronger login (RFC
	// 9470).
	CallConfirmed string
	// Development shows a notice that this is not production.
	Development bool
}

// AccessConfig says which requests are served, and which pages need a login.
type AccessConfig struct {
	// Protect lists the pages of the front end that need a login, as patterns
	// of a Next.js matcher: "/private", "/orders/:id", "/private/:path*". A
	// pattern is compared without regard to case, and covers any extension and
	// the paths below it. nil means DefaultProtect; an empty list means no
	// page.
	Protect []string
	// Public, if not nil, replaces Protect. It lists the paths that need no
	// login, by the same patterns; all others need one. It is recommended for
	// front-end servers, which serve the data of a page at other addresses.
	Public []string
	// AllowedHosts are the host names to which a BFF with a BaseURL on loopback
	// answers besides loopback names. Requests with another Host get 421.
	// Health checks and back-channel logout are exempt.
	AllowedHosts []string
	// TrustedProxies are the networks whose X-Forwarded-For is used for the
	// address of a browser.
	TrustedProxies []netip.Prefix
	// TrustUnixSocket treats every process that connects to a Unix socket as a trusted
	// proxy.
	TrustUnixSocket bool
}

// Validate returns everything that is wrong with the values of cfg, joined. It
// contacts nothing. [New] calls it.
func (cfg Config) Validate() error {
	_, err := origin.Parse(cfg.BaseURL)
	errs := []error{origin.Invalid("BaseURL", cfg.BaseURL, err)}
	if cfg.Provider == nil {
		errs = append(errs, invalid.Missing("Provider", "give the oidc.Provider that signs users in"))
	} else if !cfg.Provider.HasMetadata() {
		errs = append(errs, invalid.Field("Provider", cfg.Provider.Issuer(), "has keys and no metadata, so that users cannot sign in there",
			"leave out its JWKSURL and JWKSFile"))
	}
	errs = append(errs,
		invalid.In("Client", cfg.Client.validate()),
		invalid.In("Login", cfg.Login.validate()),
		invalid.In("Sessions", cfg.Sessions.validate()),
		invalid.In("Limits", cfg.Limits.validate()),
		invalid.In("Pages", cfg.Pages.validate()),
		invalid.In("Access", cfg.Access.validate()),
		invalid.In("Hooks", cfg.Hooks.validate()), cfg.checkErrorPath())
	if cfg.API == nil {
		errs = append(errs, invalid.Missing("API", "give a gateway, or an Upstream"))
	}
	errs = append(errs, validateRoutes(cfg.Routes))
	errs = append(errs, headers.Check("RequestHeaders", cfg.RequestHeaders)...)
	return errors.Join(errs...)
}

func (cfg ClientConfig) validate() error {
	err := cfg.registered().Validate()
	if audience := cfg.AssertionAudience; !slices.Contains([]AssertionAudience{"", AssertionForIssuer, AssertionForTokenEndpoint}, audience) {
		err = errors.Join(err, invalid.Field("AssertionAudience", audience, "is not supported",
			fmt.Sprintf("give %s or %s, or leave it empty", AssertionForIssuer, AssertionForTokenEndpoint)))
	}
	return err
}

// registered returns the client as package clientauth has it.
func (cfg ClientConfig) registered() clientauth.Config {
	return clientauth.Config{
		ID: cfg.ID, Secret: cfg.Secret, Key: cfg.Key, Auth: clientauth.Method(cfg.Auth),
		AssertForTokenEndpoint: cfg.AssertionAudience == AssertionForTokenEndpoint,
	}
}

// ownParameters are the parameters of authorization requests that the bff sets itself, or
// that would change what it asks for.
var ownParameters = []string{
	"client_id", "response_type", "response_mode", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"audience", "resource", "request", "request_uri", "registration", "id_token_hint", "dpop_jkt", "authorization_details",
	"client_secret", "client_assertion", "client_assertion_type",
}

// checkParameters returns what is wrong with Parameters.
func (cfg LoginConfig) checkParameters() (errs []error) {
	for i, parameter := range cfg.Parameters {
		name, value, _ := strings.Cut(parameter, "=")
		problem, remedy := "", "give a NAME, or NAME=VALUE, such as kc_idp_hint or hd=shop.example"
		switch {
		case !parameterName.MatchString(name):
			problem = "has no name of letters, digits, underscores, dots and hyphens"
		case slices.Contains(ownParameters, name):
			problem, remedy = "is a parameter that the bff sets itself", "remove it; scope and audience have fields of their own"
		case len(value) > login.MaxParameter:
			problem = fmt.Sprintf("has a value of more than %d bytes", login.MaxParameter)
		case name == "max_age" && !seconds.MatchString(value) && value != "":
			problem, remedy = "has a value that is no number of seconds", "give one such as max_age=3600"
		case name == "prompt" && value == "none":
			problem, remedy = "would show no user the provider's page", "remove it; a page can try prompt=none by itself"
		}
		if problem != "" {
			errs = append(errs, invalid.Field(fmt.Sprintf("Parameters[%d]", i), parameter, problem, remedy))
		}
	}
	return errs
}

var (
	parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	seconds       = regexp.MustCompile(`^[0-9]{1,9}$`)
)

func (cfg LoginConfig) validate() error {
	var errs []error
	if scopes := strings.Fields(cfg.Scope); len(scopes) > 0 && !slices.Contains(scopes, "openid") {
		remedy := "add openid"
		if strings.Contains(cfg.Scope, ",") {
			remedy = "separate scopes by spaces, openid among them"
		}
		errs = append(errs, invalid.Field("Scope", cfg.Scope, "lacks openid, which a login needs", remedy))
	}
	if !slices.Contains([]OfflineConsent{ConsentAuto, ConsentAlways, ConsentNever}, cfg.OfflineConsent) {
		errs = append(errs, invalid.Field("OfflineConsent", cfg.OfflineConsent, "is not supported",
			fmt.Sprintf("give %s or %s, or leave it empty", ConsentAlways, ConsentNever)))
	}
	if cfg.ResponseMode != ModeQuery && cfg.ResponseMode != ModeFormPost {
		errs = append(errs, invalid.Field("ResponseMode", cfg.ResponseMode, "is not supported",
			fmt.Sprintf("give %s, or leave it empty", ModeFormPost)))
	}
	if cfg.Rate < 0 {
		errs = append(errs, invalid.Field("Rate", cfg.Rate, "is negative",
			fmt.Sprintf("give the number of logins that one address may start in a minute, such as %d", DefaultLoginRate)))
	}
	errs = append(errs, jwk.ValidAlgorithms("IDTokenAlgorithms", cfg.IDTokenAlgorithms))
	return errors.Join(append(errs, cfg.checkParameters()...)...)
}

// manager returns the part of the configuration that is the session manager's.
func (cfg SessionConfig) manager() session.ManagerConfig {
	return session.ManagerConfig{
		Store: cfg.Store, Secrets: cfg.Secrets, SecretsCompromised: cfg.SecretsCompromised, Nodes: cfg.Nodes,
		IdleTimeout: cfg.IdleTimeout, AbsoluteTimeout: cfg.AbsoluteTimeout, MaxPerUser: cfg.MaxPerUser, CookieName: cfg.CookieName,
	}
}

func (cfg SessionConfig) validate() error {
	errs := []error{cfg.manager().Validate()}
	_, notes := cfg.Store.(session.NoteStore)
	if local, ok := cfg.Store.(session.Local); ok && local.ProcessLocal() && !notes { // the manager does without
		errs = append(errs, &invalid.Error{Field: "Store", Problem: fmt.Sprintf("is a %T, which keeps no notes", cfg.Store),
			Remedy: "have it implement session.NoteStore, or embed session.LocalNotes"})
	}
	if timeout := cfg.RefreshTimeout; timeout != 0 && timeout < time.Second {
		errs = append(errs, invalid.Field("RefreshTimeout", timeout, "is shorter than a second", "give a duration such as 90s or 24h"))
	}
	return errors.Join(errs...)
}

func (cfg LimitsConfig) validate() error {
	return errors.Join(
		invalid.NotNegative("MaxStreams", cfg.MaxStreams, "a number of streams", DefaultMaxStreams),
		invalid.NotNegative("MaxStreamsPerUser", cfg.MaxStreamsPerUser, "a number of streams", DefaultMaxStreamsPerUser),
		invalid.NotNegative("MaxConnStreams", cfg.MaxConnStreams, "a number of streams", DefaultMaxConnStreams),
		invalid.NotNegative("MaxHeaderBytes", cfg.MaxHeaderBytes, "a number of bytes", DefaultMaxHeaderBytes))
}

func (cfg PagesConfig) validate() error {
	var errs []error
	if to := cfg.ErrorPath; to != "" && (route.ReturnTo(to) != to || route.Under(to, "/api") || strings.ContainsAny(to, "?#%")) {
		errs = append(errs, invalid.Field("ErrorPath", to, "is not the path of a page", "give one such as /error, not below /api"))
	}
	for _, call := range []struct{ field, path string }{{"Call", cfg.Call}, {"CallConfirmed", cfg.CallConfirmed}} {
		if call.path != "" && !strings.HasPrefix(call.path, "/api/") {
			errs = append(errs, invalid.Field(call.field, call.path, "is not a path below /api", "give one such as /api/products"))
		}
	}
	return errors.Join(errs...)
}

// checkErrorPath returns an error for a page of problems that needs a login, to which
// the way leads through another problem.
func (cfg Config) checkErrorPath() error {
	to, access := cfg.Pages.ErrorPath, cfg.withDefaults().Access
	if to == "" || errors.Join(cfg.Pages.validate(), access.validate()) != nil {
		return nil //nolint:nilerr // Validate reports these
	}
	rules, err := protect.New(protect.Config{Protect: access.Protect, Public: access.Public})
	if err != nil || !rules.NeedsLogin(&url.URL{Path: to}) {
		return err
	}
	return invalid.In("Pages", invalid.Field("ErrorPath", to, "needs a login, and is shown without one",
		"remove it from the protected pages, or add it to the public paths"))
}

func (cfg AccessConfig) validate() error {
	var errs []error
	if cfg.Protect != nil && cfg.Public != nil {
		errs = append(errs, invalid.Field("Public", joinedPatterns(cfg.Public),
			"contradicts Protect: "+joinedPatterns(cfg.Protect)+"; with public paths all other paths need a login already", "remove one of the two"))
	}
	patterns := func(field string, list []string, example string) {
		for i, pattern := range list {
			if err := protect.CheckPattern(pattern); err != nil {
				errs = append(errs, invalid.Field(fmt.Sprintf("%s[%d]", field, i), pattern, "is not a pattern: "+err.Error(), "give patterns such as "+example))
			}
		}
	}
	patterns("Protect", cfg.Protect, "/private/:path*")
	patterns("Public", cfg.Public, "/ or /assets/:path*")
	for i, name := range cfg.AllowedHosts {
		if hostcheck.CheckName(name) != nil {
			errs = append(errs, invalid.Field(fmt.Sprintf("AllowedHosts[%d]", i), name,
				"is not a host name or address", "give one without scheme, port and wildcard, such as app.test"))
		}
	}
	return errors.Join(errs...)
}

// joinedPatterns returns a list of patterns as one text.
func joinedPatterns(patterns []string) string { return cmp.Or(strings.Join(patterns, ","), "none") }

// withDefaults returns cfg with the default of each field that is zero.
func (cfg Config) withDefaults() Config {
	cfg.Login.Rate = cmp.Or(cfg.Login.Rate, DefaultLoginRate)
	cfg.Limits.MaxStreams = cmp.Or(cfg.Limits.MaxStreams, DefaultMaxStreams)
	cfg.Limits.MaxStreamsPerUser = cmp.Or(cfg.Limits.MaxStreamsPerUser, DefaultMaxStreamsPerUser)
	cfg.Limits.MaxConnStreams = cmp.Or(cfg.Limits.MaxConnStreams, DefaultMaxConnStreams)
	cfg.Limits.MaxHeaderBytes = cmp.Or(cfg.Limits.MaxHeaderBytes, DefaultMaxHeaderBytes)
	cfg.Sessions.RefreshTimeout = cmp.Or(cfg.Sessions.RefreshTimeout, DefaultRefreshTimeout)
	cfg.Hooks.Timeout = cmp.Or(cfg.Hooks.Timeout, DefaultHookTimeout)
	cfg.HTTPClient = cmp.Or(cfg.HTTPClient, &http.Client{})
	cfg.Rand = cmp.Or(cfg.Rand, rand.Reader)
	cfg.Pages.Catalog = cmp.Or(cfg.Pages.Catalog, catalog.English())
	if cfg.Access.Protect == nil && cfg.Access.Public == nil {
		cfg.Access.Protect = DefaultProtect
	}
	if cfg.SettingName == nil {
		cfg.SettingName = func(field string) string { return field }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = logs.Logger(cfg.Logger)
	return cfg
}

// party returns the configuration of the relying party.
func (cfg Config) party(base *url.URL) rp.Config {
	return rp.Config{
		Provider: cfg.Provider, BaseURL: base.String(), Callback: base.String() + route.Callback,
		Client: cfg.Client.registered(),
		Scope:  cfg.Login.Scope, DefaultScope: DefaultScope,
		Audience: cfg.Login.Audience, Resources: refreshedAudiences(cfg.Routes), OpaqueTokens: cfg.Login.OpaqueTokens,
		OmitAudience: cfg.Login.OmitAudience, OmitResource: cfg.Login.OmitResource,
		ConsentAlways: cfg.Login.OfflineConsent == ConsentAlways, ConsentNever: cfg.Login.OfflineConsent == ConsentNever,
		ResponseMode: string(cfg.Login.ResponseMode), OmitPAR: cfg.Login.OmitPAR, RefreshTimeout: cfg.Sessions.RefreshTimeout,
		IDTokenAlgorithms: cfg.Login.IDTokenAlgorithms,
		HTTPClient:        cfg.HTTPClient, Setting: cfg.SettingName, Now: cfg.Now, Rand: cfg.Rand, Logger: cfg.Logger,
		Requests: metrics.NewHistogram(cfg.MeterProvider, metrics.ProviderRequestDuration),
	}
}
