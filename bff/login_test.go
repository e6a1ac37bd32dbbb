package bff_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// sentTo returns the parameters of an authorization request.
func sentTo(t *testing.T, res *response) url.Values {
	t.Helper()
	wantStatus(t, res, http.StatusSeeOther)
	u, err := url.Parse(res.location())
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func TestLoginRedirect(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	res := b.navigate("/api/auth/login?returnTo=/private")
	q := sentTo(t, res)
	for name, want := range map[string]string{
		"tenant":                "a", // the endpoint's own query stays (RFC 6749 section 3.1)
		"client_id":             clientID,
		"response_type":         "code",
		"redirect_uri":          "http://localhost:3000/api/auth/callback",
		"scope":                 "openid profile email offline_access",
		"code_challenge_method": "S256",
		"audience":              audience,
		"resource":              audience,
		"prompt":                "consent",
	} {
		if got := q[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	random := []string{q.Get("state"), q.Get("nonce"), q.Get("code_challenge")}
	for i, value := range random {
		if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) != 32 {
			t.Errorf("random value %d is not of 256 bits: %q", i, value)
		}
		if slices.Contains(random[:i], value) {
			t.Error("two values are the same")
		}
	}
	if len(q) != 12 {
		t.Errorf("%d parameters: %v", len(q), q)
	}
	if res.Header.Get("Cache-Control") != "no-store" || res.body != "" {
		t.Errorf("Cache-Control %q, body %q", res.Header.Get("Cache-Control"), res.body)
	}

	// The code verifier matches the challenge.
	wantStatus(t, b.back(s.idp.authorize(res.location())), http.StatusSeeOther)
	f := s.idp.called("/token")[0].form
	sum := sha256.Sum256([]byte(f.Get("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
		t.Error("the verifier does not fit")
	}
	if slices.Contains(random, f.Get("code_verifier")) {
		t.Error("the verifier has passed the browser")
	}
	if f.Get("audience") != audience || f.Get("resource") != audience {
		t.Errorf("the token request lacks the audience: %v", f)
	}
}

// Each login has a state and nonce of its own.
func TestLoginsDiffer(t *testing.T) {
	t.Parallel()
	b := start(t).browser()
	one, two := sentTo(t, b.navigate("/api/auth/login")), sentTo(t, b.navigate("/api/auth/login"))
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if one.Get(name) == two.Get(name) {
			t.Errorf("%s repeats", name)
		}
	}
}

// RFC 8707 §2.2: a refresh can ask for a resource only if the login has.
func TestLoginForRoutes(t *testing.T) {
	t.Parallel()
	to := bff.UpstreamConfig{Targets: []string{"http://127.0.0.1:1"}}
	s := start(t, func(c *bff.Config) {
		c.Routes = []bff.Route{
			{Path: "/orders", Upstream: to, Token: bff.RouteToken{Audience: "https://orders.example"}},
			{Path: "/bills", Upstream: to, Token: bff.RouteToken{Audience: "https://orders.example", Scope: "bills"}},
			{Path: "/names", Upstream: to, Token: bff.RouteToken{Audience: "names"}},
			{Path: "/stock", Upstream: to, Token: bff.RouteToken{Audience: "https://stock.example", Grant: bff.GrantExchange}},
			{Path: "/own", Upstream: to, Token: bff.RouteToken{Kind: bff.TokenClient, Audience: "https://own.example"}},
		}
	})
	q := sentTo(t, s.browser().navigate("/api/auth/login"))
	if want := []string{audience, "https://orders.example"}; !slices.Equal(q["resource"], want) || !slices.Equal(q["audience"], want[:1]) {
		t.Errorf("resource %q, audience %q, want resource %q", q["resource"], q["audience"], want)
	}
	s.cfg.Login.OmitResource = true
	s.reconfigure()
	if q := sentTo(t, s.browser().navigate("/api/auth/login")); q.Has("resource") {
		t.Errorf("OmitResource: resource %q", q["resource"])
	}
}

func TestLoginByConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		cfg      func(*bff.Config)
		metadata map[string]any
		query    string
		want     map[string]string // "" for absent
	}{
		{name: "audience that is no URI", cfg: func(c *bff.Config) { c.Login.Audience = "my api" },
			want: map[string]string{"audience": "my api", "resource": ""}},
		{name: "audience that is a URN", cfg: func(c *bff.Config) { c.Login.Audience = "urn:example:api" },
			want: map[string]string{"audience": "urn:example:api", "resource": "urn:example:api"}},
		{name: "a resource has no fragment (RFC 8707)", cfg: func(c *bff.Config) { c.Login.Audience = "https://a.example#x" },
			want: map[string]string{"resource": ""}},
		{name: "no audience", cfg: func(c *bff.Config) { c.Login.Audience = "" },
			want: map[string]string{"audience": "", "resource": ""}},
		{name: "audience off", cfg: func(c *bff.Config) { c.Login.OmitAudience = true },
			want: map[string]string{"audience": "", "resource": audience}},
		{name: "resource off", cfg: func(c *bff.Config) { c.Login.OmitResource = true },
			want: map[string]string{"audience": audience, "resource": ""}},
		{name: "provider without offline access", metadata: map[string]any{"scopes_supported": []string{"openid"}},
			want: map[string]string{"scope": "openid profile email", "prompt": ""}},
		{name: "provider that lists no scopes", metadata: map[string]any{"scopes_supported": tokentest.Absent},
			want: map[string]string{"scope": "openid profile email", "prompt": ""}},
		{name: "offline access not wanted", cfg: func(c *bff.Config) { c.Login.Scope = "openid api" },
			want: map[string]string{"scope": "openid api", "prompt": ""}},
		{name: "consent never", cfg: func(c *bff.Config) { c.Login.OfflineConsent = bff.ConsentNever },
			want: map[string]string{"scope": "openid profile email offline_access", "prompt": ""}},
		{name: "consent always", cfg: func(c *bff.Config) { c.Login.OfflineConsent = bff.ConsentAlways },
			want: map[string]string{"prompt": "consent"}},
		// Core section 11: without consent in the prompt offline_access is ignored.
		{name: "consent beside another prompt", query: "prompt=login",
			want: map[string]string{"prompt": "login consent"}},
		{name: "consent asked for already", query: "prompt=login+consent",
			want: map[string]string{"prompt": "login consent"}},
		{name: "prompt none goes with nothing else", query: "prompt=none",
			want: map[string]string{"prompt": "none"}},
		{name: "another prompt, no consent", cfg: func(c *bff.Config) { c.Login.OfflineConsent = bff.ConsentNever }, query: "prompt=login",
			want: map[string]string{"prompt": "login"}},
		{name: "behind TLS", cfg: https,
			want: map[string]string{"redirect_uri": "https://shop.example/api/auth/callback"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			lay(s.idp.metadata, c.metadata)
			if c.cfg != nil {
				c.cfg(&s.cfg)
			}
			s.reconfigure()
			q := sentTo(t, s.browser().navigate("/api/auth/login?"+c.query))
			for name, want := range c.want {
				if q.Get(name) != want || want == "" && q.Has(name) {
					t.Errorf("%s = %q, want %q", name, q[name], want)
				}
			}
		})
	}
}

// Keycloak 25 and newer end their own session when a login requests offline
// access: the user would have to sign in again at the next login, and a logout
// there would not reach us. Its refresh tokens need no offline access.
func TestNoOfflineAccessAtKeycloakUnlessChosen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ issuer, endpoint, chosen, want string }{
		{"https://sso.example/realms/shop", "/protocol/openid-connect/token", "", "openid profile email"},
		{"https://sso.example/realms/shop", "/protocol/openid-connect/token", bff.DefaultScope, bff.DefaultScope},
		{"https://sso.example/realms/shop", "/oauth/token", "", bff.DefaultScope},
		{"https://sso.example/shop", "/protocol/openid-connect/token", "", bff.DefaultScope},
	} {
		s := start(t)
		at, _ := url.Parse(c.issuer)
		s.idp.metadata["issuer"], s.idp.metadata["token_endpoint"] = c.issuer, c.issuer+c.endpoint
		s.idp.instead[at.Path+"/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, s.idp.metadata)
		}
		s.at.Issuer, s.cfg.Login.Scope = c.issuer, c.chosen
		b := follow(t, s)
		if got := sentTo(t, b.navigate("/api/auth/login")).Get("scope"); got != c.want {
			t.Errorf("%s with %q chosen: scope %q, want %q", c.issuer, c.chosen, got, c.want)
		}
	}
}

