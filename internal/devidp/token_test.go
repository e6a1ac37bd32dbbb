package devidp_test

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// redeemable returns a new code and the form that redeems it.
func (s *system) redeemable(b *browser) (attempt, url.Values) {
	s.t.Helper()
	a := s.attempt(s.oauth(), "prompt", "login")
	code := a.code(s.t, s, b.choose(b.open(a.url), "seller"))
	return a, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {a.verifier}}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()

	conf := s.oauth()
	conf.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	a := s.attempt(conf)
	if _, err := conf.Exchange(t.Context(), a.code(t, s, b.choose(b.open(a.url), "seller")), oauth2.VerifierOption(a.verifier)); err != nil {
		t.Errorf("client_secret_post: %v", err)
	}
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		conf := s.oauth()
		conf.Endpoint.AuthStyle = style
		conf.ClientSecret = "wrong"
		a := s.attempt(conf)
		_, err := conf.Exchange(t.Context(), a.code(t, s, b.open(a.url)), oauth2.VerifierOption(a.verifier))
		var e *oauth2.RetrieveError
		if !errors.As(err, &e) || e.ErrorCode != "invalid_client" || e.Response.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(e.Response.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("wrong secret: %v", err)
		}
	}

	_, form := s.redeemable(b)
	tests := map[string]struct {
		change []string
		header []string
		query  string
		status int
		want   string
	}{
		"no client":          {nil, nil, "", http.StatusUnauthorized, "invalid_client"},
		"no secret":          {[]string{"client_id", clientID}, nil, "", http.StatusUnauthorized, "invalid_client"},
		"unknown client":     {[]string{"client_id", "nobody", "client_secret", secret}, nil, "", http.StatusUnauthorized, "invalid_client"},
		"header and form":    {[]string{"client_id", clientID, "client_secret", secret}, []string{"Authorization", "Basic d2ViOng="}, "", http.StatusBadRequest, "invalid_request"},
		"secret in the URL":  {nil, nil, "?client_id=" + clientID + "&client_secret=" + url.QueryEscape(secret), http.StatusBadRequest, "invalid_request"},
		"client assertion":   {[]string{"client_id", clientID, "client_assertion", "e30.e30.e30"}, nil, "", http.StatusUnauthorized, "invalid_client"},
		"no grant type":      {[]string{"client_id", clientID, "client_secret", secret, "grant_type", ""}, nil, "", http.StatusBadRequest, "invalid_request"},
		"another grant type": {[]string{"client_id", clientID, "client_secret", secret, "grant_type", "password"}, nil, "", http.StatusBadRequest, "unsupported_grant_type"},
	}
	for name, tt := range tests {
		f := url.Values{}
		maps.Copy(f, form)
		for i := 0; i < len(tt.change); i += 2 {
			f.Set(tt.change[i], tt.change[i+1])
		}
		got := s.browser().submit(s.issuer+"/oauth/token"+tt.query, f, tt.header...)
		if got.status != tt.status || !strings.Contains(got.body, `"error":"`+tt.want+`"`) || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want %d %s", name, got.status, got.body, tt.status, tt.want)
		}
	}
	if got := s.browser().open(s.issuer + "/oauth/token"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
}

// TestCodeIsBound: a code is bound to client, redirect URI, verifier, audience and one
// minute.
func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	tests := map[string]struct {
		change func(url.Values)
		want   string
	}{
		"no verifier":       {func(f url.Values) { f.Del("code_verifier") }, "invalid_request"},
		"wrong verifier":    {func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) }, "invalid_grant"},
		"no redirect URI":   {func(f url.Values) { f.Del("redirect_uri") }, "invalid_grant"},
		"wrong redirect":    {func(f url.Values) { f.Set("redirect_uri", callback+"/") }, "invalid_grant"},
		"made-up code":      {func(f url.Values) { f.Set("code", "made-up") }, "invalid_grant"},
		"no code":           {func(f url.Values) { f.Del("code") }, "invalid_request"},
		"code twice":        {func(f url.Values) { f.Add("code", "another") }, "invalid_request"},
		"another audience":  {func(f url.Values) { f.Set("audience", "https://else.example") }, "invalid_target"},
		"another resource":  {func(f url.Values) { f.Set("resource", "https://else.example") }, "invalid_target"},
		"a minute too late": {func(url.Values) { s.clock.advance(time.Minute) }, "invalid_grant"},
	}
	for name, tt := range tests {
		_, form := s.redeemable(b)
		tt.change(form)
		if status, body := s.post("/oauth/token", form); status != http.StatusBadRequest || body["error"] != tt.want {
			t.Errorf("%s: %d %v, want %s", name, status, body, tt.want)
		}
	}

	_, form := s.redeemable(b)
	form.Set("client_id", otherID)
	form.Set("client_secret", "x")
	if status, body := s.postRaw("/oauth/token", form); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("another client's code: %d %v", status, body)
	}
	if status, body := s.post("/oauth/token", form); status != http.StatusOK {
		t.Errorf("the code was spent by another client: %d %v", status, body)
	}
}

