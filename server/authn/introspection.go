package authn

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
)

// An IntrospectionConfig has opaque access tokens of Config.Provider verified by its
// introspection endpoint (RFC 7662). Client is required. Tokens of the form of a JWT are
// never introspected.
//
// The response must have Config.Audience in "aud". Config.PermissionsClaim applies to it
// as to JWTs, of Config.Profile only InsecureIDTokenShape, and Config.Algorithms not at
// all. An answer is used for 60 seconds, and
// never beyond "exp"; a response without "exp" makes a principal without ExpiresAt. An
// open stream ends when the provider calls its token inactive, within 60 seconds. While the
// provider is down, opaque tokens are refused with Unavailable, JWTs are not.
type IntrospectionConfig struct {
	// Endpoint is the URL of the endpoint: https, or http on loopback. It is used as it is,
	// whatever the provider's internal URL. Default: introspection_endpoint of the
	// provider's metadata.
	Endpoint string
	// Client authenticates this API at the endpoint.
	Client IntrospectionClient
	// Rate is how many tokens a second are introspected that were not confirmed before,
	// with bursts of two seconds' number. Further ones are refused with Unavailable, so
	// that invented tokens burden neither the provider nor callers with known ones.
	// Default: DefaultIntrospectionRate.
	Rate int
	// HTTPClient sends the requests, each of which ends within 5 seconds. Redirects are
	// not followed. Default: one with http.DefaultTransport.
	HTTPClient *http.Client
	// Rand makes the ids of client assertions. Default: crypto/rand.
	Rand io.Reader
}

// DefaultIntrospectionRate is used when IntrospectionConfig.Rate is 0.
const DefaultIntrospectionRate = introspect.DefaultRate

// An IntrospectionClient is the client of the provider as which an API introspects tokens.
// ID, and Secret or Key are required.
type IntrospectionClient struct {
	// ID is the client_id, Secret the client_secret.
	ID, Secret string
	// Key is a private key instead of a secret, in PEM or as a JWK (RSA, or ECDSA on
	// P-256). The provider must know its public half.
	Key string
	// Auth is client_secret_basic, client_secret_post or private_key_jwt. Default: as the
	// secret or the key requires; for a secret the first method that the provider lists,
	// basic before post.
	Auth string
}

func (c IntrospectionClient) registered() clientauth.Config {
	return clientauth.Config{ID: c.ID, Secret: c.Secret, Key: c.Key, Auth: clientauth.Method(c.Auth)}
}

// validate returns what is wrong with the values of cfg; nil does not introspect.
func (cfg *IntrospectionConfig) validate() error {
	if cfg == nil {
		return nil
	}
	client := cfg.Client.registered()
	errs := []error{invalid.In("Client", client.Validate())}
	switch {
	case client.Auth == clientauth.NoAuth:
		errs = append(errs, invalid.Field("Client.Auth", client.Auth, "is no authentication, and every caller could ask about tokens (RFC 7662 §4)",
			"register a client with a secret or a key"))
	case client.Auth == "" && client.Secret+client.Key == "":
		errs = append(errs, invalid.Missing("Client.Secret", "give the secret of the client as which the API introspects tokens, or Client.Key"))
	}
	if cfg.Endpoint != "" {
		u, err := url.Parse(cfg.Endpoint)
		switch {
		case err != nil || u.Opaque != "" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
			errs = append(errs, invalid.Field("Endpoint", cfg.Endpoint, "is not the URL of an endpoint", "give one such as https://login.example/introspect"))
		case u.Scheme == "http" && !loopback.Host(u.Hostname()):
			errs = append(errs, invalid.Field("Endpoint", cfg.Endpoint, "would carry tokens and the client's credential in the clear", "use https"))
		}
	}
	errs = append(errs, invalid.NotNegative("Rate", cfg.Rate, "a number of tokens", DefaultIntrospectionRate))
	return errors.Join(errs...)
}

// newIntrospector returns the verifier of opaque tokens, nil if they are not accepted.
func newIntrospector(cfg Config, v *Verifier, name func(string) string) (*introspect.Verifier[*Principal], *introspect.Endpoint, error) {
	own := cfg.Introspection
	if own == nil {
		return nil, nil, nil
	}
	random := own.Rand
	if random == nil {
		random = rand.Reader
	}
	endpoint, err := introspect.NewEndpoint(introspect.EndpointConfig{
		Provider: cfg.Provider, URL: own.Endpoint, Client: own.Client.registered(), HTTPClient: own.HTTPClient,
		Setting: func(field string) string { return name("Introspection." + field) },
		Now:     v.now, Rand: random, Logger: v.logger, Requests: metrics.NewHistogram(cfg.MeterProvider, metrics.IntrospectionDuration),
	})
	if err != nil {
		return nil, nil, err
	}
	return introspect.NewVerifier(introspect.Config[*Principal]{
		Endpoint:  endpoint,
		Profile:   token.IntrospectionProfile{Audience: cfg.Audience, InsecureIDTokenShape: cfg.Profile.InsecureIDTokenShape},
		Principal: func(c *token.Claims) (*Principal, error) { return newPrincipal(c, v.permissionsClaim) },
		Revoked:   revoked(cfg.Denylist), Verified: counted(cfg), Inspector: v.inspector,
		CacheSize: cfg.CacheSize, Rate: own.Rate, Limited: metrics.NewCounter(cfg.MeterProvider, metrics.LimitRejections),
		Now: v.now, Logger: v.logger,
	}), endpoint, nil
}

// introspects reports whether a token is for the introspection endpoint.
func (v *Verifier) introspects(raw string) bool {
	return v.opaque != nil && !token.HasJWTForm(raw)
}

// IntrospectionReady returns why opaque tokens cannot be verified at the moment, by the
// last request to the provider; nil if they can, or are not accepted at all.
func (v *Verifier) IntrospectionReady() error {
	if v.endpoint == nil {
		return nil
	}
	return v.endpoint.Ready()
}

// SetIntrospectionCredential replaces secret and key of the client that introspects tokens,
// for requests from now on. Without Config.Introspection it does nothing.
func (v *Verifier) SetIntrospectionCredential(secret, key string) error {
	if v.endpoint == nil {
		return nil
	}
	return v.endpoint.SetCredential(secret, key)
}