// Providers that decide by the client's configuration are not asked to prompt
// for consent at each login.
func TestConsentByProvider(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"https://tenant.eu.auth0.com":                  "",
		"https://dev-1.okta.com/oauth2/default":        "",
		"https://login.microsoftonline.com/tid/v2.0":   "",
		"https://sso.example/realms/shop":              "",
		"https://auth0.com.evil.example":               "consent",
		"https://notauth0.com":                         "consent",
		"https://accounts.example":                     "consent",
		"https://accounts.example/oauth2/auth0.com/v1": "consent",
	} {
		s := start(t)
		host, _ := url.Parse(issuer)
		s.idp.metadata["issuer"] = issuer
		s.idp.instead[host.Path+"/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, s.idp.metadata)
		}
		s.at.Issuer = issuer
		b := follow(t, s)
		if got := sentTo(t, b.navigate("/api/auth/login")).Get("prompt"); got != want {
			t.Errorf("%s: prompt %q, want %q", issuer, got, want)
		}
	}
}

func TestLoginPassesOnOnlyWhatIsListed(t *testing.T) {
	t.Parallel()
	listed := url.Values{
		"prompt": {"select_account"}, "login_hint": {"ada@example.com"}, "screen_hint": {"signup"}, "max_age": {"+300"},
		"acr_values": {"urn:mfa"}, "ui_locales": {"de pl"}, "connection": {"google-oauth2"}, "organization": {"org_1"},
	}
	// What a link could otherwise do: widen the scope, move the code to the
	// attacker, turn PKCE off, fix the nonce.
	hostile := url.Values{
		"scope": {"openid admin"}, "redirect_uri": {"https://evil.example/cb"}, "response_type": {"token"}, "response_mode": {"fragment"},
		"client_id": {"evil"}, "state": {"fixed"}, "nonce": {"fixed"}, "code_challenge": {"fixed"}, "code_challenge_method": {"plain"},
		"audience": {"https://other.example"}, "resource": {"https://other.example"}, "request": {"eyJ"}, "request_uri": {"https://evil.example/r"},
		"id_token_hint": {"x"}, "claims": {"{}"}, "registration": {"{}"}, "issuer": {"https://evil.example"},
	}
	s := start(t, func(c *bff.Config) { c.Login.OfflineConsent = bff.ConsentNever })
	plain := sentTo(t, s.browser().navigate("/api/auth/login"))
	q := sentTo(t, s.browser().navigate("/api/auth/login?"+listed.Encode()+"&"+hostile.Encode()))
	for name, want := range listed {
		if name == "max_age" {
			want = []string{"300"}
		}
		if !slices.Equal(q[name], want) {
			t.Errorf("%s = %q, want %q", name, q[name], want)
		}
	}
	for name, values := range hostile {
		switch name {
		case "state", "nonce", "code_challenge":
			if q.Get(name) == values[0] {
				t.Errorf("%s was fixed by a link", name)
			}
		default:
			if !slices.Equal(q[name], plain[name]) {
				t.Errorf("%s = %q, want %q", name, q[name], plain[name])
			}
		}
	}
	if len(q) != len(plain)+len(listed) {
		t.Errorf("parameters: %v", q)
	}
}

