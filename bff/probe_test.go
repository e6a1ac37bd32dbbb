package bff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// proved returns the result of one proof.
func proved(t *testing.T, s *system, proof string, verify func(context.Context, string) error) bff.CheckResult {
	t.Helper()
	for _, r := range s.Check(t.Context(), verify) {
		if r.Proof == proof {
			return r
		}
	}
	t.Fatalf("no result about %s", proof)
	return bff.CheckResult{}
}

// Only invalid_grant proves a credential, and only if a random one gets another
// answer.
func TestCheckProvesTheCredential(t *testing.T) {
	t.Parallel()
	page := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>")
		}
	}
	first := func(answers ...http.HandlerFunc) func() http.HandlerFunc {
		return func() http.HandlerFunc {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request) {
				answers[min(int(n.Add(1)), len(answers))-1](w, r)
			}
		}
	}
	for name, c := range map[string]struct {
		token  func() http.HandlerFunc // nil for a working provider
		cfg    func(*bff.Config)
		status bff.CheckStatus
		says   string
		calls  int
	}{
		"right":                        {nil, nil, bff.CheckOK, "its secret is right", 2},
		"wrong":                        {nil, func(c *bff.Config) { c.Client.Secret = "another" }, bff.CheckWrong, "refuses client", 1},
		"wrong, in Keycloak's words":   {first(refuse(401, "unauthorized_client")), nil, bff.CheckWrong, "refuses client", 1},
		"invalid_request":              {first(refuse(400, "invalid_request")), nil, bff.CheckUnknown, "invalid_request, status 400", 1},
		"another error":                {first(refuse(400, "unsupported_grant_type")), nil, bff.CheckUnknown, "unsupported_grant_type", 1},
		"forbidden":                    {first(page(403)), nil, bff.CheckUnknown, `status 403, content type "text/html"`, 1},
		"too many requests":            {first(refuse(429, "")), nil, bff.CheckUnknown, "status 429", 1},
		"a failure":                    {first(page(500)), nil, bff.CheckUnknown, "status 500", 1},
		"unavailable":                  {first(refuse(503, "temporarily_unavailable")), nil, bff.CheckUnknown, "temporarily_unavailable, status 503", 1},
		"a page":                       {first(page(200)), nil, bff.CheckUnknown, "status 200", 1},
		"401 without a reason":         {first(page(401)), nil, bff.CheckWrong, "refuses client", 1},
		"the code before the client":   {first(refuse(400, "invalid_grant")), nil, bff.CheckUnknown, "any client in the same words", 2},
		"control: too many requests":   {first(refuse(400, "invalid_grant"), refuse(429, "")), nil, bff.CheckUnknown, "control request", 2},
		"control: a failure":           {first(refuse(400, "invalid_grant"), page(500)), nil, bff.CheckUnknown, "control request", 2},
		"control: another error":       {first(refuse(400, "invalid_grant"), refuse(400, "invalid_request")), nil, bff.CheckUnknown, "control request", 2},
		"control: refused":             {first(refuse(400, "invalid_grant"), refuse(400, "invalid_client")), nil, bff.CheckOK, "its secret is right", 2},
		"control: refused by status":   {first(refuse(403, "invalid_grant"), page(401)), nil, bff.CheckOK, "its secret is right", 2},
		"public, known":                {first(refuse(400, "invalid_grant"), refuse(401, "invalid_client")), public, bff.CheckOK, "as a public one", 2},
		"public, client not looked at": {first(refuse(400, "invalid_grant")), public, bff.CheckUnknown, "any client", 2},
		"a key, signatures not looked": {first(refuse(400, "invalid_grant")), withKey(clientEC()), bff.CheckUnknown, "any client", 2},
		"a key":                        {first(refuse(400, "invalid_grant"), refuse(401, "invalid_client")), withKey(clientEC()), bff.CheckOK, "its key is right", 2},
		"sent in the form":             {first(refuse(400, "invalid_grant"), refuse(401, "invalid_client")), func(c *bff.Config) { c.Client.Auth = bff.AuthPost }, bff.CheckOK, "client_secret_post", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			if c.cfg != nil {
				c.cfg(&s.cfg)
			}
			lay(s.idp.metadata, map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "none", "private_key_jwt"}})
			if c.token != nil {
				s.idp.change(func(p *provider) { p.instead["/token"] = c.token() })
			}
			s.reconfigure()
			got := proved(t, s, "credential", nil)
			if got.Status != c.status || !strings.Contains(got.What, c.says) || got.Status != bff.CheckOK && got.Remedy == "" || strings.Contains(got.What, clientSecret) {
				t.Errorf("got %+v, want %s, %q", got, c.status, c.says)
			}
			calls := s.idp.called("/token")
			if len(calls) != c.calls {
				t.Fatalf("%d requests, want %d", len(calls), c.calls)
			}
			if len(calls) == 2 {
				a, b := calls[0], calls[1]
				if a.header.Get("Authorization") == b.header.Get("Authorization") && a.form.Get("client_secret") == b.form.Get("client_secret") &&
					a.form.Get("client_assertion") == b.form.Get("client_assertion") && a.form.Get("client_id") == b.form.Get("client_id") {
					t.Error("the control request has the same credential")
				}
			}
		})
	}
}

