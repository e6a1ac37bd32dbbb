package gatehouse

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// config is everything that can be set, with the types that the parts want.
// The comments name the settings; what they mean, and what happens to a bad
// value, is in docs/configuration.md.
type config struct {
	// Issuer, ClientID, ClientSecret, ClientKey, Scope, ClientAuth,
	// AssertionAudience, ResponseMode, OmitAudience, OmitResource, OmitPAR, OfflineConsent and
	// LoginRate are those of bff.Config.
	Issuer string
	// InternalURL and InsecureInternalHTTP are bff.Config's ProviderInternalURL
	// and InsecureProviderHTTP.
	InternalURL          string
	InsecureInternalHTTP bool

	ClientID     string
	ClientSecret string
	ClientKey    string
	Scope        string
	ClientAuth   string
	OmitAudience bool
	ResponseMode string

	AssertionAudience string

	OmitResource   bool
	OmitPAR        bool
	OfflineConsent string
	LoginRate      int

	// Audience is the API's identifier. RequireATJWT, IDTokenClients,
	// InsecureIDTokenShape and PermissionsClaim are those of authn.Config.
	Audience             string
	RequireATJWT         bool
	IDTokenClients       []string
	InsecureIDTokenShape bool
	PermissionsClaim     string

	// Denylist is where revoked access tokens are known: "" for nowhere,
	// "memory:" or a redis:// URL.
	Denylist string

	// DatabaseURL is where the services keep their data: "memory:", "sqlite:PATH" or "postgres://…".
	DatabaseURL string

	// APIDocs says whether the gateway describes the API, apiDocsPublic or
	// apiDocsOff.
	APIDocs string

	// BaseURL is the public origin of the bff.
	BaseURL string
	// Secrets are the key material for cookies and stored tokens.
	Secrets []string
	// SecretsCompromised says that secrets which are not among Secrets must
	// not be used any more.
	SecretsCompromised bool
	// SessionStore is "memory:", "sqlite:PATH", "postgres://…", "redis://…", "redis-cluster://…" or "redis-sentinel://…"; the
	// latter three also with rediss for TLS.
	SessionStore string
	// CookieName is that of bff.Config.
	CookieName string
	// IdleTimeout and AbsoluteTimeout end sessions.
	IdleTimeout, AbsoluteTimeout time.Duration
	// RefreshTimeout is how long the provider may take to answer a refresh.
	RefreshTimeout time.Duration
	// Replicas is how many bffs share the session store.
	Replicas int
	// Frontend is "embedded:", "dir:PATH" or the URL of a front-end server.
	Frontend string
	// FrontendCSP is the Content Security Policy of the pages in a directory;
	// "" for the one of package spa.
	FrontendCSP string
	// Protect lists the pages that need a login; nil for the embedded ones.
	Protect []string
	// Public, if it is not nil, lists the paths that need no login: all others do.
	Public []string
	// AllowedHosts are the names to which bff and gateway answer in development
	// beside those of loopback.
	AllowedHosts []string
	// TrustedProxies are the networks whose forwarded headers are believed.
	TrustedProxies []netip.Prefix

	// The addresses to listen on. An empty one takes the command's default;
	// ListenAdmin has none.
	ListenBFF, ListenGateway, ListenGRPC, ListenAdmin, ListenDevIDP string
	// GatewayURL is the gateway of a bff that runs alone.
	GatewayURL string
	// GRPCTarget is the server of a gateway that runs alone.
	GRPCTarget string
	// MaxRequestBytes and MaxResponseBytes bound a message of the API, a body
	// included; 0 for 1 MiB and 16 MiB.
	MaxRequestBytes, MaxResponseBytes int
	// StreamHeartbeat is how long an event stream of the API may be silent; 0
	// for the gateway's default.
	StreamHeartbeat time.Duration
	// ShutdownTimeout bounds how long requests in flight may take to end.
	ShutdownTimeout time.Duration

	// app is the application around which the program runs.
	app App

	// Logger is told what happens; nil for nothing.
	Logger *slog.Logger
	// Output is where a person reads how to go on; nil for nowhere.
	Output io.Writer
}

// The defaults of settings that have one everywhere.
const (
	defaultListenBFF       = ":3000"
	defaultListenGateway   = ":5000"
	defaultListenGRPC      = ":9090"
	defaultListenDevIDP    = "127.0.0.1:3001"
	defaultSessionStore    = "sqlite:gatehouse-sessions.db"
	defaultDatabaseURL     = "sqlite:gatehouse.db"
	defaultFrontend        = "embedded:"
	defaultShutdownTimeout = 20 * time.Second

	defaultMaxRequestBytes  = 1 << 20
	defaultMaxResponseBytes = 16 << 20
)

// What APIDocs can be.
const (
	apiDocsPublic = "public"
	apiDocsOff    = "off"
)

func (cfg *config) withDefaults() {
	set := func(target *string, value string) {
		if *target == "" {
			*target = value
		}
	}
	set(&cfg.ListenBFF, defaultListenBFF)
	set(&cfg.ListenGateway, defaultListenGateway)
	set(&cfg.ListenGRPC, defaultListenGRPC)
	set(&cfg.SessionStore, defaultSessionStore)
	set(&cfg.DatabaseURL, defaultDatabaseURL)
	set(&cfg.Frontend, defaultFrontend)
	// Every part sees the base URL as browsers write it; Validate reports one that cannot be read.
	if base, err := origin.Parse(cfg.BaseURL); err == nil {
		cfg.BaseURL = base.String()
	}
	if cfg.MaxRequestBytes == 0 {
		cfg.MaxRequestBytes = defaultMaxRequestBytes
	}
	if cfg.MaxResponseBytes == 0 {
		cfg.MaxResponseBytes = defaultMaxResponseBytes
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = defaultShutdownTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
}

// A partSet says which parts run in this process.
type partSet struct {
	BFF, Gateway, Server bool
}

// allParts is every part.
var allParts = partSet{BFF: true, Gateway: true, Server: true}
