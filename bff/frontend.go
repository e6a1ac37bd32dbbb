package bff

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/protect"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// The header by which a front-end server learns whether its request has a
// session, and with sessionActive whose: the subject, percent-encoded where it
// has other characters than a header may.
const (
	sessionHeader = "Gatehouse-Session"
	subjectHeader = "Gatehouse-Subject"
)

// The values of sessionHeader.
const (
	sessionActive  = "active"
	sessionNone    = "none"
	sessionUnknown = "unknown" // the store did not answer within knownWithin
)

// knownWithin is how long a public page waits for the session store.
const knownWithin = 200 * time.Millisecond

// A sessionless front end answers from the path alone, as a directory does. Its
// public files need no session.
type sessionless interface{ Sessionless() }

// serveFrontend answers for pages: those that are protected need a session.
func (b *BFF) serveFrontend(w http.ResponseWriter, r *http.Request) {
	if !protect.Canonical(r.URL) || protect.EncodedSlash(r.URL) {
		// Our rules and the front end might read such a path differently
		// (CVE-2026-40575 and its kin).
		respond.Error(w, http.StatusNotFound, "no such page")
		return
	}
	// Added to what the front end says itself: browsers enforce both.
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	if b.signedOut(w, r) {
		return
	}
	answer := b.newPageAnswer(w, r)
	s, state, err := b.visitor(r, answer.protected)
	switch {
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
		return
	case s != nil:
		r = r.WithContext(withSession(r.Context(), s))
		answer.tied.s = s
		defer answer.tied.release()
	case state == sessionUnknown:
		r = r.WithContext(context.WithValue(r.Context(), unknownKey{}, true))
	case !answer.protected:
	case origins.Navigation(r):
		respond.SeeOther(w, route.LoginURL(route.ReturnTo(r.URL.RequestURI())))
		return
	default:
		w.Header().Set(route.LoginHeader, route.LoginURL(b.origins.Page(r)))
		respond.Error(w, http.StatusUnauthorized, "this page needs a login")
		return
	}
	out := b.toFrontend(r)
	describeSession(out.Header, s, state)
	b.frontend.ServeHTTP(answer, out)
	answer.Finish()
}

// A pageAnswer is the front end's answer: what is shown to signed-in users is
// kept by their browsers alone, and the bff alone sets its cookies.
type pageAnswer struct {
	forward.Answer
	tied      tied
	protected bool // the page needs a login
}

func (b *BFF) newPageAnswer(w http.ResponseWriter, r *http.Request) *pageAnswer {
	a := &pageAnswer{tied: tied{ResponseWriter: w, b: b}, protected: b.needsLogin(r)}
	a.Correct, a.Unavailable = a.correct, b.respond.FrontendUnavailable
	a.Begin(&a.tied, r)
	return a
}

func (a *pageAnswer) correct(_ int, h http.Header) {
	forward.WithoutOurCookies(h, a.tied.b.sessions.CookieName())
	if !a.protected {
		return
	}
	h["Cache-Control"] = []string{forward.Privately(h["Cache-Control"])}
	for name := range h {
		if forward.OverridesCaching(name) {
			h.Del(name)
		}
	}
}

// needsLogin reports whether what a request asks for needs a login. Next.js
// shows the pages that lie within another one's as that one's part, if this
// header names it.
func (b *BFF) needsLogin(r *http.Request) bool {
	for _, page := range r.Header["Next-Url"] {
		u, err := url.Parse(page)
		if err != nil || !protect.Canonical(u) || b.rules.NeedsLogin(u) {
			return true
		}
	}
	return b.rules.NeedsLogin(r.URL)
}

// visitor returns the session of a request for the front end, nil if it has
// none, and what the front end is told of it. A page that needs a session, and
// an answer that must end with it, wait for the store. Others do not depend on
// it: they wait for a moment, or not at all.
func (b *BFF) visitor(r *http.Request, needed bool) (*session.Session, string, error) {
	if _, ok := b.frontend.(sessionless); ok && !needed {
		return nil, "", nil
	}
	if len(r.CookiesNamed(b.sessions.CookieName())) == 0 {
		return nil, sessionNone, nil
	}
	if !needed && !origins.Upgrade(r) && !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		s, state := b.known(r)
		return s, state, nil
	}
	s, err := b.used(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, sessionNone, nil
	case err != nil:
		return nil, "", err
	}
	return s, sessionActive, nil
}

