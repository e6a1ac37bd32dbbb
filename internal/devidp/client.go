package devidp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A registration is a Client or Machine as an op.Client.
type registration struct {
	Client
	machine *directory.Machine // nil for a relying party
}

var _ op.Client = (*registration)(nil)

func (c *registration) GetID() string                       { return c.ID }
func (c *registration) RedirectURIs() []string              { return c.Client.RedirectURIs }
func (c *registration) PostLogoutRedirectURIs() []string    { return c.Client.PostLogoutRedirectURIs }
func (c *registration) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c *registration) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (c *registration) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *registration) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}
func (c *registration) LoginURL(id string) string {
	return pathLogin + "?" + url.Values{"request": {id}}.Encode()
}
func (c *registration) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }
func (c *registration) IDTokenLifetime() time.Duration      { return defaultIDTokenLifetime }

// DevMode permits http redirect URIs for every response type, so that a wrong
// response type is reported as such and not as an http redirect URI.
func (c *registration) DevMode() bool { return true }

func (c *registration) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c *registration) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

// IsScopeAllowed allows every scope: the user decides which are granted.
func (c *registration) IsScopeAllowed(string) bool           { return true }
func (c *registration) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *registration) ClockSkew() time.Duration             { return 0 }

// Origin returns the origin of the application, for pages.
func (c *registration) Origin() string { return origin(c.Client.RedirectURIs[0]) }

// Home returns the address of the application, for links.
func (c *registration) Home() string {
	if uris := c.Client.PostLogoutRedirectURIs; len(uris) > 0 {
		return uris[0]
	}
	return c.Origin()
}

// clients are the registered clients.
type clients []*registration

// find returns the client with an id, or nil.
func (c clients) find(id string) *registration {
	i := slices.IndexFunc(c, func(r *registration) bool { return r.ID == id })
	if i < 0 {
		return nil
	}
	return c[i]
}

// hasSecret compares the secret in constant time.
func (c *registration) hasSecret(secret string) bool {
	want, got := sha256.Sum256([]byte(c.Secret)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// credentials are client_id and client_secret for op.ParseAuthenticatedTokenRequest,
// which reads them from the header (client_secret_basic) or the form
// (client_secret_post) and refuses both at once (RFC 6749 §2.3).
type credentials struct {
	ClientID            string `schema:"client_id"`
	ClientSecret        string `schema:"client_secret"`
	ClientAssertion     string `schema:"client_assertion"`
	ClientAssertionType string `schema:"client_assertion_type"`
}

func (c *credentials) SetClientID(id string)              { c.ClientID = id }
func (c *credentials) SetClientSecret(secret string)      { c.ClientSecret = secret }
func (c *credentials) IsSetClientAssertion() bool         { return c.ClientAssertion != "" }
func (c *credentials) IsSetClientIDAndClientSecret() bool { return c.ClientSecret != "" }

// authenticate parses the form and identifies the client that sent it.
func (t *tokens) authenticate(r *http.Request) (*registration, error) {
	if r.URL.RawQuery != "" {
		// RFC 6749 §2.3.1, §3.2: URLs are logged.
		return nil, oidc.ErrInvalidRequest().WithDescription("parameters belong in the body, not in the URL")
	}
	// zitadel parses the form of a copy of the request.
	if err := r.ParseForm(); err != nil {
		return nil, oidc.ErrInvalidRequest().WithDescription("the form could not be read")
	}
	var creds credentials
	if err := op.ParseAuthenticatedTokenRequest(r, t.decoder, &creds); err != nil {
		return nil, err
	}
	if name := repeated(r.PostForm); name != "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("%s is given more than once", name)
	}
	if creds.ClientAssertion != "" {
		return nil, oidc.ErrInvalidClient().WithDescription("private_key_jwt is not supported; use client_secret_basic or client_secret_post")
	}
	client := t.clients.find(creds.ClientID)
	if client == nil || !client.hasSecret(creds.ClientSecret) {
		return nil, oidc.ErrInvalidClient().WithDescription("unknown client or wrong secret")
	}
	return client, nil
}

// repeated returns a parameter that occurs more than once (RFC 6749 §3.1), except
// resource (RFC 8707 §2); "" if there is none.
func repeated(form url.Values) string {
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return name
		}
	}
	return ""
}

// origin returns scheme and host of an absolute URL.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
