package bff_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// Each error names what is wrong and contains no secret.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*bff.Config)
		says   string
	}{
		"no base URL":                 {func(c *bff.Config) { c.BaseURL = "" }, "BaseURL"},
		"http off loopback":           {func(c *bff.Config) { c.BaseURL = "http://shop.example" }, "use https"},
		"http of a similar name":      {func(c *bff.Config) { c.BaseURL = "http://localhost.shop.example" }, "use https"},
		"base URL with a path":        {func(c *bff.Config) { c.BaseURL = "https://shop.example/app" }, "more than an origin"},
		"base URL with a query":       {func(c *bff.Config) { c.BaseURL = "https://shop.example?" }, "more than an origin"},
		"base URL with a fragment":    {func(c *bff.Config) { c.BaseURL = "https://shop.example#" }, "more than an origin"},
		"base URL with a password":    {func(c *bff.Config) { c.BaseURL = "https://user:pass-word@shop.example" }, "more than an origin"},
		"base URL without a host":     {func(c *bff.Config) { c.BaseURL = "https://:443" }, "not a URL"},
		"base URL of another scheme":  {func(c *bff.Config) { c.BaseURL = "ftp://shop.example" }, "neither https nor http"},
		"no client id":                {func(c *bff.Config) { c.Client.ID = "" }, "Client.ID is missing"},
		"no store":                    {func(c *bff.Config) { c.Sessions.Store = nil }, "Sessions.Store is missing"},
		"no API":                      {func(c *bff.Config) { c.API = nil }, "API"},
		"no secret":                   {func(c *bff.Config) { c.Sessions.Secrets = nil }, "Sessions.Secrets"},
		"a short secret":              {func(c *bff.Config) { c.Sessions.Secrets = []string{"short-secret"} }, "at least 32"},
		"a placeholder":               {func(c *bff.Config) { c.Sessions.Secrets = []string{strings.Repeat("changeme", 5)} }, "Sessions.Secrets"},
		"unknown client auth":         {func(c *bff.Config) { c.Client.Auth = "tls_client_auth" }, "tls_client_auth"},
		"unknown consent":             {func(c *bff.Config) { c.Login.OfflineConsent = "maybe" }, "maybe"},
		"call that is no path":        {func(c *bff.Config) { c.Pages.Call = "products" }, `Pages.Call "products"`},
		"call outside /api":           {func(c *bff.Config) { c.Pages.CallConfirmed = "/private" }, `Pages.CallConfirmed "/private"`},
		"scope without openid":        {func(c *bff.Config) { c.Login.Scope = "profile" }, "openid"},
		"idle longer than absolute":   {func(c *bff.Config) { c.Sessions.IdleTimeout, c.Sessions.AbsoluteTimeout = time.Hour, time.Minute }, "Sessions.IdleTimeout"},
		"no provider":                 {func(c *bff.Config) { c.Provider = nil }, "Provider is missing"},
		"a pattern not understood":    {func(c *bff.Config) { c.Access.Protect = []string{"/x*"} }, "/x*"},
		"two patterns not understood": {func(c *bff.Config) { c.Access.Protect = []string{"/x*", "/(y)"} }, "/(y)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := start(t).cfg
			c.change(&cfg)
			_, err := bff.New(cfg)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want one that says %q", err, c.says)
			}
			for _, hidden := range []string{"pass-word", "short-secret", cfg.Client.Secret} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
		})
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		res := s.browser().fetch(path)
		if res.StatusCode != http.StatusOK || res.body != "ok\n" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %q", path, res.StatusCode, res.body)
		}
	}
	unfollowed(t, s)
	wantStatus(t, s.browser().fetch("/healthz"), http.StatusOK)
	res := s.browser().fetch("/readyz")
	wantStatus(t, res, http.StatusServiceUnavailable)
	// On a public port the error, which contains addresses, is only logged.
	if res.body != "not ready\n" {
		t.Errorf("not ready: %q", res.body)
	}
	if !logged(`msg="not ready"`, issuerURL) {
		t.Error("the log has no cause")
	}
}

// A provider that is unavailable at the start is found later.
func TestRunFollowsTheProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.idp.change(func(p *provider) { p.instead["/.well-known/openid-configuration"] = refuse(503, "") })
		b := unfollowed(t, s)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(10 * time.Second)
		if s.Ready(t.Context()) == nil {
			t.Error("ready without a provider")
		}
		s.idp.change(func(p *provider) { clear(p.instead) })
		time.Sleep(5 * time.Second)
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if !b.signIn().signedIn() {
			t.Error("not signed in")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A panic costs one request: it gets 500 without headers of the other answer,
// and a log line.
func TestPanics(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser().signIn()
	s.api.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "gatehouse=evil")
		w.Header().Set("X-Api", "x")
		panic("at the API: boom")
	})
	res := b.fetch("/api/private-route")
	wantStatus(t, res, http.StatusInternalServerError)
	if !strings.Contains(res.body, `"code":13`) || strings.Contains(res.body, "boom") || res.Header.Get("Set-Cookie") != "" || res.Header.Get("X-Api") != "" ||
		res.Header.Get("X-Request-Id") == "" || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%v: %s", res.Header, res.body)
	}
	everything.mu.Lock()
	logged := everything.log.String()
	everything.mu.Unlock()
	if !strings.Contains(logged, "at the API: boom") {
		t.Error("the log does not say so")
	}

	// A partial answer is cut off: it must not look complete.
	s.api.set(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("boom")
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	answer, err := http.Get(server.URL + "/api/private-route")
	if err == nil {
		var body []byte
		if body, err = io.ReadAll(answer.Body); err == nil {
			t.Errorf("a whole answer: %q", body)
		}
		_ = answer.Body.Close()
	}
}

