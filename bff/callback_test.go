package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	location := b.navigate("/api/auth/login?returnTo=%2Fprivate%3Fx%3D1%26y%3D%2F%2Fz%23part").location()
	if b.signedIn() {
		t.Fatal("signed in before the callback")
	}
	res := b.back(s.idp.authorize(location))
	wantStatus(t, res, http.StatusSeeOther)
	if res.location() != "/private?x=1&y=//z#part" {
		t.Errorf("back to %q", res.location())
	}
	// CVE-2025-48947: a cookie that a cache gives to another user.
	if res.Header.Get("Cache-Control") != "no-store" || res.body != "" {
		t.Errorf("Cache-Control %q, body %q", res.Header.Get("Cache-Control"), res.body)
	}
	if !b.signedIn() {
		t.Error("not signed in")
	}
	f := s.idp.called("/token")
	if len(f) != 1 || f[0].form.Get("redirect_uri") != "http://localhost:3000/api/auth/callback" || f[0].form.Has("client_secret") {
		t.Errorf("token calls: %d", len(f))
	}
	// oauth2-proxy #1473: trying one authentication method after the other spends
	// the code twice. Here the method is chosen beforehand.
	if user, _, ok := (&http.Request{Header: f[0].header}).BasicAuth(); !ok || user != url.QueryEscape(clientID) {
		t.Errorf("not client_secret_basic, form-encoded: %q", user)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	post := map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	for _, c := range []struct {
		name     string
		cfg      bff.AuthMethod
		metadata map[string]any
		basic    bool
	}{
		{"both offered", "", nil, true},
		{"nothing said: basic", "", map[string]any{"token_endpoint_auth_methods_supported": tokentest.Absent}, true},
		{"post offered", "", post, false},
		{"configured against the offer", "client_secret_post", nil, false},
		{"basic configured", "client_secret_basic", post, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(cfg *bff.Config) { cfg.Client.Auth = c.cfg })
			lay(s.idp.metadata, c.metadata)
			s.reconfigure()
			s.browser().signIn()
			calls := s.idp.called("/token")
			if len(calls) != 1 {
				t.Fatalf("%d calls", len(calls))
			}
			if basic := calls[0].header.Get("Authorization") != ""; basic != c.basic || calls[0].form.Has("client_secret") == c.basic {
				t.Errorf("basic %t, secret in the form %t", basic, calls[0].form.Has("client_secret"))
			}
		})
	}
}

// A public client has PKCE alone, and sends no empty secret.
func TestPublicClient(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Client.Secret = "" })
	s.idp.instead["/token"] = refuse(http.StatusBadRequest, "invalid_grant")
	b := s.browser()
	b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
	call := s.idp.called("/token")[0]
	if call.form.Get("client_id") != clientID || call.form.Has("client_secret") || call.header.Get("Authorization") != "" {
		t.Errorf("form %v", call.form)
	}
}

