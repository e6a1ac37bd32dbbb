package gatehouse

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// settings are all settings. Each has a flag by the name here and a variable
// GATEHOUSE_ and that name; the tag "tutorial" names the variable of the
// tutorial's stack that is read as well, and "secret" marks those that can be
// given as a file. The help texts are the configuration reference.
type settings struct {
	Config string `name:"config" placeholder:"FILE" group:"General" help:"A YAML file with settings, by the names of the flags. Flags, environment and .env come before it."`

	OIDCIssuer string `name:"oidc-issuer" placeholder:"URL" group:"Login" tutorial:"AUTH0_ISSUER_BASE_URL" help:"The OpenID provider. Only a slash at the end may differ from the metadata. http on loopback only."`

	OIDCInternalURL          string `name:"oidc-internal-url" placeholder:"URL" group:"Login" help:"Where this process calls the provider, if not at its issuer, as inside a cluster: https://HOST:PORT. It replaces scheme, host and port of discovery, keys, token, userinfo, revocation and pushed requests; the path stays. Host header and TLS server name are those of this URL, so the certificate must name it. Browsers still go to the addresses in the metadata, and tokens must still have the issuer."`
	InsecureOIDCInternalHTTP bool   `name:"insecure-oidc-internal-http" group:"Login" help:"Let oidc-internal-url be http off loopback. INSECURE: the client's secret, codes and tokens travel in the clear, and anything on the way can replace the provider's keys."`

	OIDCClientID     string `name:"oidc-client-id" placeholder:"ID" group:"Login" tutorial:"AUTH0_CLIENT_ID" help:"The id of the client that is registered with the provider for the bff."`
	OIDCClientSecret string `name:"oidc-client-secret" placeholder:"SECRET" group:"Login" tutorial:"AUTH0_CLIENT_SECRET" secret:"" help:"The client's secret. Without a secret or a client key the client is public, and PKCE alone protects it."`
	OIDCClientKey    string `name:"oidc-client-key" placeholder:"KEY" group:"Login" secret:"" help:"A private key instead of a secret (private_key_jwt): PEM or JWK, RSA or P-256. To rotate, give several, one after the other or as a JWK set: the first signs, and the public keys of all are published at /api/auth/jwks.json."`
	OIDCClientAuth   string `name:"oidc-client-auth" placeholder:"METHOD" group:"Login" help:"How the client authenticates: client_secret_basic, client_secret_post, private_key_jwt or none. Default: as the secret or the key requires; a secret is sent as the provider lists, basic first."`

	OIDCAssertionAudience string `name:"oidc-assertion-audience" placeholder:"AUDIENCE" group:"Login" help:"The audience of the assertions that are signed with the client key: issuer, or token_endpoint for providers that accept no other, such as Ory Hydra, Okta and Entra. With token_endpoint the key must be used at this provider alone. Default: issuer."`

	OIDCResponseMode   string   `name:"oidc-response-mode" placeholder:"MODE" group:"Login" help:"form_post asks the provider to answer in a form, so that the code stands in no address. Default: in the address of the callback."`
	OIDCOmitPAR        bool     `name:"oidc-omit-par" group:"Login" help:"Do not push authorization requests (RFC 9126) although the provider offers it."`
	OIDCScope          string   `name:"oidc-scope" placeholder:"SCOPES" group:"Login" tutorial:"AUTH0_SCOPE" help:"What is asked for at login, separated by spaces. offline_access is left out where the provider does not list it. Default: openid profile email offline_access; at Keycloak, which gives refresh tokens without the last one, and forgets the person with it, openid profile email."`
	OIDCOfflineConsent string   `name:"oidc-offline-consent" placeholder:"WHEN" group:"Login" help:"Whether a login that asks for offline access prompts for consent (OpenID Connect Core, section 11): always or never. Default: always, except at providers known not to need it."`
	OIDCOmitAudience   bool     `name:"oidc-omit-audience" group:"Login" help:"Do not send the audience as the parameter audience."`
	OIDCOmitResource   bool     `name:"oidc-omit-resource" group:"Login" help:"Do not send the audience as the parameter resource (RFC 8707), for providers that refuse it, such as Entra."`
	LoginRate          int      `name:"login-rate" placeholder:"N" default:"120" group:"Login" help:"How many logins one address (an IPv6 /64) may start in a minute. Behind proxies this needs trusted-proxies, or all people count as one."`
	BaseURL            string   `name:"base-url" placeholder:"URL" group:"Login" tutorial:"AUTH0_BASE_URL" help:"The origin of the bff as browsers see it: scheme, host and port, and the one origin whose pages may read the gateway's answers (CORS). It may be written in any form that a browser accepts, such as https://bücher.example, and is used in the form that browsers send. http on loopback only."`
	Secret             []string `name:"secret" placeholder:"SECRET" group:"Login" tutorial:"AUTH0_SECRET" secret:"" help:"Key material for cookies and stored tokens, 32 characters at least: openssl rand -hex 32. To rotate, give several, newest first, separated by commas or one a line in the file: all of them open, and the first one that all live bffs have seals (docs/sessions.md)."`
	SecretCompromised  bool     `name:"secret-compromised" group:"Login" help:"The old secrets are compromised: start even if no other live bff has one of these secrets, and seal with the first one at once. Until the others are replaced, each answers 503 for the other's sessions."`

	Audience     string `name:"audience" placeholder:"ID" group:"API" tutorial:"AUTH0_AUDIENCE" help:"The API's identifier: asked for at login, required in access tokens. Without one many providers issue opaque tokens, which cannot be verified."`
	RequireATJWT bool   `name:"require-at-jwt" group:"API" help:"Accept access tokens of the type at+jwt only (RFC 9068). Needed where the audience is also the client's id."`

	IDTokenClients       []string `name:"id-token-clients" placeholder:"ID" group:"API" help:"The ids of clients whose ID tokens the server refuses, separated by commas: a token that names one of them as an audience must have the type at+jwt. Use it where a client's ID tokens name the API. Tokens with at_hash, c_hash, s_hash, nonce or events are refused without it. Default: none."`
	InsecureIDTokenShape bool     `name:"insecure-id-token-shape" group:"API" help:"Accept access tokens that look like ID tokens (with nonce or at_hash), for a provider that issues no others, such as Dex. INSECURE: an ID token that names the API is then good for calling it."`

	DatabaseURL      string `name:"database-url" placeholder:"URL" group:"API" secret:"" help:"Where the services, such as those of the sample application, keep their data: sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, or memory:, which ends with the process. Default: sqlite:gatehouse.db; in dev memory: with a few examples."`
	PermissionsClaim string `name:"permissions-claim" placeholder:"CLAIM" default:"permissions" group:"API" help:"The claim with a caller's permissions, for policies that need some; dots lead into nested objects (realm_access.roles)."`
	APIDocs          string `name:"api-docs" placeholder:"WHO" enum:"public,off" default:"public" group:"API" help:"Who may read what the API offers, at /api/docs and /api/openapi.json: public, or off. It tells paths, fields and who may call, as asking for each would too."`
	Denylist         string `name:"denylist" placeholder:"WHERE" group:"API" secret:"" help:"Where access tokens are remembered that a logout has revoked before they expire: memory: where bff and server are one process, redis://HOST:PORT (rediss:// with TLS) where they are several. A token is refused by its jti, so the provider must write one; what a back-channel logout revokes stays refused for 24 hours, which must be longer than access tokens live. Open streams end within a second. Without a denylist, an access token is good until it expires, and no browser ever has one."`

	SessionStore    string        `name:"session-store" placeholder:"STORE" group:"Sessions" secret:"" help:"Where sessions are kept: memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER (rediss… with TLS). docs/sessions.md says what each promises. Default: sqlite:gatehouse-sessions.db; in dev memory:."`
	CookieName      string        `name:"cookie-name" placeholder:"NAME" default:"gatehouse" group:"Sessions" help:"The name of the session cookie; over https it has the prefix __Host-. The names of the cookies of logins begin with it. Instances on one host need different names, also on different ports: browsers keep cookies by host."`
	IdleTimeout     time.Duration `name:"session-idle-timeout" placeholder:"DURATION" default:"24h" group:"Sessions" help:"How long a session lasts without being used."`
	AbsoluteTimeout time.Duration `name:"session-absolute-timeout" placeholder:"DURATION" default:"168h" group:"Sessions" help:"How long a session lasts at most."`
	RefreshTimeout  time.Duration `name:"refresh-timeout" placeholder:"DURATION" default:"30s" group:"Sessions" help:"How long the provider may take to answer a refresh, besides 5 seconds to connect. Choose more than it ever takes: after a refresh without an answer, the refresh token may be spent. A stop of the process waits for refreshes under way, this time and 5 seconds at most."`
	Replicas        int           `name:"replicas" placeholder:"N" default:"1" group:"Sessions" help:"How many bffs share the session store. With more than 1, memory: and sqlite: are refused."`

	Frontend       string    `name:"frontend" placeholder:"WHERE" default:"embedded:" group:"Front end" help:"What answers outside /api: embedded:, dir:PATH for a built single-page application, or http://HOST:PORT of a front-end server."`
	FrontendCSP    string    `name:"frontend-csp" placeholder:"POLICY" group:"Front end" help:"The Content Security Policy of pages from dir:PATH, or none. Default: scripts of the application's own files and those inline in its pages, images over https, and requests to its own origin alone."`
	Protect        []string  `name:"protect" placeholder:"PATTERN" group:"Front end" help:"Pages that need a login, in the manner of a Next.js matcher: /private, /orders/:id, /private/:path*. none for no page. Default: /private/:path*,/profile/:path*,/my/:path*,/sessions/:path*."`
	Public         []string  `name:"public" placeholder:"PATTERN" group:"Front end" help:"Paths that need no login; everything else outside /api needs one. Recommended for front-end servers (docs/front-ends.md). The patterns are those of protect, but exact: /, /about, /assets/:path*. none for no path. It excludes protect, which decides by default."`
	AllowedHosts   []string  `name:"allowed-hosts" placeholder:"HOST" group:"Front end" help:"More host names that bff and gateway answer to, such as those by which a telephone or another container reaches this machine. With a base URL on loopback they answer to loopback names and these only, and to others with 421, against DNS rebinding. Exempt are health checks, back-channel logout and, unless this is set, a gateway that runs alone and listens beyond loopback. Default: none."`
	TrustedProxies []network `name:"trusted-proxies" placeholder:"NETWORK" group:"Front end" help:"Networks, or addresses, of proxies whose X-Forwarded-For is believed. Default: none."`

	ListenBFF        string        `name:"listen-bff" placeholder:"HOST:PORT" group:"Addresses" help:"Where the bff listens. Default: :3000; in dev 127.0.0.1:3000."`
	ListenGateway    string        `name:"listen-gateway" placeholder:"HOST:PORT" group:"Addresses" help:"Where the gateway listens. Default: :5000; in dev 127.0.0.1:5000."`
	ListenGRPC       string        `name:"listen-grpc" placeholder:"HOST:PORT" group:"Addresses" help:"Where the server listens. Default: :9090; in dev 127.0.0.1:9090."`
	ListenAdmin      string        `name:"listen-admin" placeholder:"HOST:PORT" group:"Addresses" help:"Where /healthz and /readyz are answered apart from the public ports. Default: nowhere."`
	ListenDevIDP     string        `name:"listen-devidp" placeholder:"HOST:PORT" group:"Addresses" help:"Where the development provider listens, on loopback. Default: 127.0.0.1:3001."`
	GatewayURL       string        `name:"gateway-url" placeholder:"URL" group:"Addresses" help:"The gateway, for gatehouse bff: http://gateway:5000."`
	GRPCTarget       string        `name:"grpc-target" placeholder:"TARGET" group:"Addresses" help:"The server, for gatehouse gateway, as a gRPC target: dns:///server:9090."`
	MaxRequestBytes  int           `name:"max-request-bytes" placeholder:"BYTES" default:"1048576" group:"API" help:"How many bytes a request to the API may have: its body at the gateway (413), and each message at the server. A streamed upload is limited by its service alone."`
	MaxResponseBytes int           `name:"max-response-bytes" placeholder:"BYTES" default:"16777216" group:"API" help:"How many bytes one message of an answer of the API may have, at the gateway and at the server. A longer one is an internal error (500) and is logged."`
	StreamHeartbeat  time.Duration `name:"stream-heartbeat" placeholder:"DURATION" default:"15s" group:"API" help:"How long an event stream of the API may be silent before it carries a comment. Choose less than the idle timeout of proxies in front."`
	ShutdownTimeout  time.Duration `name:"shutdown-timeout" placeholder:"DURATION" default:"20s" group:"Addresses" help:"How long requests in flight may take to end after SIGTERM."`

	LogFormat string `name:"log-format" placeholder:"FORMAT" enum:"auto,text,json" default:"auto" group:"Log" help:"text for people, json for programs; auto is text in dev and json otherwise."`
	LogLevel  string `name:"log-level" placeholder:"LEVEL" enum:"debug,info,warn,error" default:"info" group:"Log" help:"The least level that is logged: debug, info, warn or error."`
}