// TestCodeReplay: a second use of a code revokes its tokens (RFC 6749 §4.1.2).
func TestCodeReplay(t *testing.T) {
	t.Parallel()
	s := start(t)
	_, form := s.redeemable(s.browser())
	_, body := s.post("/oauth/token", form)
	access, refresh := body["access_token"].(string), body["refresh_token"].(string)
	if status, body := s.post("/oauth/token", form); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("second use: %d %v", status, body)
	}
	if status, _ := s.userinfo(access); status != http.StatusUnauthorized {
		t.Errorf("access token after the replay: %d", status)
	}
	if _, err := s.refresh(refresh); err == nil {
		t.Error("refresh token after the replay is good")
	}
}

// TestFailedExchangeSpendsTheCode: a code has one attempt, so that the verifier cannot
// be guessed.
func TestFailedExchangeSpendsTheCode(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, form := s.redeemable(s.browser())
	form.Set("code_verifier", oauth2.GenerateVerifier())
	s.post("/oauth/token", form)
	form.Set("code_verifier", a.verifier)
	if status, body := s.post("/oauth/token", form); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("second try: %d %v", status, body)
	}
}

// TestKeyRotation rotates the key softly, then hard.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := start(t)
	tokens := s.signIn(s.browser(), "seller", "openid", "offline_access")
	published := func() (kids []string) {
		_, set := s.getJSON(s.issuer + "/keys")
		for _, key := range set["keys"].([]any) {
			kids = append(kids, key.(map[string]any)["kid"].(string))
		}
		return kids
	}
	first := published()
	if err := s.provider.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	both := published()
	if len(first) != 1 || len(both) != 2 || both[0] != first[0] || both[1] == first[0] {
		t.Fatalf("published %v, then %v", first, both)
	}
	tokens, err := s.refresh(tokens.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	s.provider.WithdrawKeys()
	if got := published(); len(got) != 1 || got[0] != both[1] {
		t.Errorf("published %v, want %s alone", got, both[1])
	}
	s.verify(tokens.AccessToken) // with the one key that is published
}

func TestRefreshRotation(t *testing.T) {
	t.Parallel()
	s := start(t)
	first := s.signIn(s.browser(), "seller", "openid", "email", "offline_access", "products:write")
	_, id1 := s.verify(idToken(first))
	_, at1 := s.verify(first.AccessToken)
	s.clock.advance(4 * time.Minute)
	second, err := s.refresh(first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if second.RefreshToken == first.RefreshToken || second.RefreshToken == "" {
		t.Error("the refresh token was not rotated")
	}
	_, id2 := s.verify(idToken(second))
	_, at2 := s.verify(second.AccessToken)
	// OpenID Connect Core §12.2.
	for _, name := range []string{"iss", "sub", "azp", "auth_time", "sid", "email"} {
		if id1[name] != id2[name] {
			t.Errorf("ID token %s: %v → %v", name, id1[name], id2[name])
		}
	}
	if _, ok := id2["nonce"]; ok {
		t.Error("the ID token of a refresh has a nonce")
	}
	now := float64(s.clock.now().Unix())
	if id2["iat"] != now || at2["exp"] != now+300 || at2["jti"] == at1["jti"] || at2["scope"] != at1["scope"] || at2["sid"] != at1["sid"] {
		t.Errorf("access token %v → %v", at1, at2)
	}
	if id2["at_hash"] == id1["at_hash"] {
		t.Error("at_hash is the old token's")
	}
}

// TestRefreshReuse: a second use of a refresh token revokes all tokens of the login
// (RFC 9700 §4.14.2).
func TestRefreshReuse(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	first := s.signIn(b, "seller")
	second, err := s.refresh(first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	bystander := s.signIn(b, "seller", "openid", "offline_access")

	for range 2 {
		_, err = s.refresh(first.RefreshToken)
		var e *oauth2.RetrieveError
		if !errors.As(err, &e) || e.ErrorCode != "invalid_grant" {
			t.Fatalf("reuse: %v", err)
		}
	}
	if _, err := s.refresh(second.RefreshToken); err == nil {
		t.Error("the newest token of the family still works")
	}
	if status, _ := s.userinfo(second.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("userinfo with the family's access token: %d", status)
	}
	if _, err := s.refresh(bystander.RefreshToken); err != nil {
		t.Errorf("another login's token: %v", err)
	}
}

// TestParallelRefresh: of two requests with one token, one succeeds, and all tokens of
// the login are revoked.
func TestParallelRefresh(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "seller")
	type result struct {
		token *oauth2.Token
		err   error
	}
	results := make(chan result)
	for range 2 {
		go func() {
			tok, err := s.refresh(token.RefreshToken)
			results <- result{tok, err}
		}()
	}
	a, b := <-results, <-results
	if (a.err == nil) == (b.err == nil) {
		t.Fatalf("errors %v and %v, want one", a.err, b.err)
	}
	won := a.token
	if a.err != nil {
		won = b.token
	}
	if _, err := s.refresh(won.RefreshToken); err == nil {
		t.Error("the winner's token works although its predecessor was reused")
	}
}

func TestRefreshIsBound(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "seller", "openid", "profile", "offline_access")
	form := func(pairs ...string) url.Values {
		f := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}}
		for i := 0; i < len(pairs); i += 2 {
			f.Set(pairs[i], pairs[i+1])
		}
		return f
	}
	// None of these uses up the token.
	for name, tt := range map[string]struct {
		form url.Values
		want string
	}{
		"wider scope":      {form("scope", "openid email"), "invalid_scope"},
		"another audience": {form("audience", "https://else.example"), "invalid_target"},
		"no token":         {form("refresh_token", ""), "invalid_request"},
		"made-up token":    {form("refresh_token", "made-up"), "invalid_grant"},
		"an access token":  {form("refresh_token", token.AccessToken), "invalid_grant"},
	} {
		if status, body := s.post("/oauth/token", tt.form); status != http.StatusBadRequest || body["error"] != tt.want {
			t.Errorf("%s: %d %v, want %s", name, status, body, tt.want)
		}
	}
	if status, body := s.postRaw("/oauth/token", form("client_id", otherID, "client_secret", "x")); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("another client's token: %d %v", status, body)
	}

	// A narrower scope applies to the access token, not to the grant.
	status, body := s.post("/oauth/token", form("scope", "openid", "audience", audience))
	if status != http.StatusOK || body["scope"] != "openid" {
		t.Fatalf("narrower scope: %d %v", status, body)
	}
	status, body = s.post("/oauth/token", form("refresh_token", body["refresh_token"].(string)))
	if status != http.StatusOK || body["scope"] != "openid profile offline_access" {
		t.Fatalf("the whole scope again: %d %v", status, body)
	}
	s.clock.advance(30*24*time.Hour + time.Second)
	if status, body := s.post("/oauth/token", form("refresh_token", body["refresh_token"].(string))); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("after 30 days: %d %v", status, body)
	}
}

func TestUserinfoRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.signIn(s.browser(), "seller")
	for name, authorization := range map[string]string{
		"nothing": "", "another scheme": "Basic " + token.AccessToken, "made-up token": "Bearer made-up",
		"an ID token": "Bearer " + idToken(token), "a refresh token": "Bearer " + token.RefreshToken,
		"a changed token": "Bearer " + token.AccessToken + "x",
	} {
		if status, _ := s.getJSON(s.issuer+"/userinfo", "Authorization", authorization); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status, _ := s.getJSON(s.issuer+"/userinfo", "Authorization", "bearer "+token.AccessToken); status != http.StatusOK {
		t.Errorf("a lower-case scheme: %d", status)
	}
	s.clock.advance(5 * time.Minute)
	if status, _ := s.userinfo(token.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("an expired token: %d", status)
	}

	narrowed, body := s.post("/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}, "scope": {"email"}})
	if narrowed != http.StatusOK || body["id_token"] != nil {
		t.Fatalf("without openid: %d %v", narrowed, body)
	}
	if status, _ := s.userinfo(body["access_token"].(string)); status != http.StatusForbidden {
		t.Errorf("a token without openid: %d", status)
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	form := func(token string) url.Values { return url.Values{"token": {token}} }

	one := s.signIn(b, "seller")
	if status, _ := s.post("/oauth/revoke", form(one.AccessToken)); status != http.StatusOK {
		t.Errorf("revoke an access token: %d", status)
	}
	if status, _ := s.userinfo(one.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("userinfo afterwards: %d", status)
	}
	one, err := s.refresh(one.RefreshToken)
	if err != nil {
		t.Fatalf("the refresh token went with the access token: %v", err)
	}

	if status, body := s.postRaw("/oauth/revoke", url.Values{"token": {one.RefreshToken}, "client_id": {otherID}, "client_secret": {"x"}}); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("another client revokes: %d %v", status, body)
	}
	if status, _ := s.post("/oauth/revoke", form(one.RefreshToken)); status != http.StatusOK {
		t.Errorf("revoke a refresh token: %d", status)
	}
	if _, err := s.refresh(one.RefreshToken); err == nil {
		t.Error("the refresh token still works")
	}
	if status, _ := s.userinfo(one.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("its access token: %d", status)
	}

	if status, _ := s.post("/oauth/revoke", form("made-up")); status != http.StatusOK {
		t.Errorf("an unknown token: %d, want 200 (RFC 7009, section 2.2)", status)
	}
	if status, body := s.post("/oauth/revoke", url.Values{}); status != http.StatusBadRequest || body["error"] != "invalid_request" {
		t.Errorf("no token: %d %v", status, body)
	}
	if status, body := s.postRaw("/oauth/revoke", url.Values{"token": {"x"}, "client_id": {clientID}, "client_secret": {"wrong"}}); status != http.StatusUnauthorized || body["error"] != "invalid_client" {
		t.Errorf("wrong secret: %d %v", status, body)
	}
}