// Responses of the provider that must be rejected (mix-up, injected codes;
// OpenID Connect Core §3.1.3.7): the login fails, the page helps, and nothing of
// the response is shown.
func TestCallbackRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	id := func(name string, value any) func(*provider) { return func(p *provider) { p.id[name] = value } }
	answer := func(name string, value any) func(*provider) { return func(p *provider) { p.answer[name] = value } }
	tokenCall := func(h http.HandlerFunc) func(*provider) { return func(p *provider) { p.instead["/token"] = h } }
	for name, change := range map[string]func(*provider){
		"nonce wrong":                    id("nonce", "another"),
		"nonce missing":                  id("nonce", tokentest.Absent),
		"nonce null":                     id("nonce", nil),
		"iss wrong":                      id("iss", "https://evil.example"),
		"iss with a slash":               id("iss", issuerURL+"/"),
		"aud of another client":          id("aud", "other"),
		"aud missing":                    id("aud", tokentest.Absent),
		"two aud, no azp":                id("aud", []string{clientID, "other"}),
		"azp of another client":          id("azp", "other"),
		"expired":                        id("exp", now-3600),
		"exp missing":                    id("exp", tokentest.Absent),
		"iat missing":                    id("iat", tokentest.Absent),
		"issued in the future":           id("iat", now+3600),
		"sub missing":                    id("sub", tokentest.Absent),
		"sub a number":                   id("sub", 1),
		"at_hash of another token":       id("at_hash", tokentest.AccessTokenHash("another")),
		"a logout token":                 id("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}),
		"alg none (CVE-2015-9235)":       func(p *provider) { p.idHeader["alg"] = "none" },
		"alg HS256 (CVE-2016-10555)":     func(p *provider) { p.idHeader["alg"] = "HS256" },
		"unknown key":                    func(p *provider) { p.idHeader["kid"] = "another" },
		"an access token as ID token":    func(p *provider) { p.idHeader["typ"] = "at+jwt" },
		"crit (CVE-2025-59420)":          func(p *provider) { p.idHeader["crit"] = []string{"x"} },
		"signature cut off":              func(p *provider) { p.reform = func(s string) string { return s[:strings.LastIndex(s, ".")+1] } },
		"signature of another":           func(p *provider) { p.reform = func(s string) string { return s[:len(s)-8] + "AAAAAAAA" } },
		"no id_token":                    answer("id_token", tokentest.Absent),
		"id_token empty":                 answer("id_token", ""),
		"id_token no JWT":                answer("id_token", "hello"),
		"no access_token":                answer("access_token", tokentest.Absent),
		"access_token with a line break": func(p *provider) { p.answer["access_token"] = "a\r\nX-Evil: 1"; p.id["at_hash"] = tokentest.Absent },
		"token_type DPoP":                answer("token_type", "DPoP"),
		"token_type missing":             answer("token_type", tokentest.Absent),
		"access_token of the wrong type": answer("access_token", 7),
		"status 500":                     tokenCall(refuse(http.StatusInternalServerError, "server_error")),
		"redirect elsewhere": tokenCall(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, issuerURL+"/elsewhere", http.StatusFound)
		}),
		"HTML with 200":                    tokenCall(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>Sign in</html>")) }),
		"JSON null":                        tokenCall(func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, nil) }),
		"invalid_client":                   tokenCall(refuse(http.StatusUnauthorized, "invalid_client")),
		"an endless answer":                tokenCall(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) }),
		"userinfo about another user":      func(p *provider) { p.id["name"] = tokentest.Absent; p.userinfo["sub"] = "user-2" },
		"userinfo about a similar subject": func(p *provider) { p.id["name"] = tokentest.Absent; p.userinfo["sub"] = "USER-1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			change(s.idp)
			b := s.browser()
			callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location())
			res := b.back(callback)
			wantStatus(t, res, http.StatusBadGateway)
			if b.session() != "" || b.signedIn() {
				t.Error("signed in")
			}
			if !strings.Contains(res.body, "returnTo=%2Fprivate") || !strings.Contains(res.body, "Request ") {
				t.Errorf("the page does not help: %s", res.body)
			}
			for _, leak := range []string{"nonce", "hash", "issuer", "evil", "signature", "server_error", "user-2", "code-"} {
				if strings.Contains(res.body, leak) {
					t.Errorf("the page says %q", leak)
				}
			}
			if len(s.idp.called("/elsewhere")) != 0 {
				t.Error("a redirect was followed, with the code and our credentials")
			}
			if calls := len(s.idp.called("/token")); calls != 1 {
				t.Errorf("%d token calls: a code is spent once", calls)
			}
			// The same response again finds no attempt.
			wantStatus(t, b.back(callback), http.StatusBadRequest)
		})
	}
}

// Unusual and valid responses.
func TestCallbackAccepts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*provider){
		"aud as a list":      func(p *provider) { p.id["aud"] = []string{clientID} },
		"two aud with azp":   func(p *provider) { p.id["aud"] = []string{clientID, "other"}; p.id["azp"] = clientID },
		"no at_hash":         func(p *provider) { p.id["at_hash"] = tokentest.Absent },
		"no sid":             func(p *provider) { p.id["sid"] = tokentest.Absent },
		"no typ":             func(p *provider) { p.idHeader["typ"] = tokentest.Absent },
		"token_type bearer":  func(p *provider) { p.answer["token_type"] = "bearer" },
		"expires_in as text": func(p *provider) { p.answer["expires_in"] = "300" },
		"no expires_in":      func(p *provider) { p.answer["expires_in"] = tokentest.Absent },
		"an absurd lifetime": func(p *provider) { p.answer["expires_in"] = 1e30 },
		"no refresh token":   func(p *provider) { p.answer["refresh_token"] = tokentest.Absent },
		"a large ID token":   func(p *provider) { p.id["groups"] = strings.Repeat("g", 20_000) },
		"userinfo 401": func(p *provider) {
			p.id["name"] = tokentest.Absent
			p.instead["/userinfo"] = refuse(401, "invalid_token")
		},
		"userinfo 500":           func(p *provider) { p.id["name"] = tokentest.Absent; p.instead["/userinfo"] = refuse(500, "") },
		"userinfo without a sub": func(p *provider) { p.id["name"] = tokentest.Absent; delete(p.userinfo, "sub") },
		"userinfo JSON null":     func(p *provider) { p.id["name"] = tokentest.Absent; p.userinfo = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			change(s.idp)
			b := s.browser().signIn()
			if !b.signedIn() || b.access() == "" {
				t.Error("not signed in")
			}
			if strings.HasPrefix(name, "userinfo") && strings.Contains(b.fetch("/api/auth/me").body, "Userinfo") {
				t.Error("the claims of a bad answer were used")
			}
		})
	}
}

