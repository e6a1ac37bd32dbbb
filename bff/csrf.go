package bff

import (
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// forged reports whether a request that could change something was caused by
// another origin. SameSite=Lax already withholds the cookie from other sites;
// this adds the sibling subdomains, which are the same site, and WebSockets,
// which are exempt from same-origin rules (oauth2-proxy #2996).
func (b *BFF) forged(r *http.Request) bool {
	if upgrade(r) && b.forgedUpgrade(r) {
		return true
	}
	if r.URL.Path == route.BackchannelLogout || b.postsForm(r) {
		// Cross-site by their nature; neither acts on the browser's session.
		return false
	}
	if safe(r.Method) {
		return false
	}
	// The origin is held against the base URL, not against a Host header that
	// the attacker may have chosen (DNS rebinding).
	canonical := *r
	canonical.Host = b.base.Host
	if b.crossOrigin.Check(&canonical) != nil {
		return true
	}
	// An old browser, which sends no Sec-Fetch-Site: the library compares the
	// host alone, and so lets a page of plain http act on https.
	origin := r.Header.Get("Origin")
	return origin != "" && r.Header.Get("Sec-Fetch-Site") == "" && !b.sameOrigin(origin)
}

// safe reports whether a method changes nothing (RFC 9110 section 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// forgedUpgrade judges a WebSocket handshake: a GET, which the standard
// library lets through, and to which browsers add an Origin always but
// Sec-Fetch headers not.
func (b *BFF) forgedUpgrade(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		return !b.sameOrigin(origin)
	}
	return len(r.CookiesNamed(b.sessions.CookieName())) > 0
}

// sameOrigin reports whether a URL, or the value of an Origin header, is of
// the base URL's origin.
func (b *BFF) sameOrigin(raw string) bool {
	base := b.base.String()
	return raw == base || origin.Of(raw) == base
}

func upgrade(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}

// fromOurselves reports whether a link or a script of our own pages, or the
// person typing, caused a navigation. An image or a frame of our own pages did
// not: what people have written may name any address.
func (b *BFF) fromOurselves(r *http.Request) bool {
	if dest := r.Header.Get("Sec-Fetch-Dest"); prefetch(r) || dest != "" && dest != "document" && dest != "empty" {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		return b.sameOrigin(r.Header.Get("Referer"))
	}
	return false
}

// prefetch reports whether a browser asks before anybody has: nobody's wish
// yet.
func prefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(r.Header.Get(name)), "prefetch") {
			return true
		}
	}
	return false
}

// page is where the person is whose browser makes a request: for a navigation
// what is being opened, otherwise the page that asks.
func (b *BFF) page(r *http.Request) string {
	if respond.Navigation(r) {
		return route.ReturnTo(r.URL.RequestURI())
	}
	referer := r.Header.Get("Referer")
	if u, err := url.Parse(referer); err == nil && b.sameOrigin(referer) {
		return route.ReturnTo(u.RequestURI())
	}
	return "/"
}
