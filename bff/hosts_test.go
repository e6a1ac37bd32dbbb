package bff_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// In development a page of another site whose name resolves to 127.0.0.1 (DNS
// rebinding) would be of our own origin.
func TestHostsInDevelopment(t *testing.T) {
	t.Parallel()
	reached := false
	front := func(c *bff.Config) {
		c.Frontend = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
		c.Access.AllowedHosts = []string{"Phone.test", "192.0.2.9"}
	}
	dev, production := start(t, front), start(t, front, https)
	for host, want := range map[string]bool{
		"localhost:3000": true, "localhost": true, "app.localhost:3000": true, "localhost.:3000": true, "127.0.0.1:3000": true, "127.9.9.9": true, "[::1]:3000": true, "[::1]": true,
		"phone.test": true, "phone.test:3000": true, "192.0.2.9:3000": true,
		"evil.example": false, "evil.example:3000": false, "localhost.evil.example": false, "": false, "0.0.0.0:3000": false, "user@localhost:3000": false, "localhost:3000@evil.example": false, "10.0.0.1": false, "x.phone.test": false,
	} {
		at := func(r *http.Request) { r.Host = host }
		for name, ask := range map[string]func(b *browser) *response{
			"a page": func(b *browser) *response { return b.navigate("/public", at) },
			"a file": func(b *browser) *response { return b.fetch("/src/main.ts", at) },
			"a WebSocket": func(b *browser) *response {
				return b.do(http.MethodGet, "/hmr", nil, at, header("Connection", "Upgrade"), header("Upgrade", "websocket"), header("Origin", "http://localhost:3000"))
			},
			"a protected":    func(b *browser) *response { return b.fetch("/private", at) },
			"the API":        func(b *browser) *response { return b.fetch("/api/private-route", at) },
			"who is in":      func(b *browser) *response { return b.fetch("/api/auth/me", at) },
			"an asset":       func(b *browser) *response { return b.fetch("/api/auth/assets/x/y.css", at) },
			"an absolute":    func(b *browser) *response { return b.fetch("http://localhost:3000/public", at) },
			"another method": func(b *browser) *response { return b.do(http.MethodOptions, "/public", nil, at) },
		} {
			reached = false
			res := ask(dev.browser())
			if refused := res.StatusCode == http.StatusMisdirectedRequest; refused == want || refused && (reached || res.Header.Get("X-Content-Type-Options") == "" || !strings.Contains(res.body, "allowed hosts")) {
				t.Errorf("Host %q, %s: status %d, reached %t", host, name, res.StatusCode, reached)
			}
			if res := ask(production.browser()); res.StatusCode == http.StatusMisdirectedRequest {
				t.Errorf("in production Host %q, %s: 421", host, name)
			}
		}
		if len(dev.api.requests()) > 0 && !want {
			t.Errorf("Host %q reached the API", host)
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			wantStatus(t, dev.browser().fetch(path, at), http.StatusOK)
		}
		if res := dev.browser().do(http.MethodPost, "/api/auth/backchannel-logout", nil, at); res.StatusCode != http.StatusBadRequest {
			t.Errorf("Host %q: back-channel logout: status %d", host, res.StatusCode)
		}
	}
	cfg := dev.cfg
	cfg.Access.AllowedHosts = []string{"*"}
	if _, err := bff.New(cfg); err == nil {
		t.Error("a wildcard is allowed")
	}
}
