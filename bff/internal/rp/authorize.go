package rp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A Request holds what ties an authorization request to one browser.
type Request struct {
	State, Nonce string
	// Verifier is the PKCE code verifier.
	Verifier string
}

// AuthorizationURL returns the address at which the browser signs in, with the
// parameters of extra. Where the provider accepts pushed authorization
// requests, it gets the parameters directly and the address has a reference to
// them (RFC 9126). A failed push is an error: with a fallback, an attacker who
// makes pushes fail could force parameters into the address.
func (p *Party) AuthorizationURL(ctx context.Context, md *oidc.Metadata, r Request, extra url.Values) (string, error) {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err != nil {
		return "", err
	}
	request := p.AuthorizationRequest(md, r, extra)
	if p.Pushes(md) {
		if request, err = p.push(ctx, md, request); err != nil {
			return "", err
		}
	}
	q := u.Query()
	maps.Copy(q, request)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// AuthorizationRequest returns the parameters of an authorization request.
func (p *Party) AuthorizationRequest(md *oidc.Metadata, r Request, extra url.Values) url.Values {
	q := maps.Clone(extra)
	scope, offline := p.Scope(md)
	q.Set("client_id", p.cfg.Client.ID)
	q.Set("response_type", "code")
	q.Set("redirect_uri", p.cfg.Callback)
	q.Set("scope", scope)
	q.Set("state", r.State)
	q.Set("nonce", r.Nonce)
	challenge := sha256.Sum256([]byte(r.Verifier)) // RFC 7636 §4.2
	q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	q.Set("code_challenge_method", "S256")
	if p.cfg.ResponseMode != "" {
		q.Set("response_mode", p.cfg.ResponseMode)
	}
	if offline && p.needsConsent(md) {
		q.Set("prompt", withConsent(q.Get("prompt")))
	}
	p.AddAudience(q)
	for _, resource := range p.cfg.Resources {
		if p.isResource(resource) && resource != p.cfg.Audience {
			q.Add("resource", resource) // of a refresh only with the user's consent here (RFC 8707 §2.2)
		}
	}
	return q
}

// Pushes reports whether authorization requests are pushed.
func (p *Party) Pushes(md *oidc.Metadata) bool {
	return md.PushedAuthorizationRequestEndpoint != "" && !p.cfg.OmitPAR
}

// maxRequestURI bounds a request_uri, in bytes. It becomes part of an address.
const maxRequestURI = 2048

// push sends an authorization request to the provider and returns the
// parameters that refer to it.
func (p *Party) push(ctx context.Context, md *oidc.Metadata, request url.Values) (_ url.Values, err error) {
	defer func(start time.Time) { p.measure(ctx, start, metrics.RequestPAR, err) }(time.Now())
	body, err := p.post(ctx, md, md.PushedAuthorizationRequestEndpoint, request)
	if err != nil {
		return nil, fmt.Errorf("pushed authorization request: %w", err)
	}
	var response struct {
		RequestURI string `json:"request_uri"`
	}
	if json.Unmarshal(body, &response) != nil || response.RequestURI == "" || len(response.RequestURI) > maxRequestURI {
		return nil, errors.New("pushed authorization request: the response has no request_uri")
	}
	return url.Values{"client_id": {p.cfg.Client.ID}, "request_uri": {response.RequestURI}}, nil
}

// withConsent adds consent to a prompt. Without it, a provider must ignore
// offline_access (OpenID Connect Core §11). It returns "none", which excludes
// other values, and unknown values unchanged.
func withConsent(prompt string) string {
	values := strings.Fields(prompt)
	for _, value := range values {
		if value != "login" && value != "select_account" {
			return prompt
		}
	}
	return strings.Join(append(values, "consent"), " ")
}

// Scope returns the requested scope, and whether it has offline_access. That is
// left out where the provider does not list it, because some refuse an unknown
// scope. It is left out of the default scope at Keycloak, which issues refresh
// tokens without it: with it, a login has no session at Keycloak, so that the
// user has to sign in again at the next login, and a logout there does not
// reach this client.
func (p *Party) Scope(md *oidc.Metadata) (scope string, offline bool) {
	fields := strings.Fields(cmp.Or(p.cfg.Scope, p.cfg.DefaultScope))
	if !slices.Contains(md.ScopesSupported, "offline_access") || p.cfg.Scope == "" && IsKeycloak(md) {
		fields = slices.DeleteFunc(fields, func(s string) bool { return s == "offline_access" })
	}
	return strings.Join(fields, " "), slices.Contains(fields, "offline_access")
}

// IsKeycloak reports whether the provider is Keycloak, by its endpoints.
func IsKeycloak(md *oidc.Metadata) bool {
	return strings.Contains(md.Issuer, "/realms/") && strings.Contains(md.TokenEndpoint, "/protocol/openid-connect/")
}

// needsConsent reports whether a request for offline access prompts for
// consent. OpenID Connect Core §11 requires the prompt unless other conditions
// are in place. That is so at the providers below, which decide by the client's
// configuration.
func (p *Party) needsConsent(md *oidc.Metadata) bool {
	if p.cfg.ConsentAlways || p.cfg.ConsentNever {
		return p.cfg.ConsentAlways
	}
	u, err := url.Parse(md.Issuer)
	if err != nil {
		return true
	}
	for _, domain := range []string{"auth0.com", "okta.com", "oktapreview.com", "microsoftonline.com"} {
		if strings.HasSuffix(u.Hostname(), "."+domain) {
			return false
		}
	}
	return !strings.Contains(u.Path, "/realms/") // Keycloak, with a configured scope
}

// AddAudience adds the API for which an access token is requested.
func (p *Party) AddAudience(q url.Values) { p.addAudience(q, p.cfg.Audience) }

func (p *Party) addAudience(q url.Values, audience string) {
	if audience == "" {
		return
	}
	if !p.cfg.OmitAudience {
		q.Set("audience", audience)
	}
	if p.isResource(audience) {
		q.Set("resource", audience)
	}
}

// isResource reports whether an audience is sent as the parameter resource (RFC 8707 §2).
func (p *Party) isResource(audience string) bool {
	u, err := url.Parse(audience)
	return err == nil && u.IsAbs() && u.Fragment == "" && !p.cfg.OmitResource
}
