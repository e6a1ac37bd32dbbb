package bff

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// forwardedHeaders are the request headers that reach the API. Everything
// else stays here: our cookies, an Authorization that the browser made up,
// the X-Forwarded, X-Original and X-Auth families (CVE-2026-40575),
// Grpc-Metadata (CVE-2026-18972), names with underscores that some servers
// read as hyphens (CVE-2025-64484).
var forwardedHeaders = []string{
	"Accept", "Accept-Encoding", "Accept-Language",
	"Content-Encoding", "Content-Type",
	"Connect-Accept-Encoding", "Connect-Content-Encoding", "Connect-Protocol-Version", "Connect-Timeout-Ms",
	"Grpc-Accept-Encoding", "Grpc-Encoding", "X-Grpc-Web", "X-User-Agent",
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
	"Last-Event-Id", "Prefer", "Range", "Te",
	"Traceparent", "Tracestate", "User-Agent",
}

// forward sends a request to the API with the token of the signed-in user, or
// without one: then the API decides.
func (b *BFF) forward(w http.ResponseWriter, r *http.Request) {
	s, err := b.signedIn(r)
	answer := b.newAPIAnswer(w, r, s)
	if err != nil && !b.goesOnSignedOut(answer, err) {
		return
	}
	defer func() { answer.tied.release() }()
	answer.renewable = s != nil && replayable(r) && b.refresher.Renewable(s)
	b.ask(answer, r, s)
	if s != nil && answer.invalid && !answer.refused { // too late for this request, not for the next
		b.refresher.Refused(s)
	}
	if !answer.refused {
		return
	}
	// The API does not take the token although it has not run out: a key was
	// withdrawn, or the token was. Another one may do, once.
	b.logger.InfoContext(r.Context(), "the API refused the access token; trying with another one", "session", s)
	s, err = b.refresher.Another(r.Context(), s)
	answer = b.newAPIAnswer(w, r, s)
	if err != nil && !b.goesOnSignedOut(answer, err) {
		return
	}
	b.ask(answer, r, s)
}

// goesOnSignedOut reports whether a request whose session gave an error is
// sent on without a token; otherwise it has been answered. What changes nothing
// is sent on while the session store does not answer: the API may serve it to
// everyone.
func (b *BFF) goesOnSignedOut(a *apiAnswer, err error) bool {
	w, r := a.ResponseWriter, a.request
	unavailable, ok := errors.AsType[*refresh.Unavailable](err)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return true
	case ok:
		unrenewed(w, unavailable)
		return false
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Context().Err() == nil:
		a.outage = err
		return true
	default:
		b.respond.StoreUnavailable(w, r, err)
		return false
	}
}

// An apiAnswer is the API's answer, corrected for one browser.
type apiAnswer struct {
	forward.Answer
	tied      tied
	b         *BFF
	request   *http.Request
	private   bool  // answers a signed-in user
	renewable bool  // whether a refused token is told to us alone
	invalid   bool  // the API refused the token
	refused   bool  // and the browser has seen nothing of it
	outage    error // of the session store, which may know this browser

	kept  []byte // of a refusal that gets a hint; nil for all others
	where string // the hint
}

func (b *BFF) newAPIAnswer(w http.ResponseWriter, r *http.Request, s *session.Session) *apiAnswer {
	a := &apiAnswer{tied: tied{ResponseWriter: w, b: b, s: s}, b: b, request: r, private: s != nil}
	a.Correct = a.correct
	a.Begin(&a.tied, r)
	return a
}

func (a *apiAnswer) correct(status int, h http.Header) {
	a.invalid = status == http.StatusUnauthorized && invalidToken(h)
	if a.private && status != http.StatusUnauthorized && status < http.StatusInternalServerError {
		a.b.refresher.Accepted(a.tied.s)
	}
	switch {
	case a.outage != nil && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		a.Discard()
		a.b.respond.StoreUnavailable(a.ResponseWriter, a.request, a.outage)
		return
	case a.invalid && a.renewable:
		a.refused = true
		a.Discard()
		return
	case status == http.StatusUnauthorized:
		demand := route.StepUp(h)
		login := route.LoginFor(demand, a.b.origins.Page(a.request)) // and back to where the user is
		if origins.Navigation(a.request) && (demand != nil || !a.private) {
			a.Discard()
			respond.SeeOther(a.ResponseWriter, login)
			return
		}
		if !a.private && bearerToken(a.request) {
			a.hint(h)
		}
		h.Set(route.LoginHeader, login)
	default:
		h.Del(route.LoginHeader) // ours to say
	}
	// Cookies of this origin are ours alone; a cached one would sign others
	// in (CVE-2025-48947).
	h.Del("Set-Cookie")
	for name := range h {
		// The origin that asks is our own, and one person's answer is no CDN's.
		if strings.HasPrefix(name, "Access-Control-") || (a.private || a.outage != nil) && forward.OverridesCaching(name) {
			h.Del(name)
		}
	}
	switch said := h["Cache-Control"]; {
	case a.outage != nil: // with the store back, it may be another one
		h["Cache-Control"] = []string{"no-store"}
	case !a.private, len(said) == 1 && strings.HasPrefix(said[0], "no-store"): // nearly all
	case len(said) == 0:
		h.Set("Cache-Control", "no-store")
	default:
		h["Cache-Control"] = []string{forward.Privately(said)}
	}
	// A signed-out browser gets another answer at the same address.
	h.Add("Vary", "Cookie")
}

