package devidp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := start(t)
	status, meta := s.getJSON(s.issuer + "/.well-known/openid-configuration")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	want := map[string]any{
		"issuer":                                         s.issuer,
		"authorization_endpoint":                         s.issuer + "/authorize",
		"token_endpoint":                                 s.issuer + "/oauth/token",
		"userinfo_endpoint":                              s.issuer + "/userinfo",
		"revocation_endpoint":                            s.issuer + "/oauth/revoke",
		"end_session_endpoint":                           s.issuer + "/end_session",
		"jwks_uri":                                       s.issuer + "/keys",
		"response_types_supported":                       []any{"code"},
		"grant_types_supported":                          []any{"authorization_code", "refresh_token", "client_credentials"},
		"code_challenge_methods_supported":               []any{"S256"},
		"id_token_signing_alg_values_supported":          []any{"RS256"},
		"token_endpoint_auth_methods_supported":          []any{"client_secret_basic", "client_secret_post"},
		"scopes_supported":                               []any{"openid", "profile", "email", "offline_access", "products:write", "sessions:admin"},
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"authorization_response_iss_parameter_supported": true,
	}
	for name, value := range want {
		if diff := cmp.Diff(value, meta[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestCodeFlow: redirect, sign-in page, code, tokens and their claims.
func TestCodeFlow(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	conf := s.oauth("openid", "profile", "email", "offline_access", "products:write", "sessions:admin", "made:up")
	a := s.attempt(conf, "audience", audience, "resource", audience)
	got := b.choose(b.open(a.url), "seller")
	if got.status != http.StatusSeeOther {
		t.Errorf("sent back with %d, want 303, so that a browser does not repeat the POST", got.status)
	}
	token, err := conf.Exchange(t.Context(), a.code(t, s, got), oauth2.VerifierOption(a.verifier))
	if err != nil {
		t.Fatal(err)
	}
	if token.ExpiresIn != 300 || token.Type() != "Bearer" || token.RefreshToken == "" {
		t.Errorf("expires_in %d, type %q, refresh token %t", token.ExpiresIn, token.Type(), token.RefreshToken != "")
	}
	now := float64(s.clock.now().Unix())

	header, access := s.verify(token.AccessToken)
	if header["typ"] != "at+jwt" {
		t.Errorf("access token typ %v", header["typ"])
	}
	sid, jti := access["sid"], access["jti"]
	if sid == "" || sid == nil || jti == "" || jti == nil {
		t.Errorf("access token sid %v, jti %v", sid, jti)
	}
	want := map[string]any{
		"iss": s.issuer, "sub": "dev|seller", "aud": []any{audience}, "client_id": clientID, "azp": clientID,
		"iat": now, "exp": now + 300, "auth_time": now, "sid": sid, "jti": jti,
		// An API scope needs the permission of the same name; unknown scopes are ignored.
		"scope": "openid profile email offline_access products:write", "permissions": []any{"products:write"},
	}
	if diff := cmp.Diff(want, access); diff != "" {
		t.Errorf("access token (-want +got):\n%s", diff)
	}

	header, id := s.verify(idToken(token))
	if header["typ"] != "JWT" {
		t.Errorf("ID token typ %v", header["typ"])
	}
	sum := sha256.Sum256([]byte(token.AccessToken))
	want = map[string]any{
		"iss": s.issuer, "sub": "dev|seller", "aud": []any{clientID}, "azp": clientID,
		"iat": now, "exp": now + 3600, "auth_time": now, "nonce": a.nonce, "sid": sid,
		"at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]),
		"name":    "Sofia Marchetti", "given_name": "Sofia", "family_name": "Marchetti",
		"nickname": "seller", "preferred_username": "seller", "email": "sofia@example.com", "email_verified": true,
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Errorf("ID token (-want +got):\n%s", diff)
	}

	status, info := s.userinfo(token.AccessToken)
	want = map[string]any{
		"sub": "dev|seller", "name": "Sofia Marchetti", "given_name": "Sofia", "family_name": "Marchetti",
		"nickname": "seller", "preferred_username": "seller", "email": "sofia@example.com", "email_verified": true,
	}
	if diff := cmp.Diff(want, info); status != http.StatusOK || diff != "" {
		t.Errorf("userinfo %d (-want +got):\n%s", status, diff)
	}
}

func TestEachUserHasTheirPermissions(t *testing.T) {
	t.Parallel()
	s := start(t)
	for user, permissions := range map[string][]any{
		"seller": {"products:write"}, "buyer": {}, "admin": {"sessions:admin"},
	} {
		_, claims := s.verify(s.signIn(s.browser(), user).AccessToken)
		if diff := cmp.Diff(any(permissions), claims["permissions"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", user, diff)
		}
	}
}

// TestScopesLimitClaims: profile and email select claims, offline_access a refresh
// token.
func TestScopesLimitClaims(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "buyer", "openid")
	if token.RefreshToken != "" {
		t.Error("a refresh token without offline_access")
	}
	_, claims := s.verify(idToken(token))
	for _, name := range []string{"name", "email", "email_verified", "nickname"} {
		if _, ok := claims[name]; ok {
			t.Errorf("the ID token has %s", name)
		}
	}
	if _, info := s.userinfo(token.AccessToken); len(info) != 1 || info["sub"] != "dev|buyer" {
		t.Errorf("userinfo: %v", info)
	}
}

// TestFreshKey: tokens from before a restart are invalid.
func TestFreshKey(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	_, one := a.getJSON(a.issuer + "/keys")
	_, two := b.getJSON(b.issuer + "/keys")
	if cmp.Equal(one, two) {
		t.Error("two providers share a key")
	}
}

func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	_, first := s.verify(idToken(s.signIn(b, "seller")))
	s.clock.advance(time.Minute)

	conf := s.oauth()
	a := s.attempt(conf)
	token, err := conf.Exchange(t.Context(), a.code(t, s, b.open(a.url)), oauth2.VerifierOption(a.verifier))
	if err != nil {
		t.Fatal(err)
	}
	_, second := s.verify(idToken(token))
	if second["sid"] != first["sid"] || second["auth_time"] != first["auth_time"] || second["nonce"] != a.nonce {
		t.Errorf("sid %v → %v, auth_time %v → %v", first["sid"], second["sid"], first["auth_time"], second["auth_time"])
	}
	_, elsewhere := s.verify(idToken(s.signIn(s.browser(), "seller")))
	if elsewhere["sid"] == first["sid"] {
		t.Error("two browsers share a session")
	}
}

func TestSessionCookie(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	cookie := func() *http.Cookie {
		a := s.attempt(s.oauth(), "prompt", "login")
		got := b.choose(b.open(a.url), "seller")
		c, err := http.ParseSetCookie(got.header.Get("Set-Cookie"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := cookie(), cookie()
	if !one.HttpOnly || one.SameSite != http.SameSiteLaxMode || one.Path != "/" || one.Domain != "" || len(one.Value) < 26 {
		t.Errorf("cookie %q: %+v", one.Name, one)
	}
	if one.Value == two.Value {
		t.Error("a new login keeps the cookie value: session fixation")
	}
}

// TestFormPost: the response is a form that a script file submits, as the content
// security policy requires.
func TestFormPost(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	a := s.attempt(s.oauth(), "response_mode", "form_post")
	got := b.choose(b.open(a.url), "seller")
	for _, part := range []string{
		`action="` + callback + `"`, `name="code" value="`, `name="state" value="` + a.state + `"`,
		`name="iss" value="` + s.issuer + `"`, `<script src="/assets/form_post.js"></script>`,
	} {
		if !strings.Contains(got.body, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://localhost:3000;") || !strings.HasSuffix(csp, "script-src 'self'") {
		t.Errorf("policy %q", csp)
	}
	if js := b.open(s.issuer + "/assets/form_post.js"); js.status != http.StatusOK || !strings.Contains(js.header.Get("Content-Type"), "javascript") {
		t.Errorf("script: %d %s", js.status, js.header.Get("Content-Type"))
	}
}

func TestFragment(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	a := s.attempt(s.oauth(), "response_mode", "fragment")
	got := b.choose(b.open(a.url), "seller")
	q, err := url.ParseQuery(got.to.EscapedFragment())
	if err != nil || q.Get("code") == "" || q.Get("state") != a.state || got.to.RawQuery != "" {
		t.Errorf("sent to %v", got.to)
	}
}

// TestNothingSecretIsLogged: logins, failures and a logout at debug level.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	conf := s.oauth()
	a := s.attempt(conf)
	code := a.code(t, s, b.choose(b.open(a.url), "seller"))
	token, err := conf.Exchange(t.Context(), code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.refresh(token.RefreshToken)
	_, _ = s.refresh(token.RefreshToken)
	_, _ = conf.Exchange(t.Context(), code, oauth2.VerifierOption(a.verifier))
	s.userinfo(token.AccessToken)
	s.postRaw("/oauth/token", url.Values{"grant_type": {"refresh_token", "client_credentials"}, "refresh_token": {token.RefreshToken}, "client_id": {clientID}, "client_secret": {"wrong-secret-value"}})
	b.open(s.attempt(conf, "prompt", "none").url)
	b.open(s.issuer + "/end_session?" + url.Values{"id_token_hint": {idToken(token)}, "state": {"logout-state"}, "post_logout_redirect_uri": {"http://evil.example"}}.Encode())
	b.open(s.issuer + "/end_session?" + url.Values{"id_token_hint": {idToken(token) + "x"}}.Encode())

	logs := s.logs.String()
	if !strings.Contains(logs, "development sign-in") || !strings.Contains(logs, "refresh token reused") {
		t.Errorf("the log lacks what it is for:\n%s", logs)
	}
	secrets := []string{code, a.verifier, a.state, a.nonce, "logout-state", secret, "wrong-secret-value", token.RefreshToken, token.AccessToken, idToken(token)}
	u, _ := url.Parse(s.issuer)
	for _, c := range b.Jar.Cookies(u) {
		secrets = append(secrets, c.Value)
	}
	if i := slices.IndexFunc(secrets, func(v string) bool { return strings.Contains(logs, v) }); i >= 0 {
		t.Errorf("secret number %d is in the log", i)
	}
}
