package bff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

const (
	// providerTimeout ends one call of the provider.
	providerTimeout = 5 * time.Second
	// maxProviderBytes bounds an answer of the provider.
	maxProviderBytes = 1 << 20
)

// A relyingParty is our side of OpenID Connect: the requests that we make of
// the provider, directly or through the browser, as one of its clients.
type relyingParty struct {
	cfg      Config
	callback string
	provider *token.Provider
	ids      *token.IDVerifier
	http     *http.Client
}

func newRelyingParty(cfg Config, provider *token.Provider, base *url.URL) (*relyingParty, error) {
	if !slices.Contains([]string{"", authBasic, authPost}, cfg.ClientAuth) {
		return nil, fmt.Errorf("client authentication %q: neither %s nor %s", cfg.ClientAuth, authBasic, authPost)
	}
	if !slices.Contains([]string{ConsentAuto, ConsentAlways, ConsentNever}, cfg.OfflineConsent) {
		return nil, fmt.Errorf("offline consent %q: neither %q nor %q, nor empty", cfg.OfflineConsent, ConsentAlways, ConsentNever)
	}
	if !slices.Contains(strings.Fields(cfg.Scope), "openid") {
		return nil, fmt.Errorf("scope %q: lacks openid, without which there is no login", cfg.Scope)
	}
	ids, err := token.NewIDVerifier(token.IDConfig{Provider: provider, ClientID: cfg.ClientID, Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	client := *cfg.HTTPClient
	// A redirect would carry the client's secret, or a token, elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &relyingParty{cfg: cfg, callback: base.String() + callbackPath, provider: provider, ids: ids, http: &client}, nil
}

// metadata returns the provider's, if it has what a login needs.
func (rp *relyingParty) metadata() (*token.Metadata, error) {
	md, err := rp.provider.Metadata()
	if err != nil {
		return nil, err
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": md.AuthorizationEndpoint, "token_endpoint": md.TokenEndpoint,
	} {
		if endpoint == "" {
			return nil, fmt.Errorf("the metadata of %s has no %s: is it an OpenID provider?", md.Issuer, name)
		}
	}
	return md, nil
}

// The ways in which a client authenticates at the token endpoint, as OpenID
// Connect Core section 9 names them.
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)

// authorizationURL is where the browser is sent to sign in.
func (rp *relyingParty) authorizationURL(md *token.Metadata, a *attempt, extra url.Values) (string, error) {
	u, err := url.Parse(md.AuthorizationEndpoint)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for name, values := range extra {
		q[name] = values
	}
	scope, offline := rp.scope(md)
	q.Set("client_id", rp.cfg.ClientID)
	q.Set("response_type", "code")
	q.Set("redirect_uri", rp.callback)
	q.Set("scope", scope)
	q.Set("state", a.state())
	q.Set("nonce", a.nonce())
	q.Set("code_challenge", a.challenge())
	q.Set("code_challenge_method", "S256")
	if offline && rp.needsConsent(md) {
		q.Set("prompt", withConsent(q.Get("prompt")))
	}
	rp.addAudience(q)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// withConsent adds consent to a prompt, without which the provider must ignore
// offline_access (OpenID Connect Core section 11). "none" goes with nothing
// else, and what this does not know stays alone too.
func withConsent(prompt string) string {
	values := strings.Fields(prompt)
	for _, value := range values {
		if value != "login" && value != "select_account" {
			return prompt
		}
	}
	return strings.Join(append(values, "consent"), " ")
}

// scope is what is asked for: offline_access only where the provider lists
// it, since some refuse a scope that they do not know.
func (rp *relyingParty) scope(md *token.Metadata) (scope string, offline bool) {
	fields := strings.Fields(rp.cfg.Scope)
	if !slices.Contains(md.ScopesSupported, "offline_access") {
		fields = slices.DeleteFunc(fields, func(s string) bool { return s == "offline_access" })
	}
	return strings.Join(fields, " "), slices.Contains(fields, "offline_access")
}

// needsConsent reports whether the person has to be asked before offline
// access is granted. OpenID Connect Core section 11 demands the prompt unless
// other conditions are in place, as they are at the providers below, which
// decide by the client's settings and would only annoy with it.
func (rp *relyingParty) needsConsent(md *token.Metadata) bool {
	switch rp.cfg.OfflineConsent {
	case ConsentAlways:
		return true
	case ConsentNever:
		return false
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
	return !strings.Contains(u.Path, "/realms/") // Keycloak
}

// addAudience names the API for which the access token is meant.
func (rp *relyingParty) addAudience(q url.Values) {
	if rp.cfg.Audience == "" {
		return
	}
	if !rp.cfg.OmitAudience {
		q.Set("audience", rp.cfg.Audience)
	}
	if u, err := url.Parse(rp.cfg.Audience); err == nil && u.IsAbs() && u.Fragment == "" && !rp.cfg.OmitResource {
		q.Set("resource", rp.cfg.Audience)
	}
}

// exchange redeems an authorization code (RFC 6749 section 4.1.3).
func (rp *relyingParty) exchange(ctx context.Context, md *token.Metadata, a *attempt, code string) (session.Tokens, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {rp.callback},
		"code_verifier": {a.verifier()},
	}
	rp.addAudience(form)
	return rp.tokens(ctx, md, form)
}

// refresh trades a refresh token for new tokens (RFC 6749 section 6).
func (rp *relyingParty) refresh(ctx context.Context, md *token.Metadata, refreshToken string) (session.Tokens, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	rp.addAudience(form)
	return rp.tokens(ctx, md, form)
}

// revoke ends a refresh token and with it the access tokens of its grant (RFC
// 7009). A provider without the endpoint is left alone.
func (rp *relyingParty) revoke(ctx context.Context, md *token.Metadata, refreshToken string) error {
	if md.RevocationEndpoint == "" || refreshToken == "" {
		return nil
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	_, err := rp.post(ctx, md, md.RevocationEndpoint, form)
	return err
}

// tokens calls the token endpoint.
func (rp *relyingParty) tokens(ctx context.Context, md *token.Metadata, form url.Values) (session.Tokens, error) {
	body, err := rp.post(ctx, md, md.TokenEndpoint, form)
	if err != nil {
		return session.Tokens{}, err
	}
	var answer struct {
		AccessToken  string      `json:"access_token"`
		TokenType    string      `json:"token_type"`
		ExpiresIn    json.Number `json:"expires_in"` // some send a string
		RefreshToken string      `json:"refresh_token"`
		IDToken      string      `json:"id_token"`
		Scope        string      `json:"scope"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return session.Tokens{}, errors.New("token endpoint: the answer is not the JSON of RFC 6749 section 5.1")
	}
	switch {
	case answer.AccessToken == "":
		return session.Tokens{}, errors.New("token endpoint: the answer has no access_token")
	case !strings.EqualFold(answer.TokenType, "Bearer"):
		return session.Tokens{}, errors.New("token endpoint: the token_type is not Bearer")
	case strings.ContainsFunc(answer.AccessToken, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return session.Tokens{}, errors.New("token endpoint: the access_token is not fit for a header")
	}
	now := rp.cfg.Now()
	tokens := session.Tokens{
		Access:     answer.AccessToken,
		Refresh:    answer.RefreshToken,
		ID:         answer.IDToken,
		Type:       "Bearer",
		Scope:      answer.Scope,
		ObtainedAt: now,
	}
	if seconds, err := answer.ExpiresIn.Float64(); err == nil && seconds > 0 {
		tokens.ExpiresAt = now.Add(time.Duration(min(seconds, maxExpiresIn) * float64(time.Second)))
	}
	return tokens, nil
}

// maxExpiresIn, ten years in seconds, keeps a nonsensical lifetime from
// overflowing.
const maxExpiresIn = 10 * 365 * 24 * 60 * 60

// An oauthError is a refusal by the provider (RFC 6749 section 5.2).
type oauthError struct {
	status int
	code   string
}

func (e *oauthError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("the provider answered with status %d", e.status)
	}
	return fmt.Sprintf("the provider answered %s (status %d)", e.code, e.status)
}

// post makes an authenticated request. The way of authentication is decided
// beforehand: trying one after the other would spend a code or a refresh
// token twice (oauth2-proxy #1473).
func (rp *relyingParty) post(ctx context.Context, md *token.Metadata, endpoint string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	basic := false
	switch auth := rp.clientAuth(md); {
	case rp.cfg.ClientSecret == "":
		form.Set("client_id", rp.cfg.ClientID)
	case auth == authPost:
		form.Set("client_id", rp.cfg.ClientID)
		form.Set("client_secret", rp.cfg.ClientSecret)
	default:
		basic = true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // so that no transport sends a one-time credential twice
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic { // form-encoded first, RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(rp.cfg.ClientID), url.QueryEscape(rp.cfg.ClientSecret))
	}
	return rp.do(req)
}

func (rp *relyingParty) clientAuth(md *token.Metadata) string {
	supported := md.TokenEndpointAuthMethodsSupported
	switch {
	case rp.cfg.ClientAuth != "":
		return rp.cfg.ClientAuth
	case len(supported) == 0 || slices.Contains(supported, authBasic): // basic where nothing is said: Discovery section 3
		return authBasic
	case slices.Contains(supported, authPost):
		return authPost
	}
	return authBasic
}

func (rp *relyingParty) do(req *http.Request) ([]byte, error) {
	resp, err := rp.http.Do(req)
	if err != nil {
		// The URL in a *url.Error can hold what must not be logged.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProviderBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	case len(body) > maxProviderBytes:
		return nil, fmt.Errorf("%s: the answer is longer than %d bytes", req.URL.Host, maxProviderBytes)
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		var answer struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &answer) // an answer in another shape has no code
		return nil, &oauthError{status: resp.StatusCode, code: errorCode(answer.Error)}
	}
	return body, nil
}

// errorCode returns an error code that is fit for logs and pages, "" for
// anything that is none.
func errorCode(code string) string {
	if len(code) > 64 || strings.ContainsFunc(code, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	}) {
		return ""
	}
	return code
}

// userinfo asks for the claims that the ID token left out (OpenID Connect
// Core section 5.3).
func (rp *relyingParty) userinfo(ctx context.Context, md *token.Metadata, accessToken string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, md.UserinfoEndpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json")
	body, err := rp.do(req)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return nil, errors.New("userinfo: the answer is no JSON object")
	}
	return claims, nil
}

// endSessionURL is where the browser signs out of the provider
// (RP-Initiated Logout section 2), "" if it has no such place.
func (rp *relyingParty) endSessionURL(md *token.Metadata, base, idToken, state string) string {
	if md.EndSessionEndpoint == "" {
		return rp.auth0LogoutURL(md, base)
	}
	u, err := url.Parse(md.EndSessionEndpoint)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", rp.cfg.ClientID)
	q.Set("post_logout_redirect_uri", base)
	q.Set("state", state)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// auth0LogoutURL serves Auth0 tenants that do not announce an end-session
// endpoint.
func (rp *relyingParty) auth0LogoutURL(md *token.Metadata, base string) string {
	u, err := url.Parse(md.Issuer)
	if err != nil || !strings.HasSuffix(u.Hostname(), ".auth0.com") {
		return ""
	}
	return u.JoinPath("v2", "logout").String() + "?" + url.Values{"client_id": {rp.cfg.ClientID}, "returnTo": {base}}.Encode()
}