// known is visitor for a page that is shown either way.
func (b *BFF) known(r *http.Request) (*session.Session, string) {
	ctx, cancel := context.WithTimeout(r.Context(), knownWithin)
	type found struct {
		s   *session.Session
		err error
	}
	// A store need not return with its context.
	answer := make(chan found, 1)
	go func() {
		defer cancel()
		s, err := b.current(r.WithContext(ctx))
		if err == nil && errors.Is(b.sessions.Touch(ctx, s), session.ErrNotFound) {
			err = session.ErrNotFound
		}
		answer <- found{s, err}
	}()
	var got found
	select {
	case got = <-answer:
	case <-ctx.Done():
		select {
		case got = <-answer: // the look-up ends its context
		default:
			got.err = ctx.Err()
		}
	}
	switch {
	case got.err == nil:
		return got.s, sessionActive
	case errors.Is(got.err, session.ErrNotFound):
		return nil, sessionNone
	}
	b.logger.WarnContext(r.Context(), "session not looked up in time for a public page", "err", got.err)
	return nil, sessionUnknown
}

// describeSession writes into a header for the front end whether there is a session. What
// the browser has sent under these names is gone by now.
func describeSession(h http.Header, s *session.Session, state string) {
	if state == "" {
		return
	}
	h[sessionHeader] = []string{state}
	if s != nil {
		h[subjectHeader] = []string{headerText(s.Subject)}
	}
}

// headerText is a text as the value of a header: what is not printable ASCII is
// percent-encoded, and so is the percent sign, so that decodeURIComponent gives
// the text back.
func headerText(text string) string {
	var encoded strings.Builder
	for i := range len(text) {
		if c := text[i]; c > ' ' && c < 0x7f && c != '%' {
			encoded.WriteByte(c)
		} else {
			fmt.Fprintf(&encoded, "%%%02X", c)
		}
	}
	return encoded.String()
}

// toFrontend is the request that a front-end server sees. Unlike the API it
// gets the browser's headers and cookies, so that it can ask us who is signed
// in; but nothing in which a browser could pretend to be a proxy or a person.
func (b *BFF) toFrontend(r *http.Request) *http.Request {
	out := r.WithContext(r.Context())
	out.Trailer = nil
	out.Header = make(http.Header, len(r.Header)+6)
	dropped := connectionHeaders(r.Header)
	for name, values := range r.Header {
		if !pretence(name) && !dropped[name] {
			out.Header[name] = values
		}
	}
	// The body is sent without waiting for 100 (Continue).
	delete(out.Header, "Expect")
	delete(out.Header, "Connection")
	delete(out.Header, "Upgrade")
	if origins.Upgrade(r) && len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket") {
		// And to nothing else: through an upgrade to HTTP/2 (h2c) requests would
		// pass by everything here.
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = r.Header["Upgrade"]
		out = out.WithContext(forward.WithSessionCookie(out.Context(), b.sessions.CookieName()))
	}
	b.describe(out.Header, r)
	return out
}

// pretence reports whether a header claims what only a proxy may say.
func pretence(name string) bool {
	name = strings.ToLower(name)
	if strings.Contains(name, "_") || name == "authorization" || name == "forwarded" || name == "x-real-ip" {
		return true
	}
	if strings.HasPrefix(lettersOf(name), "gatehouse") {
		return true
	}
	for _, prefix := range pretences {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// lettersOf is a lower-case name without what CGI, WSGI and their kin turn into
// underscores, and so into each other.
func lettersOf(name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return -1
	}, name)
}

// pretences begin the names of headers by which a proxy, an authority or a part
// of the front end itself speaks: with those of Next.js's own, its middleware
// was passed by (CVE-2025-29927) and its pages were exchanged, with those of React
// Router a page's data was (CVE-2025-43865).
var pretences = []string{
	"x-forwarded-", "x-original-", "x-auth-", "x-rewrite-", "grpc-metadata-",
	"x-middleware-subrequest", "x-middleware-rewrite", "x-middleware-next", "x-matched-path", "x-now-route-matches", "x-invoke-",
	"x-react-router-", "x-nitro-", "x-nuxt-error",
}

type (
	sessionKey struct{}
	unknownKey struct{}
)

// userUnknown tells the embedded pages that the store did not answer in time.
func userUnknown(r *http.Request) bool { return r.Context().Value(unknownKey{}) != nil }

func withSession(ctx context.Context, s *session.Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

func sessionFrom(ctx context.Context) (*session.Session, bool) {
	s, ok := ctx.Value(sessionKey{}).(*session.Session)
	return s, ok
}