// invalidToken reports whether a challenge says that the token is no good (RFC
// 6750 §3.1), and not that it lacks a scope or a newer login.
func invalidToken(h http.Header) bool {
	return slices.ContainsFunc(h["Www-Authenticate"], func(challenge string) bool {
		return strings.Contains(challenge, `error="invalid_token"`)
	})
}

// bearerToken reports whether a request brings a token of its own, which does
// not reach the API.
func bearerToken(r *http.Request) bool {
	scheme, _, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer")
}

// maxHinted bounds the refusals to which a hint is added, in bytes.
const maxHinted = 16 << 10

// hint prepares a refusal for a client that sends a bearer token here: the body
// is kept, to add where tokens go. Only a short one that says its length can be
// read whole before anything of it is sent.
func (a *apiAnswer) hint(h http.Header) {
	b, r := a.b, a.request
	where := "the gateway"
	if b.tokensAt != "" {
		where += " at " + b.tokensAt
	}
	b.logger.InfoContext(r.Context(), "a bearer token came to the bff, which takes session cookies", "path", r.URL.Path, "send_to", where)
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err == nil && n <= maxHinted && r.Method != http.MethodHead && len(h["Content-Encoding"]) == 0 {
		a.kept = make([]byte, 0, n)
		a.where = where
		h.Del("Content-Length")
	}
}

// Write sends a part of the body, or keeps it.
func (a *apiAnswer) Write(p []byte) (int, error) {
	a.Finish()
	if a.kept == nil {
		return a.Answer.Write(p)
	}
	if len(a.kept)+len(p) > maxHinted {
		return 0, io.ErrShortWrite
	}
	a.kept = append(a.kept, p...)
	return len(p), nil
}

// FlushError sends what was written so far, unless it is kept.
func (a *apiAnswer) FlushError() error {
	a.Finish()
	if a.kept != nil {
		return nil
	}
	return a.Answer.FlushError()
}

// finish ends the answer. A refusal that was kept gets its hint: in the message
// of google.rpc.Status and Connect, or in the detail of RFC 9457.
func (a *apiAnswer) finish() {
	a.Finish()
	if a.kept == nil {
		return
	}
	body := a.kept
	a.kept = nil
	var said map[string]json.RawMessage
	if json.Unmarshal(body, &said) == nil {
		for _, member := range []string{"message", "detail"} {
			var text string
			if json.Unmarshal(said[member], &text) != nil {
				continue
			}
			said[member], _ = json.Marshal(text + "; this address takes the session cookie of a signed-in browser and no bearer token: send it to " + a.where)
			if hinted, err := json.Marshal(said); err == nil {
				body = append(hinted, '\n')
			}
			break
		}
	}
	_, _ = a.Answer.Write(body)
}

// replayable reports whether a request can be made twice without harm.
func replayable(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
}

// signedIn returns the session of a request with a valid access token. A
// browser that listens again, as an EventSource does by itself for as long as
// its page is open, is no use of a session: one that lies idle must end.
func (b *BFF) signedIn(r *http.Request) (*session.Session, error) {
	look := b.used
	if accept := r.Header["Accept"]; len(accept) == 1 && accept[0] == "text/event-stream" {
		look = b.current
	}
	s, err := look(r)
	if err != nil {
		return nil, err
	}
	return b.refresher.Fresh(r.Context(), s)
}

// outgoing is the request that the API sees, with the context of the call.
func (b *BFF) outgoing(ctx context.Context, r *http.Request, s *session.Session) *http.Request {
	out := r.WithContext(ctx)
	out.Host = b.base.Host // not what the browser, or who poses as one, says
	out.Trailer = nil
	dropped := connectionHeaders(r.Header)
	out.Header = make(http.Header, 14) // a browser sends about half of what may pass
	for _, name := range forwardedHeaders {
		if values := r.Header[name]; len(values) > 0 && !dropped[name] {
			out.Header[name] = values
		}
	}
	b.describe(out.Header, r)
	if s != nil {
		out.Header["Authorization"] = []string{s.Bearer()}
	}
	return out
}

// describe says who asks, and under which address, in our own words.
func (b *BFF) describe(h http.Header, r *http.Request) {
	values := [...]string{requestid.FromContext(r.Context()), b.base.Host, b.base.Scheme, b.origins.ClientAddress(r)}
	for i, name := range [...]string{requestid.Header, "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// connectionHeaders are those that a request names in Connection: they are
// for the first hop (RFC 9110 section 7.6.1), and dropped before ours are
// added, so that no client can have ours dropped.
func connectionHeaders(h http.Header) map[string]bool {
	var names map[string]bool
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if names == nil {
				names = map[string]bool{}
			}
			names[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return names
}
