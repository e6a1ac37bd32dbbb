package bff

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// serveFrontend answers for pages: those that are protected need a session.
func (b *BFF) serveFrontend(w http.ResponseWriter, r *http.Request) {
	if !canonical(r.URL) || encodedSlash(r.URL) {
		// Our rules and the front end might read such a path differently
		// (CVE-2026-40575 and its kin).
		writeError(w, http.StatusNotFound, "no such page")
		return
	}
	// Added to what the front end says itself: browsers enforce both.
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	if b.signedOut(w, r) {
		return
	}
	answer := b.newPageAnswer(w, r)
	s, err := b.used(r)
	switch {
	case err == nil:
		r = r.WithContext(withSession(r.Context(), s))
		answer.tied.s = s
		defer answer.tied.release()
	case !errors.Is(err, session.ErrNotFound):
		b.storeDown(w, r, err)
		return
	case !answer.protected:
	case navigation(r):
		seeOther(w, loginURL(returnTo(r.URL.RequestURI())))
		return
	default:
		w.Header().Set(loginHeader, loginURL(b.page(r)))
		writeError(w, http.StatusUnauthorized, "this page needs a login")
		return
	}
	b.frontend.ServeHTTP(answer, b.toFrontend(r))
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
	a := &pageAnswer{tied: tied{ResponseWriter: w, b: b}, protected: b.covers(r.URL)}
	a.Correct, a.Unavailable = a.correct, b.noFrontend
	a.Begin(&a.tied, r)
	return a
}

func (a *pageAnswer) correct(_ int, h http.Header) {
	forward.WithoutOurCookies(h)
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

// toFrontend is the request that a front-end server sees. Unlike the API it
// gets the browser's headers and cookies, so that it can ask us who is signed
// in; but nothing in which a browser could pretend to be a proxy or a person.
func (b *BFF) toFrontend(r *http.Request) *http.Request {
	out := r.WithContext(r.Context())
	out.Trailer = nil
	out.Header = make(http.Header, len(r.Header)+4)
	dropped := connectionHeaders(r.Header)
	for name, values := range r.Header {
		if !pretence(name) && !dropped[name] {
			out.Header[name] = values
		}
	}
	// A front end that answered 100 would do so to us, who send the body anyway.
	delete(out.Header, "Expect")
	delete(out.Header, "Connection")
	delete(out.Header, "Upgrade")
	if upgrade(r) && len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket") {
		// And to nothing else: through an upgrade to HTTP/2 (h2c) requests would
		// pass by everything here.
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = r.Header["Upgrade"]
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
	for _, prefix := range pretences {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// pretences begin the names of headers by which a proxy, an authority or a part
// of the front end itself speaks: with those of Next.js's own, its middleware
// was passed by (CVE-2025-29927) and its pages were exchanged.
var pretences = []string{
	"x-forwarded-", "x-original-", "x-auth-", "x-rewrite-", "grpc-metadata-",
	"x-middleware-subrequest", "x-middleware-rewrite", "x-middleware-next", "x-matched-path", "x-now-route-matches", "x-invoke-",
}

type sessionKey struct{}

func withSession(ctx context.Context, s *session.Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

func sessionFrom(ctx context.Context) (*session.Session, bool) {
	s, ok := ctx.Value(sessionKey{}).(*session.Session)
	return s, ok
}
