// Package clientauth owns the authentication of a client at the endpoints of a
// provider (OpenID Connect Core §9): the methods, the requests that carry the
// credential, and texts of responses without it. It leaves what is asked, and what
// the response means, to its callers.
package clientauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A Method is a client authentication method of OpenID Connect Core §9.
type Method string

// The supported client authentication methods.
const (
	Basic      Method = "client_secret_basic"
	Post       Method = "client_secret_post"
	PrivateKey Method = "private_key_jwt"
	NoAuth     Method = "none"
)

// assertionType is the client_assertion_type of RFC 7523 §2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Config is a client as it is registered at the provider.
type Config struct {
	ID, Secret, Key string
	Auth            Method // "" for the one that goes with the credential
	// AssertForTokenEndpoint makes the token endpoint, instead of the issuer,
	// the audience of client assertions.
	AssertForTokenEndpoint bool
}

// Validate returns what is wrong with the values of cfg, joined: an id is missing, a key
// cannot be read, or Auth does not go with the credential.
func (cfg Config) Validate() error {
	var errs []error
	if cfg.ID == "" {
		errs = append(errs, invalid.Missing("ID", "give the id of the client that is registered with the provider"))
	}
	if cfg.Key != "" {
		if _, err := token.ParseClientKeys(cfg.Key); err != nil {
			errs = append(errs, &invalid.Error{Field: "Key", Problem: "is not usable: " + err.Error(),
				Remedy: "give the text of a private key, in PEM or as a JWK, or make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"})
		}
	}
	if problem := cfg.authProblem(); problem != "" {
		errs = append(errs, invalid.Field("Auth", cfg.Auth, problem, "give the method that goes with the secret or the key, or remove what is not used"))
	}
	return errors.Join(errs...)
}

// authProblem returns what is wrong with Auth beside the credentials: one is missing, or
// would not be used.
func (cfg Config) authProblem() string {
	switch method := cfg.Auth; {
	case !slices.Contains([]Method{"", Basic, Post, PrivateKey, NoAuth}, method):
		return fmt.Sprintf("is none of %s, %s, %s and %s", Basic, Post, PrivateKey, NoAuth)
	case method == "" && cfg.Secret != "" && cfg.Key != "":
		return "is missing: there are a client secret and a client key"
	case (method == Basic || method == Post) && cfg.Secret == "":
		return "needs a client secret"
	case method == PrivateKey && cfg.Key == "":
		return "needs a client key"
	case method == NoAuth && cfg.Secret+cfg.Key != "":
		return "leaves a client secret or a client key unused"
	}
	return ""
}

// A Client authenticates at the provider's endpoints. It is safe for concurrent
// use.
type Client struct {
	Config
	keys *token.ClientKeys // nil without Key
	now  func() time.Time
	rand io.Reader
}

