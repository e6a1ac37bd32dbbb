// Package origins owns what a request tells of where it came from: the origin
// of the page that caused it, whether a person opened it in a tab, and the
// address of the browser. It leaves the answer to the bff.
package origins

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// Config describes the origin that browsers see. All fields but those of trust are
// required.
type Config struct {
	// Base is the base URL: scheme and host, as package origin writes them.
	Base *url.URL
	// SessionCookie is the name of the session cookie.
	SessionCookie string
	// CrossSite reports requests that come from another site by design and do
	// not act on the browser's session.
	CrossSite func(*http.Request) bool
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// TrustUnixSocket believes that of requests on a Unix socket.
	TrustUnixSocket bool
}

// Origins compares requests with the origin of a Config. It is safe for
// concurrent use.
type Origins struct {
	cfg         Config
	base        string
	crossOrigin *http.CrossOriginProtection
}

// New returns the Origins of a Config.
func New(cfg Config) *Origins {
	return &Origins{cfg: cfg, base: cfg.Base.String(), crossOrigin: http.NewCrossOriginProtection()}
}

// Forged reports whether another origin caused a request that can change
// something. SameSite=Lax withholds the cookie from other sites; Forged adds
// sibling subdomains, which are the same site, and WebSockets, which are exempt
// from same-origin rules (oauth2-proxy #2996).
func (o *Origins) Forged(r *http.Request) bool {
	if Upgrade(r) && o.forgedUpgrade(r) {
		return true
	}
	if o.cfg.CrossSite(r) || safe(r.Method) {
		return false
	}
	// The origin is compared with the base URL and not with the Host header,
	// which an attacker can choose (DNS rebinding).
	canonical := *r
	canonical.Host = o.cfg.Base.Host
	if o.crossOrigin.Check(&canonical) != nil {
		return true
	}
	// Old browsers send no Sec-Fetch-Site. For them the standard library
	// compares the host alone, so that a page of plain http could act on https.
	from := r.Header.Get("Origin")
	return from != "" && r.Header.Get("Sec-Fetch-Site") == "" && !o.Same(from)
}

// safe reports whether a method changes nothing (RFC 9110 §9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// forgedUpgrade checks a WebSocket handshake. It is a GET, which the standard
// library does not check. Browsers always send Origin with it, and not always
// Sec-Fetch headers.
func (o *Origins) forgedUpgrade(r *http.Request) bool {
	if from := r.Header.Get("Origin"); from != "" {
		return !o.Same(from)
	}
	return len(r.CookiesNamed(o.cfg.SessionCookie)) > 0
}

// Same reports whether a URL, or the value of an Origin header, has the base
// URL's origin.
func (o *Origins) Same(raw string) bool {
	return raw == o.base || origin.Of(raw) == o.base
}

// FromOurPages reports whether a link or script of our own pages, or the
// address bar, caused a navigation. Images and frames of our own pages do not
// count: users can write their addresses.
func (o *Origins) FromOurPages(r *http.Request) bool {
	if dest := r.Header.Get("Sec-Fetch-Dest"); Prefetch(r) || dest != "" && dest != "document" && dest != "empty" {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		return o.Same(r.Header.Get("Referer"))
	}
	return false
}

// Page returns the path of the page on which the user is: for a navigation the
// page that is being opened, otherwise the one that makes the request.
func (o *Origins) Page(r *http.Request) string {
	if Navigation(r) {
		return route.ReturnTo(r.URL.RequestURI())
	}
	referer := r.Header.Get("Referer")
	if u, err := url.Parse(referer); err == nil && o.Same(referer) {
		return route.ReturnTo(u.RequestURI())
	}
	return "/"
}

// Upgrade reports whether a request asks for another protocol.
func Upgrade(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}

// Navigation reports whether a request opens a page in a tab: the one case in
// which a redirect to the login helps. Everything else (fetch, frames,
// prefetches) gets an answer for programs (oauth2-proxy #1522).
func Navigation(r *http.Request) bool {
	return r.Method == http.MethodGet && WantsPage(r)
}

// WantsPage is [Navigation] for any method: it reports whether the answer is
// shown as a page. Browsers without Sec-Fetch headers are told by Accept.
func WantsPage(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && dest == "document"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html") &&
		!strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest")
}

// Prefetch reports whether a browser fetches in advance what the user has not
// asked for yet.
func Prefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(r.Header.Get(name)), "prefetch") {
			return true
		}
	}
	return false
}
