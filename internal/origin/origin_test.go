package origin_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// The right column is new URL(raw).origin in a browser.
var canonical = []struct{ raw, want string }{
	{"https://shop.example", "https://shop.example"},
	{"https://shop.example/", "https://shop.example"},
	{"HTTPS://Shop.EXAMPLE", "https://shop.example"},
	{"https://shop.example:443", "https://shop.example"},
	{"https://shop.example:0443", "https://shop.example"},
	{"https://shop.example:", "https://shop.example"},
	{"https://shop.example:8443", "https://shop.example:8443"},
	{"https://shop.example:80", "https://shop.example:80"},
	{"http://localhost:80", "http://localhost"},
	{"http://LOCALHOST:3000", "http://localhost:3000"},
	{"https://shop.example.", "https://shop.example."},
	{"https://my_shop.example", "https://my_shop.example"},
	{"https://bücher.example", "https://xn--bcher-kva.example"},
	{"https://BÜCHER.example", "https://xn--bcher-kva.example"},
	{"https://b%C3%BCcher.example", "https://xn--bcher-kva.example"},
	{"https://xn--bcher-kva.example", "https://xn--bcher-kva.example"},
	{"https://faß.example", "https://xn--fa-hia.example"},
	{"https://日本語。example", "https://xn--wgv71a119e.example"},
	{"https://shop\u00ad.example", "https://shop.example"},
	{"https://Ｓｈｏｐ.example", "https://shop.example"},
	{"https://r3---sn.example", "https://r3---sn.example"},
	{"http://127.0.0.1:3000", "http://127.0.0.1:3000"},
	{"http://127.1", "http://127.0.0.1"},
	{"http://0x7f.1", "http://127.0.0.1"},
	{"http://0x7F.0.0.1", "http://127.0.0.1"},
	{"http://017700000001", "http://127.0.0.1"},
	{"http://2130706433:3000", "http://127.0.0.1:3000"},
	{"http://127.0.0.1.", "http://127.0.0.1"},
	{"https://10.0.258", "https://10.0.1.2"},
	{"https://0x", "https://0.0.0.0"},
	{"http://[::1]:3000", "http://[::1]:3000"},
	{"http://[0:0:0:0:0:0:0:1]", "http://[::1]"},
	{"https://[2001:DB8:0:0:1:0:0:1]", "https://[2001:db8::1:0:0:1]"},
	{"https://[::ffff:192.0.2.1]:8443", "https://[::ffff:c000:201]:8443"},
	{"https://[2001:db8:0:1:1:1:1:1]", "https://[2001:db8:0:1:1:1:1:1]"},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range canonical {
		got, err := origin.Parse(c.raw)
		if err != nil {
			t.Errorf("%s: %v, want %s", c.raw, err, c.want)
			continue
		}
		if got.String() != c.want {
			t.Errorf("%s: got %s, want %s", c.raw, got, c.want)
		}
		if of := origin.Of(c.raw + "/a?b#c"); !strings.HasSuffix(c.raw, "/") && of != c.want {
			t.Errorf("origin of %s/a?b#c: got %q, want %q", c.raw, of, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                  "missing",
		"localhost:3000":                    "did you mean http://localhost:3000?",
		"127.0.0.1:3000":                    "did you mean http://127.0.0.1:3000?",
		"[::1]:3000":                        "did you mean http://[::1]:3000?",
		"shop.example":                      "did you mean https://shop.example?",
		"https:shop.example":                "not a URL",
		"https:/shop.example":               "not a URL",
		`https:\\shop.example`:              "not a URL",
		"//shop.example":                    "not a URL",
		"https://":                          "not a URL",
		"https://:443":                      "not a URL",
		"https:// shop.example":             "not a URL",
		"https://shop.example\n":            "not a URL",
		"ftp://shop.example":                "neither https nor http",
		"https://shop.example/app":          "has a path",
		"https://shop.example//":            "has a path",
		"https://shop.example?":             "has a query",
		"https://shop.example#":             "has a query or a fragment",
		"https://user:hunter2@shop.example": "has a user name or password",
		"https://@shop.example":             "has a user name or password",
		"https://*.shop.example":            "has a wildcard",
		"http://shop.example":               "http is for loopback only",
		"http://localhost.shop.example":     "http is for loopback only",
		"http://0x7f.1.example":             "http is for loopback only",
		"https://shop.example:65536":        "the port",
		"https://shop.example:x":            "not a URL",
		"https://256.0.0.1":                 "ends in a number",
		"https://1.2.3.4.5":                 "ends in a number",
		"https://09.0.0.1":                  "ends in a number",
		"https://shop.1":                    "ends in a number",
		"https://xn--a.example":             "not a name that browsers accept",
		"https://a|b.example":               "not a",
		"https://[fe80::1%25eth0]":          "has a zone",
		"https://[::1":                      "not a URL",
		"https://[1.2.3.4]":                 "not a URL",
		"null":                              "did you mean https://null?",
	} {
		_, err := origin.Parse(raw)
		e, ok := errors.AsType[*origin.Error](err)
		if !ok || !strings.Contains(err.Error(), want) || e.Remedy == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %q, a remedy and no password", raw, err, want)
		}
	}
}

func TestUpstreamAndIssuer(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://gateway:5000": "", "http://gateway:5000/prefix": "", "https://gateway": "", "http://[fe80::1%25eth0]:5000": "",
		"gateway:5000": "did you mean http://gateway:5000?", "localhost:5173": "did you mean http://localhost:5173?",
		"": "missing", "unix:/run/gateway": "not a URL", "grpc://gateway": "neither https nor http",
	} {
		if _, err := origin.Upstream(raw); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("upstream %q: got %v, want %q", raw, err, want)
		}
	}
	for raw, want := range map[string]string{
		"https://id.example/realms/a": "", "http://localhost:3001": "", "https://id.example/": "",
		"localhost:3001": "did you mean http://localhost:3001?", "http://id.example": "loopback",
		// Go dials this name as it is written, so what a browser makes of it does not count.
		"http://0x7f.1":          "loopback",
		"https://u:p@id.example": "user name", "https://id.example?": "query",
	} {
		if err := origin.Issuer(raw); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("issuer %q: got %v, want %q", raw, err, want)
		}
	}
}

