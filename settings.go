package gatehouse

import (
	"cmp"
	"net/netip"

	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// variablePrefix is that of the variables of the program's settings.
const variablePrefix = "GATEHOUSE"

// settings returns the table of all settings: those of the program, then those
// of the application. A row is all there is of a setting: flag, variable, key in
// the file, help, reference, and the name in errors about the targets come from
// it. The targets are fields of p.cfg; a value that several parts need has
// several.
func (p *program) settings() settings.Table {
	cfg := &p.cfg
	table := settings.Table{
		{Name: "config", Group: "General", Placeholder: "FILE",
			Targets: []any{&cfg.File},
			Help: "A YAML file of settings, under the names of the flags. Flags, environment and .env take " +
				"precedence."},
		// The server verifies tokens of this issuer; the gateway publishes it (RFC 9728).
		{Name: "oidc-issuer", Group: "Login", Placeholder: "URL", Show: settings.Redacted, Aliases: []string{"AUTH0_ISSUER_BASE_URL"},
			Targets: []any{&cfg.Provider.Issuer, &cfg.Gateway.Resource.Issuer},
			Help: "The issuer of the OpenID provider. Only a trailing slash may differ from the metadata. " +
				"http is accepted on loopback only."},
		{Name: "oidc-internal-url", Group: "Login", Placeholder: "URL", Show: settings.Redacted,
			Targets: []any{&cfg.Provider.InternalURL},
			Help: "The origin at which this process reaches the provider, if it is not that of the issuer, " +
				"for example inside a cluster: https://HOST:PORT. It replaces scheme, host and port of " +
				"discovery, keys, token, userinfo, revocation and pushed requests; the path stays. Host " +
				"header and TLS server name are those of this URL, so the certificate must name it. " +
				"Browsers are still sent to the addresses in the metadata, and tokens must still have the " +
				"issuer."},
		{Name: "insecure-oidc-internal-http", Group: "Login",
			Targets: []any{&cfg.Provider.InsecureInternalHTTP},
			Help: "Accept an oidc-internal-url with http off loopback. INSECURE: the client's secret, codes " +
				"and tokens are sent in the clear, and any host on the path can replace the provider's " +
				"keys."},
		// The server compares it with the audience: they must differ (RFC 8725 §3.12).
		{Name: "oidc-client-id", Group: "Login", Placeholder: "ID", Aliases: []string{"AUTH0_CLIENT_ID"},
			Targets: []any{&cfg.BFF.Client.ID, &cfg.Server.Authn.Profile.ClientID},
			Help:    "The id of the bff's client at the provider."},
		// Opaque: quotes around the secret may be part of it.
		{Name: "oidc-client-secret", Group: "Login", Placeholder: "SECRET", Secret: true, Opaque: true, Aliases: []string{"AUTH0_CLIENT_SECRET"},
			Targets: []any{&cfg.BFF.Client.Secret},
			Help: "The client's secret. A client without a secret or a key is public, and PKCE alone protects " +
				"its codes."},
		{Name: "oidc-client-key", Group: "Login", Placeholder: "KEY", Secret: true, Multiline: true,
			Targets: []any{&cfg.BFF.Client.Key},
			Help: "A private key instead of a secret (private_key_jwt): PEM or JWK, RSA or P-256. To rotate " +
				"it, give several, one after the other or as a JWK set: the first signs, and the public " +
				"keys of all are published at /api/auth/jwks.json."},
		{Name: "oidc-client-auth", Group: "Login", Placeholder: "METHOD",
			Targets: []any{&cfg.BFF.Client.Auth},
			Help: "How the client authenticates: client_secret_basic, client_secret_post, private_key_jwt or " +
				"none. Default: as the secret or the key requires; for a secret the first method that the " +
				"provider lists, basic before post."},
		{Name: "oidc-assertion-audience", Group: "Login", Placeholder: "AUDIENCE",
			Targets: []any{&cfg.BFF.Client.AssertionAudience},
			Help: "The audience of the assertions that the client key signs: issuer, or token_endpoint for " +
				"providers that accept no other, such as Ory Hydra, Okta and Entra. With token_endpoint the " +
				"key must be used at this provider only. Default: issuer."},
		{Name: "oidc-response-mode", Group: "Login", Placeholder: "MODE",
			Targets: []any{&cfg.BFF.Login.ResponseMode},
			Help: "form_post asks the provider to send the code in a form, so that it is in no address. " +
				"Default: in the address of the callback."},
		{Name: "oidc-omit-par", Group: "Login",
			Targets: []any{&cfg.BFF.Login.OmitPAR},
			Help:    "Do not push authorization requests (RFC 9126), even if the provider supports it."},
		{Name: "oidc-scope", Group: "Login", Placeholder: "SCOPES", Aliases: []string{"AUTH0_SCOPE"},
			Targets: []any{&cfg.BFF.Login.Scope},
			Help: "The scopes of a login, separated by spaces. offline_access is left out if the provider " +
				"does not list it. Default: openid profile email offline_access; at Keycloak openid profile " +
				"email, because it issues refresh tokens without offline_access, and ends its own session " +
				"after a login with it."},
		{Name: "oidc-offline-consent", Group: "Login", Placeholder: "WHEN",
			Targets: []any{&cfg.BFF.Login.OfflineConsent},
			Help: "Whether a login with offline_access prompts for consent (OpenID Connect Core, section 11): " +
				"always or never. Default: always, except at providers known not to need it."},
		{Name: "oidc-omit-audience", Group: "Login",
			Targets: []any{&cfg.BFF.Login.OmitAudience},
			Help:    "Do not send the audience as the parameter audience."},
		{Name: "oidc-omit-resource", Group: "Login",
			Targets: []any{&cfg.BFF.Login.OmitResource},
			Help: "Do not send the audience as the parameter resource (RFC 8707), for providers that refuse " +
				"it, such as Entra."},
		{Name: "id-token-algorithms", Group: "Login", Placeholder: "LIST", Default: "RS256",
			Targets: []any{&cfg.BFF.Login.IDTokenAlgorithms},
			Help: "The algorithms of signatures that are accepted of ID tokens, logout tokens and signed " +
				"userinfo, with commas: RS256, PS256, ES256, EdDSA (Ed25519). List only those with which the " +
				"provider signs."},
		{Name: "login-parameters", Group: "Login", Placeholder: "LIST",
			Targets: []any{&cfg.BFF.Login.Parameters},
			Help: "Parameters of the provider's own for the login, with commas: NAME for one that a link to " +
				"/api/auth/login may give, such as kc_idp_hint, and NAME=VALUE for one that each login has, such " +
				"as hd=shop.example. A link can change one of these only if NAME is listed too, and prompt, " +
				"max_age and acr_values always: require them by policies."},
		{Name: "login-rate", Group: "Login", Placeholder: "N", Default: "120",
			Targets: []any{&cfg.BFF.Login.Rate},
			Help: "The number of logins that one address (an IPv6 /64) may start in a minute. Behind proxies, " +
				"set trusted-proxies as well, or all users count as one address."},
		{Name: "base-url", Group: "Login", Placeholder: "URL", Show: settings.Redacted, Aliases: []string{"AUTH0_BASE_URL"},
			Targets: []any{&cfg.BFF.BaseURL, &cfg.Gateway.Access.BaseURL},
			Help: "The origin of the bff as browsers see it: scheme, host and port. It is also the only " +
				"origin whose pages may read the gateway's answers (CORS). Any form that a browser accepts " +
				"is accepted, such as https://bücher.example, and used in the form that browsers send. http " +
				"is accepted on loopback only."},
		// No default, not even a random one: sessions would end with each start.
		{Name: "secret", Group: "Login", Placeholder: "SECRET", Secret: true, Aliases: []string{"AUTH0_SECRET"},
			Targets: []any{&cfg.BFF.Sessions.Secrets},
			Help: "Key material for cookies and stored tokens, at least 32 characters: openssl rand -hex 32. " +
				"To rotate it, give several, newest first, separated by commas or one per line of the file: " +
				"all of them open, and the first one that all live bffs have seals (docs/sessions.md)."},
		{Name: "secret-compromised", Group: "Login",
			Targets: []any{&cfg.BFF.Sessions.SecretsCompromised},
			Help: "The old secrets are compromised: start even if no other live bff has one of these secrets, " +
				"and seal with the first one at once. Until the other bffs have it, each answers 503 for " +
				"the sessions of the others."},
		{Name: "audience", Group: "API", Placeholder: "ID", Aliases: []string{"AUTH0_AUDIENCE"},
			Targets: []any{&cfg.Server.Authn.Audience, &cfg.Gateway.Resource.Audience, &cfg.BFF.Login.Audience},
			Help: "The identifier of the API: requested at login, required in access tokens. Without one, " +
				"many providers issue opaque tokens, which are verified only with introspection."},
		{Name: "access-token-algorithms", Group: "API", Placeholder: "LIST", Default: "RS256",
			Targets: []any{&cfg.Server.Authn.Algorithms},
			Help: "The algorithms of signatures that the server accepts of access tokens, with commas: RS256, " +
				"PS256, ES256, EdDSA (Ed25519). List only those with which the provider signs."},
		{Name: "issuers", Group: "API", Placeholder: "LIST", Keys: issuerKeys,
			Targets: []any{&cfg.Issuers},
			Help: "Further issuers whose access tokens the server accepts, such as those of another provider, of " +
				"GitHub Actions or of a Kubernetes cluster, each with rules of its own. While one of them has no " +
				"keys, only its own tokens get 503. The command check tests each. Default: none."},
		{Name: "require-at-jwt", Group: "API",
			Targets: []any{&cfg.Server.Authn.Profile.RequireATJWT},
			Help: "Accept only access tokens of the type at+jwt (RFC 9068). Required if the audience is also " +
				"the client's id."},
		{Name: "id-token-clients", Group: "API", Placeholder: "ID",
			Targets: []any{&cfg.Server.Authn.Profile.IDTokenClients},
			Help: "The ids of clients whose ID tokens the server refuses, separated by commas: a token with " +
				"one of them as an audience must have the type at+jwt. Use it if a client's ID tokens name " +
				"the API. Tokens with at_hash, c_hash, s_hash, nonce or events are refused in any case. " +
				"Default: none."},
		{Name: "insecure-id-token-shape", Group: "API",
			Targets: []any{&cfg.Server.Authn.Profile.InsecureIDTokenShape},
			Help: "Accept access tokens that look like ID tokens (with nonce or at_hash), for a provider that " +
				"issues no others, such as Dex. INSECURE: an ID token that names the API then gives access " +
				"to it."},
		{Name: "introspection", Group: "API", Placeholder: "WHERE", Show: settings.Redacted, Default: "off",
			Targets: []any{&cfg.Introspection, &p.introspection.Endpoint},
			Help: "Accept opaque access tokens by asking the provider about them (RFC 7662): off, on for the " +
				"endpoint in the provider's metadata, or the URL of the endpoint, which is used as it is. The " +
				"provider must name the audience in its answer, which is used for 60 seconds at most. JWTs are " +
				"verified as ever (docs/opaque-tokens.md)."},
		{Name: "introspection-client-id", Group: "API", Placeholder: "ID",
			Targets: []any{&p.introspection.Client.ID},
			Help: "The id of the client as which the server asks. Give the API a client of its own, apart from " +
				"the bff's, which needs no grants and no redirect URI."},
		{Name: "introspection-client-secret", Group: "API", Placeholder: "SECRET", Secret: true, Opaque: true,
			Targets: []any{&p.introspection.Client.Secret},
			Help:    "The secret of this client."},
		{Name: "introspection-client-key", Group: "API", Placeholder: "KEY", Secret: true, Multiline: true,
			Targets: []any{&p.introspection.Client.Key},
			Help: "A private key instead of a secret (private_key_jwt): PEM or JWK, RSA or P-256. Its public " +
				"half is registered at the provider."},
		{Name: "introspection-client-auth", Group: "API", Placeholder: "METHOD",
			Targets: []any{&p.introspection.Client.Auth},
			Help: "How this client authenticates: client_secret_basic, client_secret_post or private_key_jwt. " +
				"Default: as the secret or the key requires; for a secret the first method that the provider " +
				"lists, basic before post."},
		{Name: "introspection-rate", Group: "Limits", Placeholder: "N", Default: "100",
			Targets: []any{&p.introspection.Rate},
			Help: "How many opaque tokens a second the server asks about that the provider has not confirmed " +
				"before, so that invented ones burden neither the provider nor other callers. Further ones get " +
				"503. After a start every user's token is one of them."},
		// Secret because of the password; Place shows only where it leads. Its default
		// depends on the command, so setDefaults and runDev set it. The same holds for
		// the session store and the addresses.
		{Name: "database-url", Group: "API", Placeholder: "URL", Secret: true, Show: settings.Place,
			Targets: []any{&cfg.DatabaseURL},
			Help: "Where services keep their data: sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, or " +
				"memory:, which ends with the process. Default: sqlite:gatehouse.db; in dev memory:, with " +
				"example data."},
		{Name: "files-url", Group: "API", Placeholder: "URL",
			Targets: []any{&cfg.FilesURL},
			Help: "Where services keep files: dir:PATH, which is made if it does not exist, memory:, which " +
				"ends with the process, or a bucket, s3://BUCKET?region=REGION (docs/products.md#files). " +
				"Servers with one database need the same bucket or a shared directory. Default: " +
				"dir:gatehouse-files; in dev memory: if database-url is. No file is kept by services that " +
				"do not use it."},
		{Name: "max-file-bytes", Group: "API", Placeholder: "BYTES", Default: "2147483648",
			Targets: []any{&cfg.MaxFileBytes},
			Help:    "The maximum size of a file that services keep, in bytes. A larger upload is 413."},
		{Name: "permissions-claim", Group: "API", Placeholder: "CLAIM", Default: "permissions",
			Targets: []any{&cfg.Server.Authn.PermissionsClaim},
			Help: "The claim with a caller's permissions, for policies that require some. Dots lead into " +
				"nested objects (realm_access.roles)."},
		{Name: "api-docs", Group: "API", Placeholder: "WHO", Choices: []string{"public", "off"}, Default: "public",
			Targets: []any{p.setAPIDocs},
			Help: "Who can read the description of the API at /api/docs and /api/openapi.json: public for " +
				"everyone, off for no one. It contains paths, fields and policies, which requests to the " +
				"API reveal as well."},
		{Name: "denylist", Group: "API", Placeholder: "WHERE", Secret: true, Show: settings.Place,
			Targets: []any{&cfg.Denylist},
			Help: "Where access tokens that a logout revokes before they expire are recorded: memory: if bff " +
				"and server are one process, redis://HOST:PORT (rediss:// with TLS) if they are several. A " +
				"token is refused by its jti, so the provider must include one. What a back-channel logout " +
				"revokes is refused for 24 hours, which must be longer than access tokens live. Open " +
				"streams end within a second. Default: none; an access token is accepted until it expires. " +
				"No browser ever has one."},
		{Name: "session-store", Group: "Sessions", Placeholder: "STORE", Secret: true, Show: settings.Place,
			Targets: []any{&cfg.SessionStore},
			Help: "Where sessions are kept: memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, " +
				"redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or " +
				"redis-sentinel://HOST:PORT,HOST:PORT/MASTER (rediss… with TLS). docs/sessions.md has the " +
				"guarantees of each. Default: sqlite:gatehouse-sessions.db; in dev memory:."},
		{Name: "cookie-name", Group: "Sessions", Placeholder: "NAME", Default: "gatehouse",
			Targets: []any{&cfg.BFF.Sessions.CookieName},
			Help: "The name of the session cookie; over https it has the prefix __Host-. The names of login " +
				"cookies begin with it. Instances on one host need different names, even on different " +
				"ports, because browsers do not separate cookies by port."},
		{Name: "session-idle-timeout", Group: "Sessions", Placeholder: "DURATION", Default: "24h",
			Targets: []any{&cfg.BFF.Sessions.IdleTimeout},
			Help:    "How long a session lasts without use."},
		{Name: "session-absolute-timeout", Group: "Sessions", Placeholder: "DURATION", Default: "168h",
			Targets: []any{&cfg.BFF.Sessions.AbsoluteTimeout},
			Help:    "How long a session lasts at most."},
		{Name: "sessions-per-user", Group: "Limits", Placeholder: "N", Default: "100",
			Targets: []any{&cfg.BFF.Sessions.MaxPerUser},
			Help: "How many sessions a user may have. A login beyond it ends the least recently used one, " +
				"in all of its tabs."},
		{Name: "event-streams", Group: "Limits", Placeholder: "N", Default: "15000",
			Targets: []any{&cfg.BFF.Limits.MaxStreams},
			Help:    "How many event streams of sessions (/api/auth/events) a bff keeps open. More get 429."},
		{Name: "event-streams-per-user", Group: "Limits", Placeholder: "N", Default: "100",
			Targets: []any{&cfg.BFF.Limits.MaxStreamsPerUser},
			Help: "How many of them one user may have, in all browsers; one session may have eight. More " +
				"get 429."},
		{Name: "max-header-bytes", Group: "Limits", Placeholder: "BYTES", Default: "65536",
			Targets: []any{&cfg.BFF.Limits.MaxHeaderBytes},
			Help: "The largest header of a request at the bff without its cookies, in bytes. A larger one " +
				"gets 431."},
		{Name: "max-connections", Group: "Limits", Placeholder: "N", Default: "20000",
			Targets: []any{&cfg.MaxConnections},
			Help: "How many connections each port keeps open. Further ones wait to be accepted. The process " +
				"needs as many file descriptors."},
		{Name: "http2-streams", Group: "Limits", Placeholder: "N", Default: "100",
			Targets: []any{&cfg.BFF.Limits.MaxConnStreams, &cfg.Gateway.Limits.MaxConnStreams},
			Help: "How many requests one HTTP/2 connection may have in flight, at bff and gateway. Further " +
				"ones wait."},
		{Name: "grpc-streams", Group: "Limits", Placeholder: "N", Default: "250",
			Targets: []any{&cfg.Server.Limits.MaxConnStreams},
			Help: "How many calls one connection may have under way at the server, open streams included. " +
				"Further ones wait. A gateway that runs alone has one connection to each server."},
		{Name: "refresh-timeout", Group: "Sessions", Placeholder: "DURATION", Default: "30s",
			Targets: []any{&cfg.BFF.Sessions.RefreshTimeout},
			Help: "How long the provider may take to answer a refresh, in addition to 5 seconds to connect. " +
				"It must be longer than the slowest answer: after a refresh without an answer, the refresh " +
				"token may be spent. A stop of the process waits for refreshes in flight, at most this time " +
				"and 5 seconds."},
		// With more than 1, checkReplicas refuses stores that cannot be shared.
		{Name: "replicas", Group: "Sessions", Placeholder: "N", Default: "1",
			Targets: []any{&cfg.BFF.Sessions.Nodes},
			Help: "The number of bffs that share the session store. With more than 1, memory: and sqlite: are " +
				"refused."},
		{Name: "frontend", Group: "Front end", Placeholder: "WHERE", Show: settings.Redacted, Default: "embedded:",
			Targets: []any{&cfg.Frontend},
			Help: "What serves requests outside /api: embedded:, dir:PATH for a built single-page " +
				"application, or http://HOST:PORT of a front-end server."},
		{Name: "frontend-csp", Group: "Front end", Placeholder: "POLICY",
			Targets: []any{&cfg.FrontendCSP},
			Help: "The Content Security Policy of pages from dir:PATH, or none. Default: scripts from the " +
				"application's own files and inline in its pages, images over https, and requests to its " +
				"own origin only."},
		{Name: "error-page", Group: "Front end", Placeholder: "PATH",
			Targets: []any{&cfg.BFF.Pages.ErrorPath},
			Help: "A page of the front end that shows errors, such as /error, in the place of the built-in " +
				"page. It must need no login. Browsers are redirected there with the parameters code, status, " +
				"request, reason and returnTo."},
		{Name: "catalog", Group: "Front end", Placeholder: "FILE",
			Targets: []any{&cfg.Catalog},
			Help: "A YAML file with name, logo, colors, legal links and texts of the pages that the bff shows " +
				"itself, problem pages with other front ends among them. It has what differs from the built-in " +
				"catalog, which the command catalog prints (docs/branding.md)."},
		// read makes an empty list of none, which is not the default (nil). So for public.
		{Name: "protect", Group: "Front end", Placeholder: "PATTERN",
			Targets: []any{&cfg.BFF.Access.Protect},
			Help: "Pages that require a login, as patterns of a Next.js matcher: /private, /orders/:id, " +
				"/private/:path*. none for no page. Default: " +
				"/private/:path*,/profile/:path*,/my/:path*,/sessions/:path*."},
		{Name: "public", Group: "Front end", Placeholder: "PATTERN",
			Targets: []any{&cfg.BFF.Access.Public},
			Help: "Paths that require no login; all other paths outside /api then require one. Recommended " +
				"for front-end servers (docs/front-ends.md). Patterns are those of protect, but exact: /, " +
				"/about, /assets/:path*. none for no path. It excludes protect. Default: protect decides."},
		{Name: "allowed-hosts", Group: "Front end", Placeholder: "HOST",
			Targets: []any{&cfg.BFF.Access.AllowedHosts, &cfg.Gateway.Access.AllowedHosts},
			Help: "Additional host names to which bff and gateway answer, such as those by which a phone or " +
				"another container reaches this machine. With a base URL on loopback they answer to " +
				"loopback names and these only, and to others with 421, against DNS rebinding. Exempt are " +
				"health checks, back-channel logout and, unless this is set, a gateway that runs alone and " +
				"listens beyond loopback. Default: none."},
		{Name: "trusted-proxies", Group: "Front end", Placeholder: "NETWORK",
			Targets: []any{&cfg.BFF.Access.TrustedProxies},
			Help:    "Networks, or addresses, of proxies whose X-Forwarded-For is trusted. Default: none."},
		{Name: "trust-unix-socket", Group: "Front end",
			Targets: []any{&cfg.BFF.Access.TrustUnixSocket},
			Help: "Trust X-Forwarded-For of requests on a Unix socket, as of a trusted proxy. Only the proxy " +
				"may then be able to open the socket."},
		{Name: "trace-trusted", Group: "Telemetry", Placeholder: "NETWORK",
			Targets: []any{p.setTraceTrusted},
			Help: "Networks, or addresses, of peers whose trace is continued, with their decision whether to " +
				"record it: proxies, and for gateway and server the parts in front of them. The traceparent " +
				"of other peers becomes a link. none for no peer. Default: at the bff trusted-proxies, at " +
				"gateway and server this machine (docs/tracing.md)."},
		{Name: "listen-bff", Group: "Addresses", Placeholder: "HOST:PORT",
			Targets: []any{&cfg.ListenBFF},
			Help: "The address of the bff, or unix:PATH for a Unix socket. Default: :3000; in dev " +
				"127.0.0.1:3000."},
		{Name: "listen-gateway", Group: "Addresses", Placeholder: "HOST:PORT",
			Targets: []any{&cfg.ListenGateway},
			Help: "The address of the gateway, or unix:PATH for a Unix socket. Default: :5000; in dev " +
				"127.0.0.1:5000."},
		{Name: "listen-grpc", Group: "Addresses", Placeholder: "HOST:PORT",
			Targets: []any{&cfg.ListenGRPC},
			Help: "The address of the server, or unix:PATH for a Unix socket. Default: :9090; in dev " +
				"127.0.0.1:9090."},
		{Name: "listen-admin", Group: "Addresses", Placeholder: "HOST:PORT",
			Targets: []any{&cfg.ListenAdmin},
			Help: "An address for operators and monitoring, apart from the public ports: /healthz, /readyz " +
				"with the state of each dependency, and /metrics (docs/admin.md). It asks for no credential: " +
				"give one on loopback or in a private network. Default: none."},
		{Name: "admin-debug", Group: "Operation",
			Targets: []any{&cfg.Admin.Debug},
			Help: "Serve /debug at the admin port: profiles, all settings with secrets masked, and the log " +
				"level, which can be changed there."},
		{Name: "admin-allowed-hosts", Group: "Operation", Placeholder: "HOST",
			Targets: []any{&cfg.Admin.AllowedHosts},
			Help: "Names by which the admin port may be reached, besides addresses and loopback names, such " +
				"as that of a Kubernetes service. Requests for other names are 421, against DNS rebinding; " +
				"health checks are exempt. Default: none."},
		{Name: "socket-mode", Group: "Addresses", Placeholder: "MODE", Default: "0660",
			Targets: []any{p.setSocketMode},
			Help: "The permissions of Unix sockets that are listened on (listen-bff=unix:/run/gatehouse/bff.sock), " +
				"in octal."},
		{Name: "h2c", Group: "Addresses",
			Targets: []any{&cfg.H2C},
			Help: "Speak HTTP/2 without TLS at the bff too, with prior knowledge, for a balancer that does. " +
				"Upgrades to WebSockets still need HTTP/1.1. The gateway always does."},
		{Name: "listen-devidp", Group: "Addresses", Placeholder: "HOST:PORT",
			Targets: []any{&cfg.ListenDevIDP},
			Help:    "The address of the development provider, on loopback. Default: 127.0.0.1:3001."},
		{Name: "dev-users", Group: "Development", Placeholder: "FILE",
			Targets: []any{&cfg.DevUsers},
			Help: "The YAML file of the users and machines of the development provider (docs/dev-provider.md). " +
				"Default: dev-users.yaml in the working directory, if it is there; otherwise users with what " +
				"the policies of the application name."},
		{Name: "gateway-url", Group: "Addresses", Placeholder: "URL", Show: settings.RedactedList,
			Targets: []any{&cfg.Gateways.Targets},
			Help: "The gateways of a bff that runs alone: http://gateway:5000, or unix:PATH. Give several with " +
				"commas; a name may have several addresses. Requests go in turn to those that are ready " +
				"(docs/topologies.md)."},
		{Name: "routes", Group: "Addresses", Placeholder: "LIST", Keys: routeKeys,
			Targets: []any{&cfg.Routes},
			Help: "Routes of the bff: paths whose requests go to HTTP servers besides gateway and front end, or to the " +
				"gateway by other rules (docs/routes.md). Default: none."},
		{Name: "grpc-target", Group: "Addresses", Placeholder: "TARGET", Show: settings.RedactedList,
			Targets: []any{&cfg.Servers.Targets},
			Help: "The servers of a gateway that runs alone, and of serve without a server of its own, as gRPC " +
				"targets: dns:///server:9090. Give several with commas; a name may have several addresses. " +
				"Calls go in turn to those that serve (docs/topologies.md)."},
		{Name: "grpc-connection-age", Group: "Addresses", Placeholder: "DURATION", Default: "5m",
			Targets: []any{&cfg.Server.Limits.ConnectionAge},
			Help: "How long the server keeps a connection before it asks the client for a new one, so that " +
				"clients behind a balancer of connections reach new servers. Calls under way end as usual."},
		// The server's limit is larger by what path and query add; see read.
		{Name: "max-request-bytes", Group: "API", Placeholder: "BYTES", Default: "1048576",
			Targets: []any{&cfg.Gateway.Limits.MaxBodyBytes, &cfg.Server.Limits.MaxRequestBytes},
			Help: "The longest request to the API in bytes: its body at the gateway (413), and each message " +
				"at the server. Streamed uploads are limited by their service only."},
		{Name: "max-response-bytes", Group: "API", Placeholder: "BYTES", Default: "16777216",
			Targets: []any{&cfg.Gateway.Limits.MaxResponseBytes, &cfg.Server.Limits.MaxResponseBytes},
			Help: "The longest message of an answer in bytes, at the gateway and at the server. A longer one " +
				"is an internal error (500) and is logged."},
		{Name: "stream-heartbeat", Group: "API", Placeholder: "DURATION", Default: "15s",
			Targets: []any{&cfg.Gateway.Limits.Heartbeat},
			Help: "The longest silence of an event stream before it carries a comment. It must be shorter " +
				"than the idle timeout of any proxy in front."},
		{Name: "lame-duck", Group: "Operation", Placeholder: "DURATION",
			Targets: []any{&cfg.LameDuck},
			Help: "How long the process serves on after SIGTERM while /readyz answers 503, so that load " +
				"balancers send no more requests before its ports close. It must be longer than they take to " +
				"notice. Default: 0."},
		{Name: "shutdown-timeout", Group: "Operation", Placeholder: "DURATION", Default: "20s",
			Targets: []any{&cfg.ShutdownTimeout},
			Help:    "How long requests in flight may take to end after SIGTERM and lame-duck."},
		{Name: "log-format", Group: "Log", Placeholder: "FORMAT", Choices: []string{"auto", "text", "json"}, Default: "auto",
			Targets: []any{&cfg.LogFormat},
			Help:    "text for people, json for programs; auto is text in dev and json otherwise."},
		{Name: "log-level", Group: "Log", Placeholder: "LEVEL", Choices: []string{"debug", "info", "warn", "error"}, Default: "info",
			Targets: []any{&cfg.LogLevel},
			Help:    "The lowest level that is logged: debug, info, warn or error."},
		{Name: "access-log", Group: "Log", Placeholder: "SHARE", Default: "on",
			Targets: []any{&cfg.AccessLog},
			Help: "Which requests are logged: on for all, off for none, or a share such as 0.01. Requests that " +
				"fail with 500 or more, or take a second or more, are always logged (docs/logs.md)."},
		{Name: "audit-log", Group: "Log", Placeholder: "WHERE", Default: "off",
			Targets: []any{&cfg.AuditLog},
			Help: "Where sign-ins, sign-outs, denied calls and changes are recorded as lines of JSON: off, stdout, " +
				"or the path of a file, which is created with mode 0600 (docs/audit.md)."},
	}
	table = append(table, cfg.TLS.Settings()...)
	for _, s := range table {
		s.Prefix = variablePrefix
	}
	for _, s := range p.app.Settings {
		table = append(table, &settings.Setting{
			Name: s.Name, Prefix: p.app.variablePrefix(),
			Group:       cmp.Or(s.Group, p.app.Title, "Application"),
			Placeholder: cmp.Or(s.Placeholder, "VALUE"),
			Default:     s.Default, Help: s.Help, Secret: s.Secret,
			Targets: []any{s.Target},
		})
	}
	return table
}

// setAPIDocs sets whether the API is described.
func (p *program) setAPIDocs(who string) error {
	p.cfg.Gateway.Document.Off = who == "off"
	return nil
}

// setTraceTrusted sets whose trace is continued, at every part.
func (p *program) setTraceTrusted(text string) error {
	networks := []netip.Prefix{}
	if text != "none" {
		var err error
		if networks, err = settings.Networks(text); err != nil {
			return err
		}
	}
	p.cfg.BFF.TraceTrusted, p.cfg.Gateway.TraceTrusted, p.cfg.Server.TraceTrusted = networks, networks, networks
	return nil
}