// Each address of the login answers one method, with no-store.
func TestAuthRoutes(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	for path, allowed := range map[string]string{
		"login": "GET", "callback": "GET", "logout": "GET, POST", "me": "GET", "session": "GET", "sessions": "DELETE, GET", "events": "GET",
		"frontchannel-logout": "GET",
	} {
		if res := b.fetch("/api/auth/" + path); res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, res.Header.Get("Cache-Control"))
		}
		res := b.do(http.MethodPut, "/api/auth/"+path, nil, site("same-origin"))
		wantStatus(t, res, http.StatusMethodNotAllowed)
		if res.Header.Get("Allow") != allowed || !strings.HasPrefix(res.body, `{"code":12,`) {
			t.Errorf("%s: Allow %q, %s", path, res.Header.Get("Allow"), res.body)
		}
	}
	res := b.fetch("/api/auth/other")
	wantStatus(t, res, http.StatusNotFound)
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", res.Header)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*provider)
		says   string
		status bff.CheckStatus // of the result
	}{
		"all is well":       {nil, "offline access is offered", bff.CheckOK},
		"no offline access": {func(p *provider) { p.metadata["scopes_supported"] = nil }, "no offline access", bff.CheckWarn},
		"no end session":    {func(p *provider) { p.metadata["end_session_endpoint"] = "" }, "no end-session endpoint", bff.CheckWarn},
		"no S256":           {func(p *provider) { p.metadata["code_challenge_methods_supported"] = []string{"plain"} }, "PKCE", bff.CheckWrong},
		"wrong secret":      {func(p *provider) { p.instead["/token"] = refuse(401, "invalid_client") }, "Client.Secret", bff.CheckWrong},
		"grant not allowed": {func(p *provider) { p.instead["/token"] = refuse(400, "unauthorized_client") }, "authorization code grant", bff.CheckWrong},
		"no token endpoint": {func(p *provider) { p.metadata["token_endpoint"] = "" }, "token_endpoint", bff.CheckWrong},
		"HTML": {func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, "<html>")
			}
		}, `status 200, content type "text/html"`, bff.CheckUnknown},
		"takes any code": {func(p *provider) {
			p.instead["/token"] = func(w http.ResponseWriter, _ *http.Request) {
				reply(w, 200, map[string]any{"access_token": "x", "token_type": "Bearer"})
			}
		}, "never issued", bff.CheckWrong},
		"another issuer's":      {func(p *provider) { p.metadata["issuer"] = "https://evil.example" }, "issuer mismatch", bff.CheckWrong},
		"metadata without keys": {func(p *provider) { lay(p.metadata, map[string]any{"jwks_uri": tokentest.Absent}) }, "jwks_uri", bff.CheckWrong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			if c.change != nil {
				s.idp.change(c.change)
			}
			unfollowed(t, s)
			if wrong := found(s, bff.CheckWrong); (wrong == "") == (c.status == bff.CheckWrong) {
				t.Fatalf("wrong: %s", wrong)
			}
			told := found(s, c.status)
			if !strings.Contains(told, c.says) || strings.Contains(told, clientSecret) {
				t.Errorf("it says %q", told)
			}
		})
	}
}

// Validate returns every wrong field at once, by its path, and no secret.
func TestValidate(t *testing.T) {
	t.Parallel()
	err := bff.Config{
		BaseURL: "https://user:pass-word@shop.example",
		Client:  bff.ClientConfig{Key: "hunter2-hunter2", Auth: "psychic", AssertionAudience: "other"},
		Login:   bff.LoginConfig{Scope: "profile", OfflineConsent: "maybe", ResponseMode: "jwt", Rate: -1},
		Sessions: bff.SessionConfig{
			Secrets: []string{"short-secret"}, Nodes: -1, IdleTimeout: time.Millisecond,
			AbsoluteTimeout: -time.Hour, CookieName: "__Host-a", RefreshTimeout: time.Millisecond,
		},
		Access: bff.AccessConfig{Protect: []string{"/a", "/x*"}, Public: []string{"y"}, AllowedHosts: []string{"https://a.test"}},
	}.Validate()
	fields, others := invalid.All(err)
	if len(others) > 0 {
		t.Errorf("errors of no field: %v", others)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.Field)
		if f.Problem == "" || f.Remedy == "" {
			t.Errorf("%s: problem %q, remedy %q", f.Field, f.Problem, f.Remedy)
		}
	}
	want := []string{
		"BaseURL", "Provider", "Client.ID", "Client.Key", "Client.Auth", "Client.AssertionAudience",
		"Login.Scope", "Login.OfflineConsent", "Login.ResponseMode", "Login.Rate",
		"Sessions.Store", "Sessions.Secrets[0]", "Sessions.Nodes", "Sessions.IdleTimeout", "Sessions.AbsoluteTimeout",
		"Sessions.IdleTimeout", "Sessions.CookieName", "Sessions.RefreshTimeout",
		"Access.Public", "Access.Protect[1]", "Access.Public[0]", "Access.AllowedHosts[0]", "API",
	}
	if !slices.Equal(got, want) {
		t.Errorf("fields\n%v, want\n%v", got, want)
	}
	for _, hidden := range []string{"pass-word", "short-secret", "hunter2"} {
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("the error shows %q: %v", hidden, err)
		}
	}
}
