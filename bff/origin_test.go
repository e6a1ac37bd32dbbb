package bff_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

// A base URL is used in the form that browsers send: in the redirect URI, and for
// the comparison with Origin headers.
func TestBaseURLForms(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://bücher.example":                   "https://xn--bcher-kva.example",
		"HTTPS://Shop.Example:443/":                "https://shop.example",
		"https://shop.example:08443":               "https://shop.example:8443",
		"http://[0:0:0:0:0:0:0:1]:3000":            "http://[::1]:3000",
		"http://127.1:3000":                        "http://127.0.0.1:3000",
		"https://[2001:DB8::0:1]":                  "https://[2001:db8::1]",
		"https://xn--bcher-kva.example":            "https://xn--bcher-kva.example",
		"https://shop.example.":                    "https://shop.example.",
		"https://[::ffff:192.0.2.1]:8443":          "https://[::ffff:c000:201]:8443",
		"https://\uff33\uff48\uff4f\uff50.example": "https://shop.example",
	} {
		s := start(t, func(c *bff.Config) { c.BaseURL = raw })
		b := s.browser()
		host := want[strings.Index(want, "//")+2:]
		at := func(r *http.Request) { r.Host = host }
		res := b.do("GET", "/api/auth/login", nil, at)
		to, err := url.Parse(res.location())
		if err != nil {
			t.Fatal(err)
		}
		if got := to.Query().Get("redirect_uri"); got != want+"/api/auth/callback" {
			t.Errorf("%s: redirect URI %q, want one of %s (status %d: %s)", raw, got, want, res.StatusCode, res.body)
		}
		upgrade := func(origin string) int {
			return b.do("GET", "/api/socket", nil, at, header("Connection", "Upgrade"), header("Upgrade", "websocket"), header("Origin", origin)).StatusCode
		}
		if got := upgrade(want); got == http.StatusForbidden {
			t.Errorf("%s: an upgrade from %s is refused", raw, want)
		}
		if got := upgrade("https://evil.example"); got != http.StatusForbidden {
			t.Errorf("%s: an upgrade from elsewhere gets %d", raw, got)
		}
		for _, edits := range [][]edit{{site("same-origin"), header("Origin", want)}, {header("Origin", want)}} {
			if got := b.do("POST", "/api/products", nil, append(edits, at)...).StatusCode; got == http.StatusForbidden {
				t.Errorf("%s: a POST from %s is refused", raw, want)
			}
		}
		if got := b.do("POST", "/api/products", nil, at, header("Origin", want+":1")).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s: a POST from another port gets %d", raw, got)
		}
	}
}