// config turns settings into what the program takes.
func (s *settings) config() config {
	protect := s.Protect
	if len(protect) == 1 && protect[0] == "none" {
		protect = []string{}
	}
	public := s.Public
	if len(public) == 1 && public[0] == "none" {
		public = []string{}
	}
	proxies := make([]netip.Prefix, len(s.TrustedProxies))
	for i, n := range s.TrustedProxies {
		proxies[i] = netip.Prefix(n)
	}
	return config{
		Issuer: withScheme(s.OIDCIssuer),

		InternalURL: s.OIDCInternalURL, InsecureInternalHTTP: s.InsecureOIDCInternalHTTP,

		ClientID:     s.OIDCClientID,
		ClientSecret: s.OIDCClientSecret,
		ClientKey:    s.OIDCClientKey,
		ClientAuth:   s.OIDCClientAuth,
		ResponseMode: s.OIDCResponseMode,

		AssertionAudience: s.OIDCAssertionAudience,

		OmitPAR:        s.OIDCOmitPAR,
		LoginRate:      s.LoginRate,
		Scope:          s.OIDCScope,
		OfflineConsent: s.OIDCOfflineConsent,
		OmitAudience:   s.OIDCOmitAudience,
		OmitResource:   s.OIDCOmitResource,
		Audience:       s.Audience,
		RequireATJWT:   s.RequireATJWT,

		IDTokenClients:       s.IDTokenClients,
		InsecureIDTokenShape: s.InsecureIDTokenShape,

		PermissionsClaim: s.PermissionsClaim,
		Denylist:         s.Denylist,
		APIDocs:          s.APIDocs,
		DatabaseURL:      s.DatabaseURL,
		BaseURL:          withScheme(s.BaseURL),
		Secrets:          withTidied(s.Secret),
		SessionStore:     s.SessionStore,
		CookieName:       s.CookieName,
		IdleTimeout:      s.IdleTimeout,
		AbsoluteTimeout:  s.AbsoluteTimeout,
		RefreshTimeout:   s.RefreshTimeout,
		Replicas:         s.Replicas,
		Frontend:         s.Frontend,
		FrontendCSP:      s.FrontendCSP,
		Protect:          protect,
		Public:           public,
		AllowedHosts:     s.AllowedHosts,
		TrustedProxies:   proxies,
		ListenBFF:        s.ListenBFF,
		ListenGateway:    s.ListenGateway,
		ListenGRPC:       s.ListenGRPC,
		ListenAdmin:      s.ListenAdmin,
		ListenDevIDP:     s.ListenDevIDP,
		GatewayURL:       s.GatewayURL,
		GRPCTarget:       s.GRPCTarget,
		MaxRequestBytes:  s.MaxRequestBytes,
		MaxResponseBytes: s.MaxResponseBytes,
		StreamHeartbeat:  s.StreamHeartbeat,
		ShutdownTimeout:  s.ShutdownTimeout,

		SecretsCompromised: s.SecretCompromised,
	}
}

