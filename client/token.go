package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

const (
	// fetchTimeout limits one request to the provider.
	fetchTimeout = 5 * time.Second
	// renewBefore is how long before its expiry a token is renewed. A token with less than twice
	// that lifetime is renewed at half its life.
	renewBefore = time.Minute
	// retryAfter is the interval between requests after one that failed, and the age that a token
	// must have before a server's refusal of it leads to another request.
	retryAfter = time.Second
	// assumedLifetime is the lifetime of a token whose response has no expires_in.
	assumedLifetime = 5 * time.Minute
)

// An AuthMethod is how a client authenticates at the token endpoint (RFC 6749 §2.3.1).
type AuthMethod string

// The methods for clients with a secret, under their names in the provider's metadata.
const (
	ClientSecretBasic AuthMethod = "client_secret_basic"
	ClientSecretPost  AuthMethod = "client_secret_post"
)

// Credentials are the program's client at the provider. TokenURL, ClientID and ClientSecret are
// required.
type Credentials struct {
	// TokenURL is the provider's token endpoint. It is an https URL, or http on loopback.
	TokenURL string
	// ClientID and ClientSecret belong to a client with the grant client_credentials.
	ClientID, ClientSecret string
	// ClientAuth is how the secret is sent; "" means ClientSecretBasic. The package never tries
	// both, which would send the secret twice. A provider's metadata lists the supported methods in
	// token_endpoint_auth_methods_supported.
	ClientAuth AuthMethod
	// Scopes are the requested scopes; none by default.
	Scopes []string
	// Audience is the API's identifier, sent as the parameter audience, which Auth0 and others
	// require. Empty sends none.
	Audience string
	// Resource is the API's identifier as an absolute URI, sent as the parameter resource (RFC
	// 8707). Empty sends none.
	Resource string
	// HTTPClient sends the requests. Redirects are never followed, its CheckRedirect
	// notwithstanding. Nil means a client with http.DefaultTransport.
	HTTPClient *http.Client
	// Logger receives failed token requests. No token and no secret is logged. Nil discards.
	Logger *slog.Logger
}

// A TokenSource provides access tokens. It requests the first token when it is needed, and renews
// each token one minute before its expiry, or at half its lifetime if that is later. A token that
// is still valid is returned while the renewal runs. At most one request runs at a time.
//
// A TokenSource is safe for concurrent use.
type TokenSource struct {
	config clientcredentials.Config
	http   *http.Client
	logger *slog.Logger

	mu        sync.Mutex
	token     *oauth2.Token // the latest, nil before the first
	requested time.Time     // when token was requested
	expires   time.Time
	renew     time.Time // when to request the next one
	request   *request  // the request that is running, or nil
	failure   error     // of the latest request, nil if it succeeded
	notBefore time.Time // no request before, after a failure
}

// A request is a token request. Its other fields are set when done is closed.
type request struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

// Validate returns an error for each invalid field of c, joined. It contacts nothing.
// NewTokenSource calls it.
func (c Credentials) Validate() error {
	var errs []error
	u, err := url.Parse(c.TokenURL)
	switch {
	case c.TokenURL == "":
		errs = append(errs, invalid.Missing("TokenURL",
			"give the token_endpoint of the provider's /.well-known/openid-configuration"))
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, &invalid.Error{ // without the value, which may have a password
			Field: "TokenURL", Problem: "is not an http or https URL without a password",
			Remedy: "give the provider's token_endpoint",
		})
	case u.Scheme == "http" && !loopback.Host(u.Hostname()):
		errs = append(errs, invalid.Field("TokenURL", c.TokenURL,
			"is http and not on loopback, and would get the secret in the clear",
			"give the https URL"))
	}
	if c.ClientID == "" {
		errs = append(errs, invalid.Missing("ClientID",
			"register the program with the provider, with the grant client_credentials"))
	}
	if c.ClientSecret == "" {
		errs = append(errs, invalid.Missing("ClientSecret", "give the secret of the client"))
	}
	switch c.ClientAuth {
	case "", ClientSecretBasic, ClientSecretPost:
	default:
		errs = append(errs, invalid.Field("ClientAuth", c.ClientAuth, "is unknown",
			"give ClientSecretBasic or ClientSecretPost"))
	}
	return errors.Join(errs...)
}

// NewTokenSource returns a source of tokens for the client in c. It contacts nothing. Errors are
// those of Validate.
func NewTokenSource(c Credentials) (*TokenSource, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	style := oauth2.AuthStyleInHeader
	if c.ClientAuth == ClientSecretPost {
		style = oauth2.AuthStyleInParams
	}
	parameters := url.Values{}
	if c.Audience != "" {
		parameters.Set("audience", c.Audience)
	}
	if c.Resource != "" {
		parameters.Set("resource", c.Resource)
	}
	s := &TokenSource{
		config: clientcredentials.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.TokenURL,
			Scopes: c.Scopes, EndpointParams: parameters, AuthStyle: style,
		},
		http:   &http.Client{},
		logger: c.Logger,
	}
	if c.HTTPClient != nil {
		*s.http = *c.HTTPClient
	}
	// A redirect would send the secret to another server (RFC 9700 §4.12).
	s.http.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Token returns a valid access token. It waits for the provider only if there is none, until ctx
// ends. If the provider refuses, the error is an *oauth2.RetrieveError. After a failed request,
// Token returns the same error for a second without another request.
func (s *TokenSource) Token(ctx context.Context) (*oauth2.Token, error) {
	s.mu.Lock()
	now := time.Now()
	if s.token != nil && now.Before(s.expires) {
		token := s.token
		if !now.Before(s.renew) {
			s.start(now)
		}
		s.mu.Unlock()
		return token, nil
	}
	r := s.start(now)
	err := s.failure
	s.mu.Unlock()
	if r == nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.token, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// start starts a request and returns it, or the one that is running. It returns nil shortly after a
// failure. The caller holds the lock.
func (s *TokenSource) start(now time.Time) *request {
	if s.request != nil || now.Before(s.notBefore) {
		return s.request
	}
	r := &request{done: make(chan struct{})}
	s.request = r
	// The request does not end with the context of the call that started it: other calls wait too.
	go func() {
		defer close(r.done)
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, s.http)
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		r.token, r.err = s.config.Token(ctx)
		s.finish(r, now)
	}()
	return r
}

// finish keeps the result of a request that was started at the time requested.
func (s *TokenSource) finish(r *request, requested time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.request, s.failure = nil, r.err
	if r.err != nil {
		s.notBefore = time.Now().Add(retryAfter)
		s.logger.Warn("access token request failed",
			"address", s.config.TokenURL, "err", publicText(r.err))
		return
	}
	lifetime := assumedLifetime
	if !r.token.Expiry.IsZero() {
		lifetime = time.Until(r.token.Expiry)
	}
	s.token, s.requested = r.token, requested
	s.expires = requested.Add(lifetime)
	s.renew = s.expires.Add(-min(renewBefore, lifetime/2))
}

// refused makes the next call request another token: a server has refused this one before its
// expiry, because it was revoked or its key was withdrawn. A token that is younger than retryAfter
// is kept, as another one would be refused too.
func (s *TokenSource) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.requested) >= retryAfter {
		s.expires = time.Time{}
	}
}

// publicText returns the part of err that may be shown. A provider's response may have anything
// beside its error code, such as a page of HTML.
func publicText(err error) string {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Sprintf("%s (%s)", cmp.Or(refused.ErrorCode, "no OAuth error"), refused.Response.Status)
	}
	return err.Error()
}