func TestLoginRefusesNonsense(t *testing.T) {
	t.Parallel()
	b := start(t).browser()
	for _, query := range []string{"max_age=soon", "max_age=-1", "max_age=1e3", "max_age=99999999999"} {
		res := b.navigate("/api/auth/login?" + query)
		wantStatus(t, res, http.StatusBadRequest)
		if len(b.attempts()) != 0 {
			t.Errorf("%s: an attempt was begun", query)
		}
	}
	res := b.do(http.MethodPost, "/api/auth/login", nil, site("same-origin"))
	wantStatus(t, res, http.StatusMethodNotAllowed)
	if res.Header.Get("Allow") != "GET" {
		t.Errorf("Allow = %q", res.Header.Get("Allow"))
	}
}

// A login at 127.0.0.1 with a base URL of localhost would set the attempt's
// cookie where the callback does not find it.
func TestLoginMovesToTheBaseURL(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Access.AllowedHosts = []string{"allowed.test"} })
	for host, want := range map[string]string{
		"127.0.0.1:3000": "http://localhost:3000/api/auth/login?returnTo=%2Fprivate&x=1",
		"[::1]:3000":     "http://localhost:3000/api/auth/login?returnTo=%2Fprivate&x=1",
		"localhost:3000": issuerURL,
		"allowed.test":   "http://localhost:3000/api/auth/login?moved=1&returnTo=%2Fprivate&x=1",
	} {
		b := s.browser()
		res := b.navigate("/api/auth/login?returnTo=%2Fprivate&x=1", func(r *http.Request) { r.Host = host })
		if !strings.HasPrefix(res.location(), want) {
			t.Errorf("%s: sent to %q", host, res.location())
		}
		if moved := want != issuerURL; moved == (len(b.attempts()) > 0) {
			t.Errorf("%s: attempts %v", host, b.attempts())
		}
	}
	// In production a loopback Host moves no login.
	res := start(t, https).browser().navigate("/api/auth/login", func(r *http.Request) { r.Host = "127.0.0.1" })
	if !strings.HasPrefix(res.location(), issuerURL) {
		t.Errorf("sent to %q", res.location())
	}
}

func TestLoginWhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := unfollowed(t, s)
	res := b.navigate("/api/auth/login?returnTo=/private")
	wantStatus(t, res, http.StatusServiceUnavailable)
	if res.Header.Get("Retry-After") == "" || len(b.attempts()) != 0 || !strings.Contains(res.body, "Try again") {
		t.Errorf("Retry-After %q, attempts %v: %s", res.Header.Get("Retry-After"), b.attempts(), res.body)
	}
	if res := b.fetch("/api/auth/login"); res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a program got %s", res.Header.Get("Content-Type"))
	}
}

// Metadata without the endpoints of a login are answered as an outage, not with
// a redirect to an empty address.
func TestLoginWithHalfAProvider(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"authorization_endpoint", "token_endpoint"} {
		s := start(t)
		lay(s.idp.metadata, map[string]any{name: tokentest.Absent})
		s.reconfigure()
		wantStatus(t, s.browser().navigate("/api/auth/login"), http.StatusServiceUnavailable)
		wantStatus(t, s.browser().navigate("/readyz"), http.StatusServiceUnavailable)
		if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Ready returns %v, want %s in it", err, name)
		}
	}
}

// A prefetch of a login link starts nothing: no attempt, no pushed request, and
// it does not count for the limit.
func TestLoginIsNotPrefetched(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Login.Rate = 1 })
	s.idp.offersPAR()
	s.reconfigure()
	b := s.browser()
	for _, edits := range [][]edit{{header("Sec-Purpose", "prefetch;prerender")}, {header("Purpose", "prefetch")}, {header("X-Moz", "prefetch")}} {
		res := b.navigate("/api/auth/login?returnTo=/private", edits...)
		wantStatus(t, res, http.StatusServiceUnavailable)
		if len(b.attempts()) != 0 || len(s.idp.called("/par")) != 0 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("a login was begun, or the answer is kept: %v", res.Header)
		}
	}
	wantStatus(t, b.navigate("/api/auth/login"), http.StatusSeeOther)
}

// Listed parameters of the provider's own reach it: those of each login, and those that a
// link may give, which win. Others do not: a link cannot leave the organization.
func TestLoginParameters(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) {
		cfg.Login.Parameters = []string{
			"kc_idp_hint", "hd=shop.example", "kc_idp_hint=office", "prompt=select_account", "organization=org_shop", "connection=staff", "connection",
		}
		cfg.Login.OfflineConsent = bff.ConsentNever
	})
	for query, want := range map[string]url.Values{
		"": {"kc_idp_hint": {"office"}, "hd": {"shop.example"}, "prompt": {"select_account"}, "organization": {"org_shop"}, "connection": {"staff"}},
		"organization=org_evil&connection=social&acr_values=mfa":               {"organization": {"org_shop"}, "connection": {"social"}, "acr_values": {"mfa"}},
		"kc_idp_hint=home&hd=evil.example&prompt=none&domain_hint=x&scope=all": {"kc_idp_hint": {"home"}, "hd": {"shop.example"}, "prompt": {"none"}},
	} {
		u, err := url.Parse(s.browser().navigate("/api/auth/login?" + query).location())
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if got := u.Query()[name]; !slices.Equal(got, value) {
				t.Errorf("%q: %s is %q, want %q", query, name, got, value)
			}
		}
		if u.Query().Has("domain_hint") || u.Query().Get("scope") == "all" {
			t.Errorf("%q: sent to %s", query, u)
		}
	}
	for _, wrong := range []string{
		"scope=all", "client_id", "redirect_uri=https://evil.example", "request", "request_uri=x", "state", "", "=x", "a b=c", "response_mode=fragment",
		"prompt=none", "max_age=soon", "x=" + strings.Repeat("x", 513), "code_challenge_method=plain",
	} {
		cfg := s.cfg
		cfg.Login.Parameters = []string{wrong}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "Login.Parameters[0]") {
			t.Errorf("%q: got %v, want an error", wrong, err)
		}
	}
}