// New returns a client. It fails if Key cannot be read.
func New(cfg Config, now func() time.Time, random io.Reader) (*Client, error) {
	c := &Client{Config: cfg, now: now, rand: random}
	if cfg.Key != "" {
		var err error
		if c.keys, err = token.ParseClientKeys(cfg.Key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// PublicKeys returns the JWK set of the client's public keys, nil without a key.
func (c *Client) PublicKeys() []byte {
	if c.keys == nil {
		return nil
	}
	return c.keys.PublicSet()
}

// Method returns the authentication method: the configured one, or the one that
// goes with the credential and with what the provider lists.
func (c *Client) Method(md *oidc.Metadata) Method {
	supported := md.TokenEndpointAuthMethodsSupported
	switch {
	case c.Auth != "":
		return c.Auth
	case c.keys != nil:
		return PrivateKey
	case c.Secret == "":
		return NoAuth
	case len(supported) > 0 && !lists(supported, Basic) && lists(supported, Post): // the default is Basic: Discovery §3
		return Post
	}
	return Basic
}

func lists(supported []string, method Method) bool {
	return slices.Contains(supported, string(method))
}

// UsesKey reports whether the client authenticates with its key, as far as that
// is known without the provider's metadata.
func (c *Client) UsesKey() bool { return c.keys != nil && c.Auth != Basic && c.Auth != Post }

// Request returns an authenticated POST of form, which it changes, to an endpoint.
// The method is chosen beforehand: trying one after the other would spend a code or a
// refresh token twice (oauth2-proxy #1473).
func (c *Client) Request(ctx context.Context, md *oidc.Metadata, endpoint string, form url.Values) (*http.Request, error) {
	method := c.Method(md)
	switch method {
	case Post:
		form.Set("client_secret", c.Secret)
	case PrivateKey:
		audience := md.Issuer
		if c.AssertForTokenEndpoint {
			audience = md.TokenEndpoint
		}
		assertion, err := c.keys.Assertion(md, audience, c.ID, c.now(), c.rand)
		if err != nil {
			return nil, fmt.Errorf("client assertion: %w", err)
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	if method != Basic {
		form.Set("client_id", c.ID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // so that no transport sends a one-time credential twice
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if method == Basic { // form-encoded first: RFC 6749 §2.3.1
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	return req, nil
}

// WithOtherAudience returns the client with the other audience of client
// assertions.
func (c *Client) WithOtherAudience() *Client {
	other := *c
	other.AssertForTokenEndpoint = !c.AssertForTokenEndpoint
	return &other
}

// WithWrongCredential returns the client with a random credential. A public
// client gets another id.
func (c *Client) WithWrongCredential(md *oidc.Metadata) (*Client, error) {
	other := *c
	switch c.Method(md) {
	case NoAuth:
		other.ID = "gatehouse-check-" + rand.Text()
	case PrivateKey:
		keys, err := c.keys.Another(rand.Reader)
		if err != nil {
			return nil, err
		}
		other.keys = keys
	default:
		other.Secret = rand.Text()
	}
	return &other, nil
}

// Mismatch returns what is wrong with the authentication method at the provider, ""
// for nothing. The remedy names only what both sides support. setting returns the
// name of the setting for "Client.Auth", "Client.Secret" and "Client.Key".
func (c *Client) Mismatch(md *oidc.Metadata, setting func(field string) string) (problem, remedy string) {
	method, supported := c.Method(md), md.TokenEndpointAuthMethodsSupported
	if len(supported) == 0 || lists(supported, method) {
		if method == PrivateKey {
			if _, err := c.keys.Algorithm(md.TokenEndpointAuthSigningAlgValues); err != nil {
				return setting("Client.Key") + ": " + err.Error(), "give a key of another kind"
			}
		}
		return "", ""
	}
	problem = fmt.Sprintf("the provider does not list the client authentication %s, but %s", method, strings.Join(supported, ", "))
	var remedies []string
	if lists(supported, Basic) || lists(supported, Post) {
		switch {
		case c.Secret != "":
			remedies = append(remedies, fmt.Sprintf("unset %s and %s, so that %s is used", setting("Client.Auth"), setting("Client.Key"), setting("Client.Secret")))
		case c.Auth != "" || c.Key != "":
			remedies = append(remedies, fmt.Sprintf("set %s instead of %s and %s", setting("Client.Secret"), setting("Client.Auth"), setting("Client.Key")))
		default:
			remedies = append(remedies, "set "+setting("Client.Secret"))
		}
	}
	if lists(supported, PrivateKey) {
		remedies = append(remedies, "set "+setting("Client.Key")+" for private_key_jwt")
	}
	if lists(supported, NoAuth) {
		remedies = append(remedies, "leave out secret and key, for a public client")
	}
	if remedies == nil {
		return problem, fmt.Sprintf("allow one of %s, %s, %s and %s for the client there: Gatehouse has no other", Basic, Post, PrivateKey, NoAuth)
	}
	return problem, strings.Join(remedies, "; or ")
}