func public(c *bff.Config) { c.Client.Secret = "" }

// The error_description of a refusal is shown, bounded and quoted, and without
// the secret.
func TestCheckShowsTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.idp.change(func(p *provider) {
		p.instead["/token"] = func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 400, map[string]string{"error": "invalid_request", "error_description": "no\x1b[31m " + clientSecret + strings.Repeat("x", 500)})
		}
	})
	got := proved(t, s, "credential", nil)
	if !strings.Contains(got.What, `"no\x1b[31m`) || strings.Contains(got.What, clientSecret) || len(got.What) > 700 {
		t.Errorf("%q", got.What)
	}
}

// The answer to an authorization request without a user tells whether the
// redirect URI is registered.
func TestCheckProvesTheRedirectURI(t *testing.T) {
	t.Parallel()
	const callback = "http://localhost:3000/api/auth/callback"
	back := func(parameters string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+parameters, http.StatusSeeOther)
		}
	}
	page := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	to := func(address string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, address, http.StatusFound) }
	}
	registered := func(yes, no http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("redirect_uri") == callback {
				yes(w, r)
			} else {
				no(w, r)
			}
		}
	}
	// Dex redirects to its connector, which checks the request.
	passedOn := func(judge http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("passed") != "" {
				judge(w, r)
				return
			}
			to("/authorize?passed=on&"+r.URL.RawQuery)(w, r)
		}
	}
	for name, c := range map[string]struct {
		authorize http.HandlerFunc
		status    bff.CheckStatus
		says      string
	}{
		"passed on, back":                    {passedOn(back("error=login_required")), bff.CheckOK, "is registered"},
		"passed on, refused":                 {passedOn(page(400, "Unregistered redirect_uri.")), bff.CheckWrong, "is not registered"},
		"passed on, a login page for all":    {passedOn(page(200, "<form>")), bff.CheckUnknown, "status 200"},
		"passed on for ever":                 {passedOn(to("/authorize?redirect_uri=" + url.QueryEscape(callback))), bff.CheckUnknown, "status 302"},
		"passed on elsewhere":                {to("https://other.example/authorize?redirect_uri=" + url.QueryEscape(callback)), bff.CheckUnknown, "status 302"},
		"back, no user signed in":            {back("error=login_required"), bff.CheckOK, "is registered"},
		"back, a page would be shown":        {back("error=interaction_required"), bff.CheckOK, "is registered"},
		"back, the scope is refused":         {back("error=invalid_scope&error_description=orders"), bff.CheckWrong, `(invalid_scope "orders")`},
		"back, the audience is refused":      {back("error=access_denied&error_description=Service+not+found:+x"), bff.CheckWrong, "Service not found"},
		"back, RFC 8707":                     {back("error=invalid_target"), bff.CheckWrong, "invalid_target"},
		"back, the flow is not allowed":      {back("error=unauthorized_client"), bff.CheckWrong, "unauthorized_client"},
		"Keycloak's page":                    {page(400, "<p>Invalid parameter: redirect_uri</p>"), bff.CheckWrong, "is not registered"},
		"Auth0's page":                       {page(403, "Callback URL mismatch. The provided redirect_uri is not in the list"), bff.CheckWrong, "is not registered"},
		"Entra's page":                       {page(200, "AADSTS50011: The redirect URI specified in the request does not match"), bff.CheckWrong, "is not registered"},
		"Hydra's way to an error page":       {to("https://idp.example/error?error=invalid_request&error_description=The+%27redirect_uri%27+parameter+does+not+match"), bff.CheckWrong, "is not registered"},
		"Google's way to an error page":      {to("https://idp.example/signin/oauth/error?authError=ChVyZWRpcmVjdF91cmlfbWlzbWF0Y2g="), bff.CheckWrong, "is not registered"},
		"a page without a reason":            {page(400, "Bad request"), bff.CheckWrong, "as it does one with a redirect URI that cannot be registered"},
		"a login page, others refused":       {registered(page(200, "<form>"), page(400, "no")), bff.CheckOK, "is registered"},
		"to a login page, others refused":    {registered(to("https://idp.example/login?redirect_uri=x"), page(400, "no")), bff.CheckOK, "is registered"},
		"to a login page, others to another": {registered(to("/login"), to("/error?error=invalid_request&error_description=redirect_uri")), bff.CheckOK, "is registered"},
		"a login page for all":               {page(200, "<form>"), bff.CheckUnknown, "status 200"},
		"a failure":                          {page(500, ""), bff.CheckUnknown, "status 500"},
		"too many requests":                  {page(429, ""), bff.CheckUnknown, "status 429"},
		"no such address":                    {page(404, ""), bff.CheckUnknown, "status 404"},
		"to another callback":                {to("https://evil.example/api/auth/callback?error=login_required"), bff.CheckWrong, "login_required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.idp.change(func(p *provider) { p.instead["/authorize"] = c.authorize })
			var got bff.CheckResult
			for _, r := range s.Check(t.Context(), nil) {
				if r.Proof == "redirect URI" || r.Proof == "authorization request" {
					got = r
				}
			}
			if got.Status != c.status || !strings.Contains(got.What, c.says) {
				t.Errorf("got %+v, want %s, %q", got, c.status, c.says)
			}
			if got.Status != bff.CheckOK && got.Proof == "redirect URI" && !strings.Contains(got.Remedy, "register the redirect URI "+callback) {
				t.Errorf("it does not say what to register: %s", got.Remedy)
			}
		})
	}
}

