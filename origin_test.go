package gatehouse

import (
	"strings"
	"testing"
)

// An address without a scheme gets a suggestion, one that browsers would write
// in another way is accepted, and one that they would refuse is refused.
func TestOrigins(t *testing.T) {
	t.Parallel()
	base := func(v string) string { return "GATEHOUSE_BASE_URL=" + v }
	for name, c := range map[string]struct {
		change string
		want   string // in the error; "" for none
	}{
		"IDNA":                     {base("https://bücher.example"), ""},
		"IPv6":                     {base("https://[2001:DB8::1]:8443"), ""},
		"upper case":               {base("HTTPS://SHOP.EXAMPLE"), ""},
		"short IPv4":               {base("http://127.1:3000"), ""},
		"no scheme":                {base("localhost:3000"), "GATEHOUSE_BASE_URL=localhost:3000 (environment): the scheme is missing; did you mean http://localhost:3000?"},
		"no scheme, IPv6":          {base("[::1]:3000"), "did you mean http://[::1]:3000?"},
		"IPv6 zone":                {base("https://[fe80::1%25eth0]"), "GATEHOUSE_BASE_URL=https://[fe80::1%25eth0] (environment): the IPv6 address has a zone"},
		"broken punycode":          {base("https://xn--a.example"), "not a name that browsers accept"},
		"port":                     {base("https://shop.example:65536"), `the port "65536"`},
		"issuer without a scheme":  {"GATEHOUSE_OIDC_ISSUER=localhost:3001", "GATEHOUSE_OIDC_ISSUER=localhost:3001 (environment): the scheme is missing; did you mean http://localhost:3001?"},
		"gateway without a scheme": {"GATEHOUSE_GATEWAY_URL=gateway:5000", "GATEHOUSE_GATEWAY_URL=gateway:5000 (environment): the scheme is missing; did you mean http://gateway:5000?"},
		"front end without one":    {"GATEHOUSE_FRONTEND=localhost:5173", "GATEHOUSE_FRONTEND=localhost:5173 (environment): the scheme is missing; did you mean http://localhost:5173?"},
		"gateway with a path":      {"GATEHOUSE_GATEWAY_URL=http://gateway:5000/prefix", ""},
	} {
		err := validated(t, partSet{BFF: true}, bffEnvironment(c.change)...)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
