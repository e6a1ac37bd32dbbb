package forward

import (
	"bufio"
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// maxHints is how many answers 103 (Early Hints) may precede the final one.
const maxHints = 8

// A Corrector changes the final header of an answer before it is sent, or calls
// Discard.
type Corrector interface {
	Correct(status int, h http.Header)
}

// An Answer is the response filter between a server or handler behind the bff
// and the browser. The headers that are set when it begins are the bff's own.
// They are part of the final header even if they are removed before it:
// net/http/httputil clears them after each 1xx.
//
// An answer that turns out to last, a stream, a file or a connection that is taken
// over, ends with its session, and so does a long upload. That shows when its header is sent, and other answers
// cost nothing: the answer is cut at its connection, because a context that can
// be cancelled would have to be made for each request beforehand.
type Answer struct {
	http.ResponseWriter
	Corrector
	*Shared
	Session *session.Session // nil for none

	call      tracing.Call
	closer    *streamCloser // nil for a handler that ends its streams itself
	watch     *sessionWatch // nil before the header of a lasting answer
	request   *http.Request
	ours      []field
	room      [4]field // for ours
	status    int32    // of the server or handler behind; 0 before it answers
	hints     int8
	sent      bool
	discarded bool
}

// Shared is what all answers of a server or handler have.
type Shared struct {
	// Unavailable answers for a server that does not respond; nil leaves that
	// to the proxy.
	Unavailable http.HandlerFunc
	Sessions    Watcher
	// Stopping is closed when the process is about to stop, and Work counts the
	// WebSockets that have not ended.
	Stopping <-chan struct{}
	Work     *inflight.Group
	Streams  *metrics.UpDownCounter // nil for none
}

// A field is a header field with its values.
type field struct {
	name   string
	values []string
}

// Begin starts the filter of the answer to r, which is written to w.
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
	a.sent, a.status = true, int32(status)
	a.Corrector.Correct(status, a.Header())
	if a.discarded {
		return
	}
	a.addOurs()
	switch {
	case status == http.StatusOK && Lasts(a.Header()):
		a.call.Opened(status)
		a.endWithSession()
	case (status == http.StatusOK || status == http.StatusPartialContent) && isLong(a.Header()):
		a.watchSession()
	}
	a.ResponseWriter.WriteHeader(status)
}

// endWithSession ties a lasting answer to its session, and to the process.
func (a *Answer) endWithSession() {
	a.lasts()
	if a.closer != nil {
		a.closer.begin(a.Header())
	}
	a.watchSession()
}

// watchSession cuts the answer when its session ends.
func (a *Answer) watchSession() {
	if a.Session != nil && a.watch == nil {
		a.watch = watch(a.Sessions, a.Session, func() { Sever(a.ResponseWriter) })
	}
}

// lasts has the request measured as a stream.
func (a *Answer) lasts() {
	if q := metrics.RequestOf(a.ResponseWriter); q != nil {
		q.SetStream()
	}
}

func (a *Answer) cut() bool { return a.watch != nil && a.watch.severed.Load() }

// Serve has a handler answer, with the context of a client span. template is that of
// the request's path. A stream ends the span when it begins.
func (a *Answer) Serve(tracer *tracing.Tracer, template string, handler func(context.Context)) {
	ctx, call := tracer.StartCall(a.request.Context(), a.request.Method, template)
	a.call = call
	whole := false
	defer func() { call.End(int(a.status), !whole) }()
	handler(ctx)
	if a.sent {
		withoutTrailers(a.Header())
	}
	whole = true
}

// withoutTrailers removes cookies from the trailers, which a proxy on the way may merge
// into the header (RFC 9110 §6.5.1).
func withoutTrailers(h http.Header) {
	delete(h, "Set-Cookie")
	delete(h, http.TrailerPrefix+"Set-Cookie")
}

// Release ends the watch. It is called when the handler has returned.
func (a *Answer) Release() {
	if a.watch != nil {
		a.watch.release()
	}
}

