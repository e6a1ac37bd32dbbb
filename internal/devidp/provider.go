package devidp

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/schema"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// Lifetimes and timeouts. Those of tokens are the defaults of Behavior.
const (
	defaultAccessTokenLifetime  = 5 * time.Minute
	defaultIDTokenLifetime      = time.Hour
	defaultRefreshTokenLifetime = 30 * 24 * time.Hour
	codeLifetime                = time.Minute
	requestLifetime             = 30 * time.Minute
	sessionLifetime             = 12 * time.Hour
	logoutTokenLifetime         = 2 * time.Minute
	logoutCallTimeout           = 5 * time.Second
)

// maxForm is the largest request body, and maxRequest the longest authorization request,
// in bytes.
const (
	maxForm    = 64 << 10
	maxRequest = 16 << 10
)

// Client is a relying party that may use the provider. All clients are confidential.
type Client struct {
	ID     string // client_id
	Secret string // client_secret, for client_secret_basic and client_secret_post

	// RedirectURIs are compared with redirect_uri byte for byte. At least one is
	// required.
	RedirectURIs []string
	// PostLogoutRedirectURIs are compared with post_logout_redirect_uri byte for byte.
	PostLogoutRedirectURIs []string
	// BackchannelLogoutURI receives a logout token when a session of the client ends.
	// "" means no request.
	BackchannelLogoutURI string
}

// Config configures a Provider. Issuer, Audience and one client are required.
type Config struct {
	// Issuer is the origin at which browsers and relying parties reach the provider:
	// http or https, on 127.0.0.0/8, [::1] or localhost, without a path.
	Issuer string
	// Clients are the relying parties.
	Clients []Client
	// Machines are programs that call the API. They are optional.
	Machines []directory.Machine
	// Users are the people who can be signed in, in the order of the sign-in page.
	// They are optional: others can be added while the provider runs.
	Users []directory.User
	// Policies has what the sign-in page offers for such users.
	Policies directory.PolicyValues
	// Audience is the API's identifier, the aud of all access tokens. A client may
	// request it with audience or resource; another one is the error invalid_target.
	// It must differ from the ids of all clients, so that ID tokens do not pass for
	// access tokens.
	Audience string
	// Audiences are other identifiers. Relying parties can have tokens for them by the
	// refresh grant, by token exchange (RFC 8693) and, for themselves, by client
	// credentials. For themselves they have tokens for Audience only if it is listed.
	Audiences []string
	// Behavior is the behavior at the start, and after a Reset.
	Behavior Behavior
	// HTTPClient sends back-channel logout requests; nil means a client that follows
	// no redirects. In either case a request ends within 5 s.
	HTTPClient *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// AccessAlgorithm is the one that access tokens are signed with, IDAlgorithm that of ID
	// tokens and logout tokens: RS256, PS256, ES256 or EdDSA. "" means RS256.
	AccessAlgorithm, IDAlgorithm string
	// NewKey makes the signing keys of RSA; nil means RSA keys of 2048 bits.
	NewKey func() (*rsa.PrivateKey, error)
	// Logger gets sign-ins and failures, never a token, code or cookie; nil discards.
	Logger *slog.Logger
}

// Provider is the OpenID provider. It is an http.Handler, safe for concurrent use.
type Provider struct {
	*realm
	logouts *logouts
	handler http.Handler
}

