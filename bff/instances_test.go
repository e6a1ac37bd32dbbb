package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// Browsers keep cookies by host, whatever the port. Instances with different
// cookie names do not affect each other, even during logins.
func TestTwoInstancesOnOneHost(t *testing.T) {
	t.Parallel()
	for _, scheme := range []func(*bff.Config){func(*bff.Config) {}, https} {
		one := start(t, scheme)
		two := start(t, scheme, func(cfg *bff.Config) {
			cfg.Sessions.CookieName = "admin"
			cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, ":3000") + ":4000"
		})
		b := one.browser()
		first := one.idp.authorize(b.navigate("/api/auth/login").location())
		there := b.as(two)
		second := two.idp.authorize(there.navigate("/api/auth/login").location())
		wantStatus(t, b.back(first), http.StatusSeeOther)
		wantStatus(t, there.back(second), http.StatusSeeOther)
		if !b.signedIn() || !there.signedIn() {
			t.Fatal("the second login has signed the first out")
		}
		for name := range b.cookies {
			if base := strings.TrimPrefix(name, "__Host-"); !strings.HasPrefix(base, "gatehouse") && !strings.HasPrefix(base, "admin") {
				t.Errorf("cookie %q", name)
			}
		}
		wantStatus(t, there.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
		if !b.signedIn() || there.signedIn() {
			t.Error("a logout of one instance has ended another's session")
		}
	}
}

func TestCookieNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"": true, "shop": true, "shop-admin_2": true, "__Host-shop": false, "__secure-shop": false, "a b": false, "a=b": false, "a;b": false,
		"ä": false, "shop-login-1": false, "shop-trail": false, strings.Repeat("a", 65): false,
	} {
		s := start(t)
		cfg := s.cfg
		cfg.Sessions.CookieName = name
		if _, err := bff.New(cfg); (err == nil) != good || err != nil && !strings.Contains(err.Error(), "Sessions.CookieName") {
			t.Errorf("%q: %v, want good: %t", name, err, good)
		}
	}
}

// A login at another host is redirected to the base URL, once.
func TestLoginAtAnotherHost(t *testing.T) {
	t.Parallel()
	log := &record{secrets: map[string]string{}}
	s := start(t, https, logsTo(log))
	at := func(host string) edit { return func(r *http.Request) { r.Host = host } }
	for _, host := range []string{"www.shop.example", "WWW.shop.example:443", "evil.example", "shop.example.evil.example", "10.0.0.7:3000"} {
		b := s.browser()
		res := b.navigate("/api/auth/login?returnTo=%2Fprivate&max_age=60", at(host))
		wantStatus(t, res, http.StatusTemporaryRedirect)
		to, err := url.Parse(res.location())
		if err != nil || to.Scheme+"://"+to.Host != s.cfg.BaseURL || to.Path != "/api/auth/login" || to.Query().Get("returnTo") != "/private" || to.Query().Get("max_age") != "60" {
			t.Fatalf("%s: moved to %q", host, res.location())
		}
		if len(res.Cookies()) != 0 {
			t.Errorf("%s: a cookie is set where it is of no use", host)
		}
		// Behind a proxy that rewrites Host, the request is the same as before.
		again := b.navigate(to.RequestURI(), at(host))
		wantStatus(t, again, http.StatusSeeOther)
		if sentTo(t, again).Has("moved") {
			t.Error("the provider is told of it")
		}
		if res := b.navigate(to.RequestURI()); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.location(), issuerURL) {
			t.Errorf("%s: at the base URL status %d", host, res.StatusCode)
		}
	}
	for _, host := range []string{"shop.example", "SHOP.example", "shop.example:8443", "127.0.0.1:3000", "localhost"} {
		wantStatus(t, s.browser().navigate("/api/auth/login", at(host)), http.StatusSeeOther)
	}
	if text := log.text(); !strings.Contains(text, "www.shop.example") || !strings.Contains(text, s.cfg.BaseURL) || strings.Count(text, "level=WARN msg=\"logins begin") != 1 {
		t.Errorf("the log: %s", text)
	}
}

// In development, a login at an allowed host is redirected as well: its callback
// is at the base URL, where the attempt's cookie would be unknown.
func TestLoginAtAllowedHost(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *bff.Config) {
		cfg.BaseURL, cfg.Access.AllowedHosts = "http://localhost:3000", []string{"shop.test"}
	})
	at := func(r *http.Request) { r.Host = "shop.test:3000" }
	b := s.browser()
	res := b.navigate("/api/auth/login?returnTo=%2Fprivate", at)
	wantStatus(t, res, http.StatusTemporaryRedirect)
	to, err := url.Parse(res.location())
	if err != nil || to.Host != "localhost:3000" || to.Query().Get("returnTo") != "/private" {
		t.Fatalf("moved to %q", res.location())
	}
	// A proxy that rewrites Host, as that of a container may, causes no loop.
	wantStatus(t, b.navigate(to.RequestURI(), at), http.StatusSeeOther)
}