// interim sends early hints, of which browsers use the links. It drops other
// interim answers: 100 would answer an Expect, which is not forwarded.
func (a *Answer) interim(status int) {
	h := a.Header()
	links := h["Link"]
	a.hints = min(a.hints+1, maxHints+1)
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
			h[our.name] = our.values // replaces theirs
		case "Content-Security-Policy": // browsers enforce all of them
			if !slices.Contains(theirs, our.values[0]) {
				h[our.name] = slices.Concat(our.values, theirs)
			}
		default: // theirs replaces ours
			switch {
			case len(theirs) == 0:
				h[our.name] = our.values
			case len(theirs) > len(our.values) && slices.Equal(theirs[:len(our.values)], our.values):
				h[our.name] = theirs[len(our.values):]
			}
		}
	}
}

// Discard drops the answer, header and body. The browser may then get another
// one through ResponseWriter.
func (a *Answer) Discard() {
	a.discarded = true
	h := a.Header()
	clear(h)
	for _, our := range a.ours {
		h[our.name] = our.values
	}
}

// Write sends a part of the body. It fails when the session has ended.
func (a *Answer) Write(p []byte) (int, error) {
	a.Finish()
	switch {
	case a.discarded:
		return len(p), nil
	case a.cut():
		return 0, errSessionEnded
	case a.closer != nil:
		a.closer.written(p)
	}
	return a.ResponseWriter.Write(p)
}

// FlushError sends what was written so far. It fails when the session has ended.
func (a *Answer) FlushError() error {
	a.Finish()
	switch {
	case a.discarded:
		return nil
	case a.cut():
		return errSessionEnded
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Finish sends the header of a handler that wrote nothing.
func (a *Answer) Finish() {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
}

// Hijack hands over the connection of a WebSocket, which ends with the session and
// when the process stops; a proxy then closes the one behind it.
func (a *Answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.sent, a.status = true, http.StatusSwitchingProtocols
	a.call.Opened(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.lasts()
	worked, closed := a.Work.Begin(), a.Streams.Begin(metrics.StreamWebSocket)
	c := newSocket(conn, a.Stopping, func() { worked(); closed() })
	if a.Session != nil {
		c.watch = watch(a.Sessions, a.Session, func() { _ = conn.Close() }) // an error means that it is closed
	}
	return c, buffered, nil
}

func (a *Answer) unavailable() http.HandlerFunc { return a.Unavailable }

// Unwrap serves http.ResponseController.
func (a *Answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// OverridesCaching reports whether some shared caches prefer a header to
// Cache-Control: those of CDNs (RFC 9213) and of nginx.
func OverridesCaching(name string) bool {
	return strings.HasSuffix(name, "Cdn-Cache-Control") || name == "Surrogate-Control" || name == "X-Accel-Expires"
}

// WithoutOurCookies removes from an answer of the front end each Set-Cookie of a
// cookie of the bff, whose session cookie has this name. A compromised front end
// must not set a session (session fixation).
func WithoutOurCookies(h http.Header, sessionCookie string) {
	sessionCookie = strings.TrimPrefix(sessionCookie, hostPrefix)
	ours := func(line string) bool { return sets(line, sessionCookie) }
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

// sets reports whether a Set-Cookie sets the session cookie of this name, or
// another cookie of the bff. A browser sends a cookie without a name,
// "=name=value", like one with that name (CVE-2022-2860).
func sets(line, sessionCookie string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
	name = strings.TrimPrefix(strings.TrimSpace(name), hostPrefix)
	rest, ok := strings.CutPrefix(name, sessionCookie)
	return ok && (rest == "" || slices.ContainsFunc(ourCookies, func(kind string) bool { return strings.HasPrefix(rest, kind) }))
}

const hostPrefix = "__Host-"

type cookieKey struct{}

// anyCookie in the place of the name has all cookies removed.
const anyCookie = "*"

// WithSessionCookie returns a context with the name of the session cookie, for
// [WithoutOurCookies] in a [NewProxy]: an answer that takes over the connection
// bypasses the filter.
func WithSessionCookie(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, cookieKey{}, name)
}

// ourCookies are what the names of the bff's other cookies have after that of
// the session cookie.
var ourCookies = []string{"-login-", "-answer-", "-trail"}

// Privately returns a Cache-Control with which no shared cache stores the answer
// (CVE-2025-48947).
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
	if len(directives) == 1 { // browsers would use a heuristic
		return "private, no-cache"
	}
	return strings.Join(directives, ", ")
}
