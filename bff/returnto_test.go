package bff_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
)

var staysHere = []string{
	"/", "/private", "/private/", "/private?x=1&y=2", "/private#part", "/#/orders/5", "/orders/5?next=//evil.example", "/?u=https://evil.example",
	"/http:/evil.example", "/[::1]", "/%20", "/%e2%80%8b/x", "/evil.example", "/.evil.example", "/?//evil.example", "/?q=%5c%2f", "/#//evil.example",
	"/a.b/c;d=1", "/caf%C3%A9", "/@user", "/~user", "/a/...", "/.well-known/x", "/apidocs", "/api/private-route", "/api/authors", "/x:y",
}

// Addresses that were open redirects elsewhere: GHSA-j7px, GHSA-5m6c, GHSA-4mf2,
// GHSA-qqxw, CVE-2022-23527, nextjs-auth0 #2413.
var leadsAway = []string{
	"", "evil.example", "private", "./private", "../private", "?x", "#x", "https://evil.example", "https://localhost:3000/private", "HTTPS://evil.example",
	"https:/evil.example", "https:evil.example", "http:///evil.example", "javascript:alert(1)", "data:text/html,x", "mailto:a@b",
	"//evil.example", "///evil.example", "////evil.example", `/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`, `//\evil.example`,
	"/\t/evil.example", "\t//evil.example", "/\n/evil.example", "/\r\n/evil.example", "/ /evil.example", " //evil.example", "/\x00/evil.example", "/\x0b/evil.example",
	"/%09/evil.example", "/%0a/evil.example", "/%0d%0aSet-Cookie:x=y", "/%00/evil.example", "/%7f",
	"/%2fevil.example", "/%2Fevil.example", "/%2f%2fevil.example", "%2f%2fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%255cevil.example", "/%252fevil.example", "/a%25b",
	"/.//evil.example", "/..//evil.example", "/a/..//evil.example", "/./evil", "/a/../b", "/a/..", "/%2e%2e//evil.example", "/%2e/", "/a/%2E%2e/b", "/a//b",
	"//user@evil.example", "//user:pass@evil.example/", "/\u3002/evil.example", "//evil\u3002example", "/\u2028/x", "/caf\u00e9", "/\u2215/evil", "/\xff",
	"/%zz", "/%", "/%2",
	// The same with more around it: what filters have let through that looked
	// for "//" at the start, for a scheme, or for a known host anywhere.
	`https:\\\\evil.example`, `http:/\/evil.example`, `http:\/\/evil.example`, "https:///evil.example/%2e%2e", "///;@evil.example", "//;@evil.example", "//.evil.example",
	"//localhost:3000@evil.example", "//localhost@evil.example/private", `//evil.example\@localhost`, `/\localhost:3000@evil.example`, "//evil.example:80", "//evil.example#@localhost", "//evil.example?localhost",
	"//[::1]/", "//2130706433", "//0x7f000001", "//evil", "//", "///", `/\`, `\`, "\t", " ", "/%20//evil.example", "/private//", "/private//evil.example", "/http://evil.example", "/https:////evil.example",
	"/\x01/evil.example", "/\x1f/evil.example", "/\x7f/evil.example", "\x00//evil.example", "\u00a0//evil.example", "\ufeff//evil.example", "/\u200b/evil.example", "\u200e//evil.example",
	"/\uff0fevil.example", "\uff0f\uff0fevil.example", "/\u29f8evil.example", "/\u2044evil.example", "//evil\uff0eexample", "//\u24d4vil.example", "/\xc0\xafevil.example",
	"/%c0%af/..%2f", "/%5c%5cevil.example", "/%5C/evil.example", "/%252e%252e/evil", "/%252f%252fevil.example", "/..%2fevil.example", "/%2e%2e%2fevil.example", `/..\evil`, `/private\..\evil`,
	"javascript://%0aalert(1)", "java\nscript:alert(1)", "JavaScript:alert(1)", "vbscript:x", "blob:https://evil.example/x", "file:///etc/passwd", "view-source:/", "about:blank", "ws://evil.example", "ftp://evil.example",
	"/;@evil.example", "/..;/evil", "/;/evil", "/a/.;x/evil", "/..;//evil.example", "/%2e%2e;/evil", "/..%3b/evil",
	";//evil.example", "?//evil.example", "#//evil.example", "@evil.example", ".evil.example", ":80", "*", "..", ".", "~/x", "%2e%2e/evil", "%2f", "%5c",
	"/api/./auth/logout", "/api//auth/logout", "/api/x/../auth/logout", "/api/auth%2flogout", "/api/%61uth/logout", "/aPi/AUTH/login?prompt=none",
	"/api/auth/login", "/api/auth/logout", "/api/auth/callback?code=x", "/API/Auth/logout", "/api/auth", "/api/auth/", "/api%2fauth/logout", "/%61pi/auth/logout", "/api/auth/login?returnTo=/api/auth/login",
	"/" + strings.Repeat("a", 2048),
}

func TestReturnTo(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *bff.Config) { c.Login.Rate = 10_000 })
	login := func(to string) string {
		b := s.browser()
		return b.back(s.idp.authorize(b.navigate("/api/auth/login?returnTo=" + url.QueryEscape(to)).location())).location()
	}
	logout := func(to string) string { // without a session, so that it goes there at once
		return s.browser().navigate("/api/auth/logout?returnTo=" + url.QueryEscape(to)).location()
	}
	for name, do := range map[string]func(string) string{"login": login, "logout": logout} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, to := range staysHere {
				if got := do(to); got != to {
					t.Errorf("%q became %q", to, got)
				}
			}
			for _, to := range leadsAway {
				if got := do(to); got != "/" {
					t.Errorf("%q led to %q", to, got)
				}
			}
		})
	}
	// Two values, of which a proxy may check the one and we use the other.
	res := s.browser().navigate("/api/auth/logout?returnTo=//evil.example&returnTo=/private")
	if got := res.location(); got != "/" {
		t.Errorf("led to %q", got)
	}
}

// What is accepted stays here under the readings of Go, of a browser (WHATWG:
// backslashes are slashes, tabs and newlines vanish) and of a proxy that
// decodes and cleans.
func FuzzReturnTo(f *testing.F) {
	for _, to := range append(staysHere, leadsAway...) {
		f.Add(to)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !bff.LocalPath(raw) {
			return
		}
		browser := strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(strings.TrimSpace(raw))
		base, _ := url.Parse("https://shop.example/api/auth/callback")
		for _, reading := range []string{raw, browser} {
			u, err := base.Parse(reading)
			if err != nil || u.Scheme != "https" || u.Host != "shop.example" || u.User != nil {
				t.Fatalf("%q leads to %v, %v", raw, u, err)
			}
			if strings.HasPrefix(strings.ToLower(path.Clean(u.Path)), "/api/auth/") {
				t.Fatalf("%q leads to our own login", raw)
			}
		}
		decoded := raw
		for range 3 {
			place, _, _ := strings.Cut(decoded, "?")
			place, _, _ = strings.Cut(place, "#")
			if strings.HasPrefix(place, "//") || strings.HasPrefix(place, `/\`) || strings.HasPrefix(path.Clean(place), "//") {
				t.Fatalf("%q leads away, decoded: %q", raw, decoded)
			}
			next, err := url.PathUnescape(place)
			if err != nil {
				break
			}
			decoded = next
		}
		if strings.ContainsAny(raw, "\r\n\x00") {
			t.Fatalf("%q would split a header", raw)
		}
	})
}
