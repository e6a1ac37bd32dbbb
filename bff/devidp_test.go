package bff_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// The whole flow with an independent provider over real connections: sign in on
// a page, call the API, outlive an access token, sign out.
func TestWithTheDevelopmentProvider(t *testing.T) {
	t.Parallel()
	clock := sessiontest.NewClock()
	front, idp := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(front.Listener.Addr().String(), ":")
	base, issuer := "http://localhost:"+port, "http://"+idp.Listener.Addr().String()

	provider, err := devidp.New(devidp.Config{
		Issuer: issuer, Audience: audience, Audiences: []string{ordersAudience, stockAudience}, Now: clock.Now, Logger: logger(everything),
		Users: []directory.User{{Key: "seller", Name: "Sofia Marchetti", Permissions: []string{"products:write"}}},
		Clients: []devidp.Client{{
			ID: clientID, Secret: clientSecret, RedirectURIs: []string{base + "/api/auth/callback"}, PostLogoutRedirectURIs: []string{base},
			BackchannelLogoutURI: "http://" + front.Listener.Addr().String() + "/api/auth/backchannel-logout",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	idp.Config.Handler = provider
	idp.Start()
	t.Cleanup(idp.Close)
	store, err := memory.New(memory.Config{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	api := &api{}
	followed, err := oidc.NewProvider(oidc.Config{Issuer: issuer, Now: clock.Now})
	if err == nil {
		err = followed.Refresh(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	routes, behind := tokenRoutes(t)
	b, err := bff.New(bff.Config{
		Routes: routes, BaseURL: base, Provider: followed, Client: bff.ClientConfig{ID: clientID, Secret: clientSecret}, Login: bff.LoginConfig{Audience: audience},
		Sessions: bff.SessionConfig{Store: store, Secrets: []string{rand.Text() + rand.Text()}}, API: api, Now: clock.Now, Logger: logger(everything),
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = b
	front.Start()
	t.Cleanup(front.Close)
	proved := map[string]bool{}
	for _, result := range b.Check(t.Context(), nil) {
		proved[result.Proof] = result.Status == bff.CheckOK
	}
	for _, proof := range []string{"provider", "keys", "credential", "redirect URI", "refresh"} {
		if !proved[proof] {
			t.Errorf("%s is not proved: %+v", proof, b.Check(t.Context(), nil))
		}
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	do := func(method, address string, form url.Values, accept string) (status int, at *url.URL, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", issuer)
		} else {
			r.Header.Set("Referer", base+"/")
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Request.URL, string(text)
	}
	open := func(address string) (int, *url.URL, string) { return do(http.MethodGet, address, nil, "text/html") }
	call := func() int {
		t.Helper()
		status, _, _ := do(http.MethodGet, base+"/api/private-route", nil, "*/*")
		return status
	}

	// Sign in, from a page that needs it.
	signIn := func() {
		t.Helper()
		_, at, page := open(base + "/private?x=1")
		field := regexp.MustCompile(`name="request" value="([^"]+)"`).FindStringSubmatch(page)
		if field == nil {
			t.Fatalf("no sign-in page, but %s: %s", at.Path, page)
		}
		status, at, _ := do(http.MethodPost, issuer+"/login", url.Values{"request": {field[1]}, "user": {"seller"}}, "text/html")
		if status != http.StatusOK || at.String() != base+"/private?x=1" {
			t.Fatalf("landed on %s with status %d", at, status)
		}
	}
	if status := call(); status != http.StatusUnauthorized {
		t.Errorf("signed out: status %d", status)
	}
	signIn()
	if status, _, me := do(http.MethodGet, base+"/api/auth/me", nil, "*/*"); status != http.StatusOK || !strings.Contains(me, `"sub":"dev|seller"`) {
		t.Errorf("me: status %d, %s", status, me)
	}
	if status := call(); status != http.StatusOK {
		t.Errorf("the API: status %d", status)
	}
	for range 2 {
		for _, r := range routes {
			if status, _, body := do(http.MethodGet, base+r.Path, nil, "*/*"); status != http.StatusOK {
				t.Errorf("%s: status %d: %s", r.Path, status, body)
			}
		}
		wantAudiences(t, behind.requests(), len(routes))
		clock.Advance(20 * time.Minute)
	}
	for range 3 {
		clock.Advance(20 * time.Minute)
		if status := call(); status != http.StatusOK {
			t.Errorf("after the access token: status %d", status)
		}
	}

	// Sign out there, and return to the requested page.
	if status, at, _ := open(base + "/api/auth/logout?returnTo=/public"); status != http.StatusOK || at.String() != base+"/public" {
		t.Errorf("after the logout: at %s, status %d", at, status)
	}
	if status := call(); status != http.StatusUnauthorized {
		t.Errorf("signed out: status %d", status)
	}
	_, at, page := open(base + "/private")
	if !strings.HasPrefix(at.String(), issuer) || !strings.Contains(page, "Sofia") {
		t.Errorf("/private did not ask again: at %s", at)
	}
}

const (
	ordersAudience = "https://orders.example.com"
	stockAudience  = "stock"
)

// tokenRoutes are routes with tokens of all kinds to one server.
func tokenRoutes(t *testing.T) ([]bff.Route, *backend) {
	be := newBackend(t, nil)
	return []bff.Route{
		{Path: "/orders", Upstream: be.to(), Token: bff.RouteToken{Audience: ordersAudience}},
		{Path: "/stock", Upstream: be.to(), Token: bff.RouteToken{Audience: stockAudience, Grant: bff.GrantExchange}},
		{Path: "/mail", Upstream: be.to(), Public: true, Token: bff.RouteToken{Kind: bff.TokenClient, Audience: ordersAudience}},
	}, be
}

// wantAudiences checks that requests have tokens for what their paths are.
func wantAudiences(t *testing.T, requests []*http.Request, count int) {
	t.Helper()
	if len(requests) != count {
		t.Errorf("%d requests, want %d", len(requests), count)
	}
	for _, r := range requests {
		want := ordersAudience
		if strings.HasPrefix(r.URL.Path, "/stock") {
			want = stockAudience
		}
		if got, err := token.ReadUnverified(bearer(r)); err != nil || len(got.Audience) != 1 || got.Audience[0] != want {
			t.Errorf("%s: a token for %v, %v, want %s", r.URL.Path, got.Audience, err, want)
		}
	}
}