func TestCheckComparesTheClocks(t *testing.T) {
	t.Parallel()
	for ahead, c := range map[time.Duration]struct {
		status bff.CheckStatus
		says   string
	}{
		0:                 {bff.CheckOK, "differ by 0 s"},
		-40 * time.Second: {bff.CheckOK, "differ by 40 s"},
		300 * time.Second: {bff.CheckWrong, "this machine's clock is 300 s behind"},
		-5 * time.Minute:  {bff.CheckWrong, "this machine's clock is 300 s ahead"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.idp.change(func(p *provider) { p.dated, p.ahead = true, ahead })
			if got := proved(t, s, "clock", nil); got.Status != c.status || !strings.Contains(got.What, c.says) {
				t.Errorf("%v: got %+v, want %s, %q", ahead, got, c.status, c.says)
			}
		})
	}
	if got := proved(t, start(t), "clock", nil); got.Status != bff.CheckUnknown || !got.Optional {
		t.Errorf("without a Date: %+v", got)
	}
}

func TestCheckJudgesTheKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*provider)
		says   string
	}{
		"empty":     {func(p *provider) { p.keys = []any{} }, "the key set is empty"},
		"of no use": {func(p *provider) { p.keys = []any{map[string]any{"kty": "oct", "k": "AAAA"}} }, "no usable key in the set"},
		"not there": {func(p *provider) { p.instead["/keys"] = http.NotFound }, "status 404"},
		"a page":    {func(p *provider) { p.instead["/keys"] = refuse(200, "") }, "key set is empty"},
	} {
		s := start(t)
		s.idp.change(c.change)
		unfollowed(t, s)
		if got := proved(t, s, "keys", nil); got.Status != bff.CheckWrong || !strings.Contains(got.What, c.says) || !strings.Contains(got.What, issuerURL+"/keys") {
			t.Errorf("%s: got %+v, want %q", name, got, c.says)
		}
	}
}

