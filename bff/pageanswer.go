package bff

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strings"
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

// Hijack hands over the connection of a WebSocket, with whose answer nothing
// is to be corrected.
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
	if cookies := h["Set-Cookie"]; len(cookies) > 0 {
		// A front end may keep something of its own in the browser, but one that
		// was taken over must not plant a session there (session fixation).
		h["Set-Cookie"] = slices.DeleteFunc(slices.Clone(cookies), func(line string) bool {
			name, _, _ := strings.Cut(line, "=")
			return a.b.ourCookie(strings.TrimSpace(name))
		})
		if len(h["Set-Cookie"]) == 0 {
			h.Del("Set-Cookie")
		}
	}
	if a.protected {
		h["Cache-Control"] = []string{privately(h["Cache-Control"])}
	}
}

// ourCookie tells whether a cookie of this name is the bff's.
func (b *BFF) ourCookie(name string) bool {
	return name == b.sessions.CookieName() || strings.HasPrefix(name, b.attemptPrefix())
}

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