// New returns a provider with a new signing key for each algorithm and no state. The error
// names the wrong field.
func New(cfg Config) (*Provider, error) {
	issuer, err := parseIssuer(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	if cfg.Audience == "" {
		return nil, errors.New("devidp: Audience is empty; set it to the API's identifier, the `aud` of access tokens")
	}
	behavior, err := cfg.Behavior.normalize()
	if err != nil {
		return nil, fmt.Errorf("devidp: %w", invalid.In("Behavior", err))
	}
	users := new(directory.Directory)
	rl := &realm{
		issuer:   cfg.Issuer,
		base:     strings.TrimSuffix(cfg.Issuer, "/"),
		cookie:   newSessionCookie(issuer),
		audience: cfg.Audience, audiences: cfg.Audiences,
		controls: &controls{initial: behavior, current: behavior},
		now:      cfg.Now,
		log:      cfg.Logger,
		decoder:  schema.NewDecoder(),
		users:    users,
		state:    newState(users),
		policies: cfg.Policies,
	}
	if rl.clients, err = register(cfg.Clients, cfg.Machines, cfg.Audience); err != nil {
		return nil, err
	}
	if problems := users.Set(cfg.Users); len(problems) > 0 {
		return nil, directory.Join(problems)
	}
	if rl.signing, err = newSigningKeys(cfg.AccessAlgorithm, cfg.IDAlgorithm, cfg.NewKey); err != nil {
		return nil, fmt.Errorf("devidp: make the signing key: %w", err)
	}
	if rl.now == nil {
		rl.now = time.Now
	}
	if rl.log == nil {
		rl.log = slog.New(slog.DiscardHandler)
	}
	rl.decoder.IgnoreUnknownKeys(true)
	rl.pages = &pages{rl.clients, rl.log, rl.controls.active}
	p := &Provider{realm: rl, logouts: newLogouts(rl, cfg.HTTPClient)}
	p.handler = p.routes()
	return p, nil
}

// parseIssuer refuses an issuer off loopback, since the provider has no passwords.
func parseIssuer(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	switch {
	case issuer == "":
		return nil, errors.New("devidp: Issuer is empty; set it to the origin of this provider, for example http://127.0.0.1:3001")
	case err != nil:
		return nil, fmt.Errorf("devidp: Issuer %q is not a URL; give an origin such as http://127.0.0.1:3001", issuer)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("devidp: Issuer %q is neither http nor https; give an origin such as http://127.0.0.1:3001", issuer)
	case u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(issuer, "#"):
		return nil, fmt.Errorf("devidp: Issuer %q is more than an origin; leave out user, path, query and fragment", u.Redacted())
	case !loopback.Host(u.Hostname()):
		return nil, fmt.Errorf("devidp: Issuer %q is not on loopback: anyone can sign in as anyone at the development provider; use 127.0.0.1, [::1] or localhost, or a real provider", issuer)
	}
	return u, nil
}

// register checks the configured clients and machines.
func register(relyingParties []Client, machines []directory.Machine, audience string) (clients, error) {
	if len(relyingParties) == 0 {
		return nil, errors.New("devidp: Clients is empty; give at least one")
	}
	var all clients
	for _, c := range relyingParties {
		all = append(all, &registration{Client: c})
	}
	for i, m := range machines {
		all = append(all, &registration{Client: Client{ID: m.ID, Secret: m.Secret}, machine: &machines[i]})
	}
	for i, c := range all {
		switch {
		case c.ID == "":
			return nil, errors.New("devidp: a client has no ID")
		case c.Secret == "":
			return nil, fmt.Errorf("devidp: client %q has no Secret; all clients are confidential", c.ID)
		case c.ID == audience:
			return nil, fmt.Errorf("devidp: client ID %q equals Audience; ID tokens would pass for access tokens (RFC 8725 §3.12): give the API an identifier of its own", c.ID)
		case c.machine == nil && len(c.Client.RedirectURIs) == 0:
			return nil, fmt.Errorf("devidp: client %q has no RedirectURIs", c.ID)
		case all[:i].find(c.ID) != nil:
			return nil, fmt.Errorf("devidp: client ID %q is given twice", c.ID)
		}
		uris := slices.Concat(c.Client.RedirectURIs, c.Client.PostLogoutRedirectURIs)
		if c.BackchannelLogoutURI != "" {
			uris = append(uris, c.BackchannelLogoutURI)
		}
		for _, raw := range uris {
			u, err := url.Parse(raw)
			if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Contains(raw, "#") {
				return nil, fmt.Errorf("devidp: client %q: %q is not an absolute http or https URL without a fragment", c.ID, raw)
			}
		}
	}
	return all, nil
}

// routes returns the handler of all endpoints and pages.
func (p *Provider) routes() http.Handler {
	mux := http.NewServeMux()
	// Forms of the provider's pages only, against login CSRF. Relying parties may post
	// to the endpoints of the protocol across sites.
	own := http.NewCrossOriginProtection()
	own.SetDenyHandler(http.HandlerFunc(p.pages.denyCrossOrigin))

	sign := &authorization{realm: p.realm, logouts: p.logouts, encoder: oidc.NewEncoder()}
	issue := &tokens{p.realm}
	protocol := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, p.suffer(h)) }
	protocol("GET "+oidc.DiscoveryEndpoint, p.discovery)
	protocol("GET "+pathKeys, p.keys)
	protocol("GET "+pathAuthorize, sign.authorize)
	protocol("POST "+pathAuthorize, sign.authorize)
	protocol("GET "+pathLogin, sign.showLogin)
	protocol("POST "+pathLogin, own.Handler(http.HandlerFunc(sign.login)).ServeHTTP)
	protocol("POST "+pathToken, issue.serve)
	protocol("GET "+pathUserinfo, issue.userinfo)
	protocol("POST "+pathUserinfo, issue.userinfo)
	protocol("POST "+pathRevoke, issue.revoke)
	protocol("GET "+pathEndSession, p.logouts.endSession)
	protocol("POST "+pathEndSession, p.logouts.endSession)
	protocol("POST "+pathConfirmLogout, own.Handler(http.HandlerFunc(p.logouts.confirmLogout)).ServeHTTP)
	mux.Handle(pathDev, p.devAPI())
	mux.Handle("POST "+pathControls, own.Handler(http.HandlerFunc(p.control)))
	mux.HandleFunc("GET /assets/", serveAsset)
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("/", p.pages.notFound)
	for _, path := range []string{pathToken, pathRevoke, pathConfirmLogout} {
		// Because of the catch-all the mux would respond with 404 instead of 405.
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "send this as a POST", http.StatusMethodNotAllowed)
		})
	}
	return mux
}

// ServeHTTP serves requests with a loopback Host. Others are refused with 421, since
// a page whose name resolves to 127.0.0.1 (DNS rebinding) would have the provider's
// origin.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	host := (&url.URL{Host: r.Host}).Hostname()
	if !loopback.Host(host) {
		p.pages.write(w, r, http.StatusMisdirectedRequest, "message", nil, &message{
			Title: "Not the address of this provider",
			Text:  []string{"The development provider answers on loopback only. Open it as " + p.base + "."},
		})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	p.handler.ServeHTTP(w, r)
}

// Shutdown waits for the back-channel logout requests in flight and sends no others.
// When ctx ends first, it cancels them and returns the error of ctx.
func (p *Provider) Shutdown(ctx context.Context) error { return p.logouts.shutdown(ctx) }
