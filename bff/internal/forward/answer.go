package forward

import (
	"bufio"
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// maxHints is how many answers 103 (Early Hints) may come before the final one.
const maxHints = 8

// An Answer is the response filter: it stands between a server or handler
// behind the bff and the browser. The headers that were set before it was made
// are the bff's own. They go out with the final header even if they were
// removed meanwhile: net/http/httputil clears them after each 1xx.
type Answer struct {
	http.ResponseWriter
	// Correct changes the final header before it is sent, or calls Discard.
	Correct func(status int, h http.Header)
	// Unavailable answers in the place of a server that does not; nil leaves
	// that to the proxy.
	Unavailable http.HandlerFunc

	request   *http.Request
	ours      []field
	room      [8]field // for ours
	hints     int
	sent      bool
	discarded bool
}

// A field is one of a header.
type field struct {
	name   string
	values []string
}

// Begin starts the filter of the answer to r, which goes out to w.
func (a *Answer) Begin(w http.ResponseWriter, r *http.Request) {
	a.ResponseWriter, a.request = w, r
	a.ours = a.room[:0]
	for name, values := range w.Header() {
		a.ours = append(a.ours, field{name, values})
	}
}

// WriteHeader sends the header.
func (a *Answer) WriteHeader(status int) {
	switch {
	case a.sent:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		a.interim(status)
		return
	}
	a.sent = true
	a.Correct(status, a.Header())
	if !a.discarded {
		a.addOurs()
		a.ResponseWriter.WriteHeader(status)
	}
}

// interim sends an answer that precedes the final one: early hints, of which
// browsers use the links. 100 would answer an Expect, which is not forwarded.
func (a *Answer) interim(status int) {
	h := a.Header()
	links := h["Link"]
	a.hints++
	if status != http.StatusEarlyHints || len(links) == 0 || a.hints > maxHints || !a.request.ProtoAtLeast(1, 1) {
		return
	}
	whole := maps.Clone(h)
	clear(h)
	h["Link"] = links
	a.ResponseWriter.WriteHeader(status)
	clear(h)
	maps.Copy(h, whole)
}

// addOurs completes the final header.
func (a *Answer) addOurs() {
	h := a.Header()
	for _, our := range a.ours {
		theirs := h[our.name]
		switch our.name {
		case requestid.Header, "X-Content-Type-Options", "Strict-Transport-Security":
			h[our.name] = our.values // once, and as we say it
		case "Content-Security-Policy": // browsers enforce all
			if !slices.Contains(theirs, our.values[0]) {
				h[our.name] = slices.Concat(our.values, theirs)
			}
		default: // what the server says counts
			switch {
			case len(theirs) == 0:
				h[our.name] = our.values
			case len(theirs) > len(our.values) && slices.Equal(theirs[:len(our.values)], our.values):
				h[our.name] = theirs[len(our.values):]
			}
		}
	}
}

// Discard drops what was said and will be said: nothing of it reaches the
// browser, which then may get another answer, by ResponseWriter.
func (a *Answer) Discard() {
	a.discarded = true
	h := a.Header()
	clear(h)
	for _, our := range a.ours {
		h[our.name] = our.values
	}
}

// Write sends a part of the body.
func (a *Answer) Write(p []byte) (int, error) {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	if a.discarded {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// FlushError sends what was written so far; a stream's first event does not
// wait for the second.
func (a *Answer) FlushError() error {
	a.Finish()
	if a.discarded {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Finish sends the header of a handler that wrote nothing at all.
func (a *Answer) Finish() {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
}

// Hijack hands over the connection of a WebSocket.
func (a *Answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.sent = true
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

func (a *Answer) unavailable() http.HandlerFunc { return a.Unavailable }

// Unwrap serves http.ResponseController.
func (a *Answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// OverridesCaching reports whether a header has more weight with some shared
// cache than Cache-Control has: those of CDNs (RFC 9213, and what its authors
// found in use), and nginx's own.
func OverridesCaching(name string) bool {
	return strings.HasSuffix(name, "Cdn-Cache-Control") || name == "Surrogate-Control" || name == "X-Accel-Expires"
}

// WithoutOurCookies takes those out of an answer of the front end that would
// set a cookie of the bff's, whose session cookie has this name. It may keep
// something of its own in the browser, but one that was taken over must not
// plant a session there (session fixation).
func WithoutOurCookies(h http.Header, session string) {
	session = strings.TrimPrefix(session, hostPrefix)
	ours := func(line string) bool { return sets(line, session) }
	cookies := h["Set-Cookie"]
	if !slices.ContainsFunc(cookies, ours) {
		return
	}
	if cookies = slices.DeleteFunc(slices.Clone(cookies), ours); len(cookies) == 0 {
		h.Del("Set-Cookie")
		return
	}
	h["Set-Cookie"] = cookies
}

// sets reports whether a Set-Cookie is for the session cookie of this name, or
// for one whose name begins with it. A browser sends a cookie without a name,
// "=name=value", just as one with that name (CVE-2022-2860).
func sets(line, session string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	name = strings.TrimPrefix(strings.TrimSpace(name), hostPrefix)
	rest, ok := strings.CutPrefix(name, session)
	return ok && (rest == "" || slices.ContainsFunc(ourCookies, func(kind string) bool { return strings.HasPrefix(rest, kind) }))
}

const hostPrefix = "__Host-"

type cookieKey struct{}

// WithSessionCookie has a [NewProxy] know the name of the session cookie for
// [WithoutOurCookies]: an answer that takes over the connection passes by the
// filter.
func WithSessionCookie(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, cookieKey{}, name)
}

// ourCookies are what distinguishes the names of the bff's cookies from the
// session's.
var ourCookies = []string{"-login-", "-answer-", "-trail"}

// Privately is a Cache-Control for one person: no shared cache may keep the
// answer (CVE-2025-48947).
func Privately(lines []string) string {
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
