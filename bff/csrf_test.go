package bff_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// Requests of other origins that can change something are refused, also of
// sibling subdomains, which SameSite takes for the same site.
func TestCrossOriginRequests(t *testing.T) {
	t.Parallel()
	s := start(t, https)
	b := s.browser().signIn()
	host := func(h string) edit { return func(r *http.Request) { r.Host = h } }
	for _, c := range []struct {
		name    string
		method  string
		edits   []edit
		refused bool
	}{
		{"our own page", "POST", []edit{site("same-origin"), header("Origin", "https://shop.example")}, false},
		{"our own page, an old browser", "POST", []edit{header("Origin", "https://shop.example")}, false},
		{"neither header: not a browser", "POST", nil, false},
		{"another site", "POST", []edit{site("cross-site"), header("Origin", "https://evil.example")}, true},
		{"a sibling subdomain", "POST", []edit{site("same-site"), header("Origin", "https://blog.shop.example")}, true},
		{"another port", "POST", []edit{site("same-site"), header("Origin", "https://shop.example:8443")}, true},
		{"a form without an origin", "POST", []edit{site("cross-site"), header("Origin", "null")}, true},
		{"DELETE", "DELETE", []edit{site("cross-site")}, true},
		{"PUT", "PUT", []edit{site("same-site")}, true},
		{"PATCH", "PATCH", []edit{site("cross-site")}, true},
		{"a method of their own", "FETCHALL", []edit{site("cross-site")}, true},
		{"GET is harmless", "GET", []edit{site("cross-site")}, false},
		{"an old browser, another site", "POST", []edit{header("Origin", "https://evil.example")}, true},
		{"an old browser, a sibling", "POST", []edit{header("Origin", "https://blog.shop.example")}, true},
		{"an old browser, plain http of our name", "POST", []edit{header("Origin", "http://shop.example")}, true},
		{"an old browser, our name in another", "POST", []edit{header("Origin", "https://shop.example.evil.example")}, true},
		{"an old browser, null", "POST", []edit{header("Origin", "null")}, true},
		{"an old browser, no URL", "POST", []edit{header("Origin", "%zz")}, true},
		// DNS rebinding: the attacker chooses Host. The base URL counts.
		{"Host and Origin of the attacker", "POST", []edit{host("evil.example"), header("Origin", "https://evil.example")}, true},
		{"Host of the attacker, our page", "POST", []edit{host("evil.example"), header("Origin", "https://shop.example")}, false},
		{"an upgrade that is none", "POST", []edit{header("Connection", "Upgrade"), header("Origin", "https://shop.example"), site("cross-site")}, true},
	} {
		s.api.requests()
		for _, path := range []string{"/api/products", "/api/shop.v1.ProductService/CreateProduct", "/public", "/api/auth/nothing"} {
			res := b.do(c.method, path, strings.NewReader("{}"), c.edits...)
			if (res.StatusCode == http.StatusForbidden) != c.refused {
				t.Errorf("%s, %s: status %d", c.name, path, res.StatusCode)
			}
			if c.refused && res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s", c.name, res.Header.Get("Content-Type"))
			}
		}
		if n := len(s.api.requests()); (n == 0) != c.refused {
			t.Errorf("%s: the API saw %d requests", c.name, n)
		}
	}
}

// A WebSocket handshake is a GET with cookies that browsers allow to any origin
// (oauth2-proxy #2996).
func TestWebSocketOrigin(t *testing.T) {
	t.Parallel()
	reached := 0
	s := start(t, https, func(c *bff.Config) {
		c.Frontend = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
	})
	in, out := s.browser().signIn(), s.browser()
	for _, c := range []struct {
		name    string
		b       *browser
		origin  string
		refused bool
	}{
		{"our page", in, "https://shop.example", false},
		{"our page, capitals", in, "https://SHOP.example", false},
		{"another site", in, "https://evil.example", true},
		{"a sibling subdomain", in, "https://blog.shop.example", true},
		{"plain http", in, "http://shop.example", true},
		{"another port", in, "https://shop.example:444", true},
		{"null", in, "null", true},
		{"no origin, with our cookie", in, "", true},
		{"no origin and no cookie: no browser", out, "", false},
		{"another site, signed out", out, "https://evil.example", true},
	} {
		for _, connection := range []string{"Upgrade", "keep-alive, Upgrade", "upgrade"} {
			reached = 0
			res := c.b.do(http.MethodGet, "/public", nil, header("Connection", connection), header("Upgrade", "websocket"), func(r *http.Request) {
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
			})
			if (res.StatusCode == http.StatusForbidden) != c.refused || (reached == 0) != c.refused {
				t.Errorf("%s (%s): status %d, reached %d", c.name, connection, res.StatusCode, reached)
			}
		}
	}
}

// The base URL in any form is compared in the form that browsers send.
func TestOriginSpelling(t *testing.T) {
	t.Parallel()
	for base, origin := range map[string]string{
		"https://shop.example/":        "https://shop.example",
		"https://Shop.Example":         "https://shop.example",
		"https://shop.example:443":     "https://shop.example",
		"https://shop.example:8443":    "https://shop.example:8443",
		"http://localhost:80":          "http://localhost",
		"http://127.0.0.1:3000":        "http://127.0.0.1:3000",
		"http://[::1]:3000":            "http://[::1]:3000",
		"https://xn--caf-dma.example/": "https://xn--caf-dma.example",
	} {
		s := start(t, func(c *bff.Config) { c.BaseURL = base })
		res := s.browser().do(http.MethodPost, "/api/products", nil, header("Origin", origin))
		if res.StatusCode == http.StatusForbidden {
			t.Errorf("%s: the origin %s was refused", base, origin)
		}
		q := sentTo(t, s.browser().navigate("/api/auth/login"))
		if got := q.Get("redirect_uri"); got != origin+"/api/auth/callback" {
			t.Errorf("%s: redirect_uri %q", base, got)
		}
	}
}