// withScheme adds https where a host was given alone, as the tutorial's
// variables allow. It adds nothing to what is no host, such as a port or a
// mistyped address, nor on loopback, where https is rarely meant: the validation
// says what to write.
func withScheme(raw string) string {
	if strings.Contains(raw, "://") {
		return raw
	}
	u, err := url.Parse("http://" + raw)
	if err != nil || u.User != nil || strings.HasSuffix(u.Host, ":") || loopback.Host(u.Hostname()) {
		return raw
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !hostName.MatchString(u.Hostname()) {
		return raw
	}
	return "https://" + raw
}

// hostName is a name whose last label is no number.
var hostName = regexp.MustCompile(`^(.+\.)?\pL[\pL\pN-]*\.?$`)

// assumed notes the addresses to which a scheme was added.
func (s *settings) assumed() []string {
	var notes []string
	for _, setting := range []struct{ name, value string }{{"GATEHOUSE_OIDC_ISSUER", s.OIDCIssuer}, {"GATEHOUSE_BASE_URL", s.BaseURL}} {
		if read := withScheme(setting.value); read != setting.value {
			notes = append(notes, fmt.Sprintf("%s=%s: the scheme is missing; read as %s", setting.name, setting.value, read))
		}
	}
	return notes
}

// A network is a network, or one address, which is a network of its own.
type network netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *network) UnmarshalText(text []byte) error {
	if address, err := netip.ParseAddr(string(text)); err == nil {
		*n = network(netip.PrefixFrom(address, address.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is no network; give one such as 10.0.0.0/8, or an address", text)
	}
	*n = network(prefix)
	return nil
}
