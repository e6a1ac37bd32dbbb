package clientaddr_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/clientaddr"
)

func TestOf(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, remote, header string
		trust                clientaddr.Trust
		want                 string
	}{
		{"no proxy", "192.0.2.7:1234", "198.51.100.1", clientaddr.Trust{}, "192.0.2.7"},
		{"IPv6", "[2001:db8::7]:1234", "", clientaddr.Trust{}, "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:1234", "", clientaddr.Trust{}, "192.0.2.7"},
		{"a proxy", "10.0.0.1:1", "203.0.113.9, 198.51.100.1, 10.1.2.3", clientaddr.Trust{Proxies: proxies}, "198.51.100.1"},
		{"a proxy of IPv6", "[fd00::1]:1", "2001:db8::9", clientaddr.Trust{Proxies: proxies}, "2001:db8::9"},
		{"not an address", "10.0.0.1:1", "203.0.113.9, forged", clientaddr.Trust{Proxies: proxies}, "10.0.0.1"},
		{"a zone", "10.0.0.1:1", "fe80::1%<b>forged</b>", clientaddr.Trust{Proxies: proxies}, "fe80::1"},
		{"no header", "10.0.0.1:1", "", clientaddr.Trust{Proxies: proxies}, "10.0.0.1"},
		{"a Unix socket", "@", "203.0.113.9", clientaddr.Trust{}, ""},
		{"a trusted Unix socket", "@", "203.0.113.9", clientaddr.Trust{UnixSocket: true}, "203.0.113.9"},
		{"a trusted Unix socket without a header", "@", "", clientaddr.Trust{UnixSocket: true}, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		if got := clientaddr.Of(r, c.trust); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