// An accepted origin is canonical: parsing it again does not change it.
func FuzzOrigin(f *testing.F) {
	for _, c := range canonical {
		f.Add(c.raw)
	}
	for _, raw := range []string{"null", "https://a%00b", "https://[::1%25a]", "http://0x7f.1.", "https://xn--", "https://ⅷ.example", "https://1.2.3.4:", "https://a.0x"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		of := origin.Of(raw)
		if again := origin.Of(of); again != of {
			t.Errorf("origin of %q is %q, and of that %q", raw, of, again)
		}
		u, err := origin.Parse(raw)
		if err != nil {
			return
		}
		text := u.String()
		if text != of {
			t.Errorf("%q: parsed as %q, its origin is %q", raw, text, of)
		}
		for _, r := range text {
			if r <= ' ' || r > '~' || 'A' <= r && r <= 'Z' || r == '%' {
				t.Errorf("%q: %q is not how browsers write an origin", raw, text)
			}
		}
	})
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	if err := origin.Invalid("BaseURL", "", nil); err != nil {
		t.Errorf("Invalid(nil) = %v, want nil", err)
	}
	for raw, want := range map[string]string{
		"":                     `BaseURL is missing; `,
		"https://a b":          `BaseURL "https://a b" is not a URL; `,
		"https://a.test/path":  `BaseURL "https://a.test/path" has a path, so it is more than an origin; `,
		"https://u:pw@a.test":  `BaseURL "https://u:xxxxx@a.test" has a user name or password in it`,
		"https://u:pw@a b.com": `BaseURL is not a URL; `,
		"a.test":               `BaseURL "a.test" is invalid: the scheme is missing; did you mean https://a.test?`,
	} {
		_, err := origin.Parse(raw)
		if got := origin.Invalid("BaseURL", raw, err); got == nil || !strings.HasPrefix(got.Error(), want) {
			t.Errorf("Parse(%q): got %v, want %q", raw, got, want)
		}
	}
}
