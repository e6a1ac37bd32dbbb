package bff

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// An apiAnswer corrects the API's response headers when they are sent.
type apiAnswer struct {
	tied
	request   *http.Request
	ours      []field   // of the header, set before the API was asked
	private   bool      // answers a person who is signed in
	renewable bool      // whether a refused token is to be told to us alone
	farewell  *farewell // nil for an API that ends its streams itself

	room [8]field // for ours

	sent    bool // nothing more can be said about status and headers
	refused bool // the API refused the token, and the browser has seen nothing of it
	dropped bool // the API's body goes nowhere
}

func (b *BFF) newAnswer(w http.ResponseWriter, r *http.Request, s *session.Session) *apiAnswer {
	a := &apiAnswer{tied: tied{ResponseWriter: w, b: b, s: s}, request: r, private: s != nil}
	a.ours = a.room[:0]
	for name, values := range w.Header() {
		a.ours = append(a.ours, field{name, values})
	}
	return a
}

// A field is one of a header.
type field struct {
	name   string
	values []string
}

func (a *apiAnswer) WriteHeader(status int) {
	if a.sent {
		return
	}
	h := a.Header()
	if status < 200 && status != http.StatusSwitchingProtocols { // another one follows
		h.Del("Set-Cookie")
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.sent = true
	switch {
	case status == http.StatusUnauthorized && a.renewable && invalidToken(h):
		a.refused, a.dropped = true, true
		a.forget()
		return
	case status == http.StatusUnauthorized:
		demand := stepUp(h)
		login := loginFor(demand, a.b.page(a.request)) // and back to where the person is
		if navigation(a.request) && (demand != nil || !a.private) {
			a.dropped = true
			a.forget()
			seeOther(a.ResponseWriter, login)
			return
		}
		h.Set(loginHeader, login)
	default:
		h.Del(loginHeader) // ours to say
	}
	// Cookies of this origin are ours alone; a cached one would sign others
	// in (CVE-2025-48947).
	h.Del("Set-Cookie")
	for name := range h {
		// The origin that asks is our own, and one person's answer is no CDN's.
		if strings.HasPrefix(name, "Access-Control-") || a.private && overridesCaching(name) {
			h.Del(name)
		}
	}
	for _, ours := range a.ours { // once, and as we say it
		switch ours.name {
		case requestid.Header, "X-Content-Type-Options", "Strict-Transport-Security":
			h[ours.name] = ours.values
		}
	}
	switch said := h["Cache-Control"]; {
	case !a.private, len(said) == 1 && strings.HasPrefix(said[0], "no-store"): // nearly all
	case len(said) == 0:
		h.Set("Cache-Control", "no-store")
	default:
		h["Cache-Control"] = []string{privately(said)}
	}
	// Whoever is not signed in gets another answer at the same address.
	h.Add("Vary", "Cookie")
	if a.farewell != nil && status == http.StatusOK {
		a.farewell.begin(h, a.b.leaving)
	}
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

// forget takes back what the API has said about its answer.
func (a *apiAnswer) forget() {
	h := a.Header()
	clear(h)
	for _, ours := range a.ours {
		h[ours.name] = ours.values
	}
}

// invalidToken reports whether a challenge says that the token is no good (RFC
// 6750 section 3.1), and not that it lacks a scope or a newer login.
func invalidToken(h http.Header) bool {
	return slices.ContainsFunc(h["Www-Authenticate"], func(challenge string) bool {
		return strings.Contains(challenge, `error="invalid_token"`)
	})
}

func (a *apiAnswer) Write(p []byte) (int, error) {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case a.dropped:
		return len(p), nil
	case a.cut():
		return 0, errSevered
	case a.farewell == nil:
		return a.ResponseWriter.Write(p)
	}
	a.farewell.written(p)
	n := 0
	err := patiently(a, func() (err error) {
		n, err = a.ResponseWriter.Write(p)
		return err
	})
	return n, err
}

// finish sends the header of an API that wrote nothing at all.
func (a *apiAnswer) finish() {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
}

// FlushError sends what was written so far; a stream's first event does not
// wait for the second.
func (a *apiAnswer) FlushError() error {
	a.finish()
	switch {
	case a.dropped:
		return nil
	case a.cut():
		return errSevered
	}
	flush := http.NewResponseController(a.ResponseWriter).Flush
	if a.farewell == nil {
		return flush()
	}
	return patiently(a, flush)
}
