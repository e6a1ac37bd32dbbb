package bff

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A pageAnswer corrects the front end's response headers when they are sent:
// what is shown to people who are signed in is kept by their browsers alone,
// and our cookies are set by nobody else.
type pageAnswer struct {
	tied
	protected bool // the page needs a login
	sent      bool
}

func (a *pageAnswer) WriteHeader(status int) {
	withoutOurCookies(a.Header())
	if !a.sent && status >= 200 {
		a.sent = true
		a.correct()
	}
	a.tied.WriteHeader(status)
}

func (a *pageAnswer) Write(p []byte) (int, error) {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	return a.tied.Write(p)
}

// FlushError sends what was written so far.
func (a *pageAnswer) FlushError() error {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(&a.tied).Flush()
}

// Hijack hands over the connection of a WebSocket. Its answer is corrected where
// it comes from another process, by [Proxy].
func (a *pageAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.sent = true
	return a.tied.Hijack()
}

// finish sends the header of a front end that wrote nothing at all.
func (a *pageAnswer) finish() {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
}

func (a *pageAnswer) correct() {
	h := a.Header()
	if !a.protected {
		return
	}
	h["Cache-Control"] = []string{privately(h["Cache-Control"])}
	for name := range h {
		if overridesCaching(name) {
			h.Del(name)
		}
	}
}

// overridesCaching tells whether a header has more weight with some cache that
// people share than Cache-Control has: those of CDNs (RFC 9213, and what its
// authors found in use), and nginx's own.
func overridesCaching(name string) bool {
	return strings.HasSuffix(name, "Cdn-Cache-Control") || name == "Surrogate-Control" || name == "X-Accel-Expires"
}

// withoutOurCookies takes those out of an answer of the front end that would
// set a cookie of ours. It may keep something of its own in the browser, but
// one that was taken over must not plant a session there (session fixation).
func withoutOurCookies(h http.Header) {
	cookies := h["Set-Cookie"]
	if !slices.ContainsFunc(cookies, setsOurs) {
		return
	}
	if cookies = slices.DeleteFunc(slices.Clone(cookies), setsOurs); len(cookies) == 0 {
		h.Del("Set-Cookie")
		return
	}
	h["Set-Cookie"] = cookies
}

// setsOurs tells whether a Set-Cookie is for a cookie of the bff's. A browser sends a
// cookie without a name, "=name=value", just as one with that name
// (CVE-2022-2860).
func setsOurs(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	name = strings.TrimPrefix(strings.TrimSpace(name), "__Host-")
	rest, ok := strings.CutPrefix(name, session.CookieName)
	return ok && (rest == "" || slices.ContainsFunc(ourCookies, func(kind string) bool { return strings.HasPrefix(rest, kind) }))
}

// ourCookies are what distinguishes the names of ours from the session's.
var ourCookies = []string{"-login-", "-answer-", "-trail"}

// privately is a Cache-Control for one person: no cache that others share may
// keep the answer (CVE-2025-48947).
func privately(lines []string) string {
	directives := []string{"private"}
	for directive := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		switch name {
		case "no-store":
			return "no-store"
		case "", "public", "private", "s-maxage", "proxy-revalidate":
		default:
			directives = append(directives, directive)
		}
	}
	if len(directives) == 1 { // a browser would guess
		return "private, no-cache"
	}
	return strings.Join(directives, ", ")
}
