package client

import (
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

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

const (
	// fetchTimeout bounds one request to the provider.
	fetchTimeout = 5 * time.Second
	// renewBefore is how long before its end a token is renewed; one that lives
	// less than twice as long is renewed at half its life.
	renewBefore = time.Minute
	// pause is how long the provider is left alone after it has failed, or
	// after it has given a token that a server then refused.
	pause = time.Second
	// assumedLifetime is that of a token of which the provider does not say.
	assumedLifetime = 5 * time.Minute
)

// Credentials are those of a program, at its provider. TokenURL, ClientID and
// ClientSecret are required.
type Credentials struct {
	// TokenURL is the provider's token endpoint: https, or http on loopback.
	TokenURL string
	// ClientID and ClientSecret are of a client with the grant
	// client_credentials.
	ClientID, ClientSecret string
	// ClientAuth is how the provider wants the secret: "client_secret_basic",
	// which is meant by "" too, or "client_secret_post". It is not found out by
	// trying, which would show the secret twice.
	ClientAuth string
	// Scopes are asked for, if any.
	Scopes []string
	// Audience is the API's identifier, which many providers want to know as
	// "audience". Empty sends none.
	Audience string
	// Resource is the same as an absolute URI, for providers that follow RFC
	// 8707. Empty sends none.
	Resource string
	// HTTPClient asks the provider, and follows no redirect, whatever its
	// CheckRedirect says; nil means a plain one.
	HTTPClient *http.Client
	// Logger is told of renewals that failed, never of a token or a secret; nil
	// discards.
	Logger *slog.Logger
}

// A TokenSource has a token at hand. It fetches the first one when it is first
// asked, and each further one before the last has run out, while that is still
// given out. It is safe for concurrent use, and asks the provider once,
// however many wait.
type TokenSource struct {
	config clientcredentials.Config
	http   *http.Client
	logger *slog.Logger

	mu      sync.Mutex
	token   *oauth2.Token // the last one, nil before
	fetched time.Time     // when it was asked for
	expires time.Time
	renew   time.Time // when to fetch the next one
	flight  *flight   // a request to the provider that is under way
	failure error     // of the last request, nil if it went well
	again   time.Time // when to ask again after a failure
}

type flight struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

// NewTokenSource checks the credentials, and asks nobody.
func NewTokenSource(c Credentials) (*TokenSource, error) {
	u, err := url.Parse(c.TokenURL)
	switch {
	case c.TokenURL == "":
		return nil, errors.New("client: TokenURL is empty: give the provider's token_endpoint, as its /.well-known/openid-configuration has it")
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("client: TokenURL is not an http or https URL: give the provider's token_endpoint")
	case u.Scheme == "http" && !loopback.Host(u.Hostname()):
		return nil, fmt.Errorf("client: TokenURL %q is http, and not on loopback: the secret would cross a network in the clear; give the https address", c.TokenURL)
	case c.ClientID == "":
		return nil, errors.New("client: ClientID is empty: register the program with the provider, with the grant client_credentials")
	case c.ClientSecret == "":
		return nil, errors.New("client: ClientSecret is empty: give that of the client")
	}
	style := oauth2.AuthStyleInHeader
	switch c.ClientAuth {
	case "", "client_secret_basic":
	case "client_secret_post":
		style = oauth2.AuthStyleInParams
	default:
		return nil, fmt.Errorf("client: ClientAuth %q: give client_secret_basic or client_secret_post, or leave it out", c.ClientAuth)
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
	// A redirect would carry the secret to who knows whom.
	s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Token returns an access token that is good for a while. It waits only while
// there is none, and no longer than the context allows. The provider's refusal
// is an *oauth2.RetrieveError.
func (s *TokenSource) Token(ctx context.Context) (*oauth2.Token, error) {
	s.mu.Lock()
	now := time.Now()
	if s.token != nil && now.Before(s.expires) {
		token := s.token
		if !now.Before(s.renew) {
			s.fetch(now)
		}
		s.mu.Unlock()
		return token, nil
	}
	f := s.fetch(now)
	err := s.failure
	s.mu.Unlock()
	if f == nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// fetch asks the provider, unless that is under way already or has just failed:
// then it returns nil. The lock is held.
func (s *TokenSource) fetch(now time.Time) *flight {
	if s.flight != nil || now.Before(s.again) {
		return s.flight
	}
	f := &flight{done: make(chan struct{})}
	s.flight = f
	// Not the context of the call that happens to need it: others wait too.
	go func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), oauth2.HTTPClient, s.http), fetchTimeout)
		defer cancel()
		f.token, f.err = s.config.Token(ctx)
		s.landed(f, now)
	}()
	return f
}

// landed keeps what a request that was made at some time has brought.
func (s *TokenSource) landed(f *flight, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight, s.failure = nil, f.err
	if f.err != nil {
		s.again = time.Now().Add(pause)
		s.logger.Warn("no access token from the provider", "token_url", s.config.TokenURL, "error", publicText(f.err))
		return
	}
	lifetime := assumedLifetime
	if !f.token.Expiry.IsZero() {
		lifetime = time.Until(f.token.Expiry)
	}
	s.token, s.fetched = f.token, asked
	s.expires = asked.Add(lifetime)
	s.renew = s.expires.Add(-min(renewBefore, lifetime/2))
}

// refused notes that a server does not take the token, although it has not run
// out: its key was withdrawn, or it was revoked. The next call gets another
// one. A token that is new was not the one, or will not get better.
func (s *TokenSource) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.fetched) >= pause {
		s.expires = time.Time{}
	}
}

// publicText returns the part of an error that may be shown: what a provider sends beside its
// error code may be a page of HTML.
func publicText(err error) string {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		code := refused.ErrorCode
		if code == "" {
			code = "no OAuth error"
		}
		return fmt.Sprintf("%s (%s)", code, refused.Response.Status)
	}
	return err.Error()
}