// An access token of the client itself tells the audience and the format of
// access tokens.
func TestCheckJudgesAccessTokens(t *testing.T) {
	t.Parallel()
	jwt := func(aud any) string { return signer().Mint(map[string]any{"aud": aud, "sub": "client"}) }
	for name, c := range map[string]struct {
		answer any // of the token endpoint
		err    error
		status bff.CheckStatus
		says   string
	}{
		"good":        {jwt(audience), nil, bff.CheckOK, "is a JWT with the audience " + audience},
		"opaque":      {"opaque", errors.New("no JWT"), bff.CheckWrong, "opaque access tokens"},
		"another API": {jwt("https://other.example"), errors.New("audience"), bff.CheckWrong, `have the audience ["https://other.example"]`},
		"no audience": {jwt(nil), errors.New("audience"), bff.CheckWrong, "have the audience []"},
		"another algorithm": {jwt(audience), &token.Error{Reason: token.ReasonMalformed, Err: &token.AlgorithmError{Algorithm: "ES256", Allowed: []string{"RS256"}, Setting: "ACCESS"}},
			bff.CheckWrong, "signs access tokens with ES256, which ACCESS does not allow"},
		"another reason": {jwt([]string{audience}), errors.New("signed by an unknown key"), bff.CheckWrong, "signed by an unknown key"},
		"not allowed":    {refuse(400, "unauthorized_client"), nil, bff.CheckUnknown, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			lay(s.idp.metadata, map[string]any{"grant_types_supported": []string{"authorization_code", "refresh_token", "client_credentials"}})
			var given atomic.Value
			s.idp.change(func(p *provider) {
				p.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
					handler, refuses := c.answer.(http.HandlerFunc)
					switch {
					case r.PostForm.Get("grant_type") != "client_credentials":
						refuse(400, "invalid_grant")(w, r)
					case refuses:
						handler(w, r)
					default:
						if got := r.PostForm.Get("audience"); got != audience {
							t.Errorf("asked for the audience %q", got)
						}
						reply(w, 200, map[string]any{"access_token": c.answer, "token_type": "Bearer"})
					}
				}
			})
			s.reconfigure()
			got := proved(t, s, "access token", func(_ context.Context, raw string) error { given.Store(raw); return c.err })
			if got.Status != c.status || !strings.Contains(got.What, c.says) {
				t.Errorf("got %+v, want %s, %q", got, c.status, c.says)
			}
			if raw, ok := c.answer.(string); ok && (given.Load() != raw || strings.Contains(fmt.Sprint(got), raw) && raw != "opaque") {
				t.Errorf("judged %v, shown: %+v", given.Load(), got)
			}
		})
	}
	if got := proved(t, start(t), "access token", func(context.Context, string) error { return nil }); got.Status != bff.CheckUnknown || !got.Optional {
		t.Errorf("without the grant: %+v", got)
	}
}

// A session that cannot outlive its first access token is reported.
func TestCheckExpectsRefreshTokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg      func(*bff.Config)
		metadata map[string]any
		status   bff.CheckStatus
		says     string
	}{
		"asked for":            {nil, nil, bff.CheckOK, "sessions outlive"},
		"the tutorial's scope": {func(c *bff.Config) { c.Login.Scope = "openid profile email" }, nil, bff.CheckWarn, "Login.Scope lacks offline_access"},
		"not offered":          {nil, map[string]any{"scopes_supported": []string{"openid"}}, bff.CheckWarn, "does not list the scope offline_access"},
		"no such grant":        {nil, map[string]any{"grant_types_supported": []string{"authorization_code"}}, bff.CheckWarn, "does not list the grant refresh_token"},
	} {
		s := start(t)
		if c.cfg != nil {
			c.cfg(&s.cfg)
		}
		lay(s.idp.metadata, c.metadata)
		s.reconfigure()
		if got := proved(t, s, "refresh", nil); got.Status != c.status || !strings.Contains(got.What, c.says) {
			t.Errorf("%s: got %+v, want %s, %q", name, got, c.status, c.says)
		}
	}
}

func TestRegistrations(t *testing.T) {
	t.Parallel()
	s := start(t, https, withKey(clientEC()))
	values := map[string]bool{}
	for _, r := range s.Registrations() {
		values[r.Value] = true
	}
	for _, path := range []string{"", "/api/auth/callback", "/api/auth/backchannel-logout", "/api/auth/frontchannel-logout", "/api/auth/jwks.json"} {
		if u, err := url.JoinPath("https://shop.example", path); err != nil || !values[strings.TrimSuffix(u, "/")] {
			t.Errorf("%s is not among %v", u, values)
		}
	}
}

// A running bff logs once what in the metadata cannot work.
func TestMismatchesAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		var log bytes.Buffer // slog's handlers write one record at a time
		s.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		lay(s.idp.metadata, map[string]any{"token_endpoint_auth_methods_supported": []string{"tls_client_auth"}})
		s.reconfigure()
		stop := s.running(t)
		synctest.Wait()
		time.Sleep(time.Minute)
		stop()
		if n := strings.Count(log.String(), "provider metadata does not go with the configuration"); n != 1 || !strings.Contains(log.String(), "tls_client_auth") {
			t.Errorf("logged %d times: %s", n, log.String())
		}
	})
}