// A callback without an attempt in this browser never signs in: login CSRF, and
// a code injected into another browser's login.
func TestForeignCallback(t *testing.T) {
	t.Parallel()
	s := start(t)
	mallory, alice := s.browser(), s.browser()
	hers := alice.navigate("/api/auth/login").location()
	his := s.idp.authorize(mallory.navigate("/api/auth/login").location())
	code, _ := url.ParseQuery(strings.SplitN(his, "?", 2)[1])
	for name, callback := range map[string]string{
		"his whole answer":     his,
		"no parameter":         "/api/auth/callback",
		"a made-up state":      "/api/auth/callback?code=x&state=y",
		"an empty state":       "/api/auth/callback?code=x&state=",
		"an error, no state":   "/api/auth/callback?error=access_denied",
		"a state without code": "/api/auth/callback?state=" + code.Get("state"),
	} {
		wantStatus(t, alice.back(callback), http.StatusBadRequest)
		if alice.session() != "" || len(s.idp.called("/token")) != 0 {
			t.Fatalf("%s: signed in, or the code redeemed", name)
		}
	}
	// An attacker's code with the user's state: with PKCE the provider refuses it (RFC 9700 section 4.5).
	res := alice.back(s.idp.authorize(hers, func(q url.Values) { q.Set("code", code.Get("code")) }))
	wantStatus(t, res, http.StatusBadRequest)
	if alice.session() != "" {
		t.Error("signed in as the attacker")
	}
}

// oauth2-proxy #1888: a stale callback of a signed-in user says so, and does not
// end the session.
func TestStaleCallbackWhenSignedIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	wantStatus(t, b.back(callback), http.StatusSeeOther)
	before := b.session()
	res := b.back(callback)
	wantStatus(t, res, http.StatusBadRequest)
	if !strings.Contains(res.body, "signed in already") || b.session() != before || !b.signedIn() {
		t.Errorf("the page: %s", res.body)
	}
	if len(s.idp.called("/token")) != 1 {
		t.Error("the code was redeemed twice")
	}
	// The page links to where the login led, for the link of that login only.
	for _, to := range []string{"/private?tab=2", "/private?x=" + strings.Repeat("y", 600)} {
		callback := s.idp.authorize(b.navigate("/api/auth/login?returnTo=" + url.QueryEscape(to)).location())
		wantStatus(t, b.back(callback), http.StatusSeeOther)
		want := `href="` + to + `"`
		if len(to) > 512 { // too long for a cookie
			want = `href="/"`
		}
		for range 2 {
			if res := b.back(callback); !strings.Contains(res.body, want) || !strings.Contains(res.body, "signed in already") {
				t.Errorf("the page does not have %s: %s", want, res.body)
			}
		}
		if res := b.back("/api/auth/callback?code=x&state=another"); strings.Contains(res.body, `href="/private`) {
			t.Errorf("the link of another login leads there: %s", res.body)
		}
	}
	// A program gets JSON.
	if res := b.fetch(callback); res.StatusCode != http.StatusBadRequest || !strings.HasPrefix(res.body, `{"code":3,`) {
		t.Errorf("status %d: %s", res.StatusCode, res.body)
	}
}

// Mix-up: RFC 9207, RFC 9700 §4.4.
func TestMixUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		promised bool
		iss      []string
		status   int
	}{
		{"not promised, not there", false, nil, http.StatusSeeOther},
		{"not promised, right", false, []string{issuerURL}, http.StatusSeeOther},
		{"not promised, wrong", false, []string{"https://evil.example"}, http.StatusBadRequest},
		{"promised, right", true, []string{issuerURL}, http.StatusSeeOther},
		{"promised, not there", true, nil, http.StatusBadRequest},
		{"promised, empty", true, []string{""}, http.StatusBadRequest},
		{"promised, another spelling", true, []string{issuerURL + "/"}, http.StatusBadRequest},
		{"both", true, []string{issuerURL, "https://evil.example"}, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.idp.metadata["authorization_response_iss_parameter_supported"] = c.promised
			s.reconfigure()
			for _, failed := range []bool{false, true} {
				b := s.browser()
				before := len(s.idp.called("/token"))
				res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location(), func(q url.Values) {
					if c.iss != nil {
						q["iss"] = c.iss
					}
					if failed {
						q.Del("code")
						q.Set("error", "access_denied")
					}
				}))
				want := c.status
				if failed && want == http.StatusSeeOther {
					want = http.StatusForbidden
				}
				wantStatus(t, res, want)
				if calls := len(s.idp.called("/token")) - before; (calls > 0) != (want == http.StatusSeeOther) {
					t.Errorf("%d token calls: the code of another issuer must not be sent", calls)
				}
			}
		})
	}
}

// A login that started with the former provider does not end at the new one.
func TestAnotherProviderMeanwhile(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	callback := s.idp.authorize(b.navigate("/api/auth/login").location())
	s.idp.metadata["issuer"] = issuerURL + "/"
	s.reconfigure()
	wantStatus(t, b.back(callback), http.StatusBadRequest)
	if len(s.idp.called("/token")) != 0 {
		t.Error("the code was redeemed")
	}
}
