package bff

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

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

// forward sends a request to the API as the person who is signed in, or
// without a token: then the API decides.
func (b *BFF) forward(w http.ResponseWriter, r *http.Request) {
	s, err := b.signedIn(r)
	if err != nil && !b.goesOnSignedOut(w, r, err) {
		return
	}
	answer := b.newAnswer(w, r, s)
	defer func() { answer.release() }()
	answer.renewable = s != nil && replayable(r) && b.renewable(s)
	b.ask(answer, b.outgoing(r, s))
	if !answer.refused {
		return
	}
	// The API does not take the token although it has not run out: a key was
	// withdrawn, or the token was. Another one may do, once.
	b.logger.InfoContext(r.Context(), "the API refused the access token; trying with another one", "session", s)
	s, err = b.another(r.Context(), s)
	if err != nil && !b.goesOnSignedOut(w, r, err) {
		return
	}
	answer = b.newAnswer(w, r, s)
	b.ask(answer, b.outgoing(r, s))
}

// goesOnSignedOut reports whether a request whose session gave an error is
// sent on without a token; otherwise it has been answered.
func (b *BFF) goesOnSignedOut(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case errors.Is(err, session.ErrNotFound):
		return true
	case errors.Is(err, errNoToken):
		w.Header().Set("Retry-After", retryAfter)
		writeError(w, http.StatusServiceUnavailable, "the sign-in service does not answer at the moment; you are still signed in")
	default:
		b.storeDown(w, r, err)
	}
	return false
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
	return b.fresh(r.Context(), s)
}

// outgoing is the request that the API sees.
func (b *BFF) outgoing(r *http.Request, s *session.Session) *http.Request {
	out := r.WithContext(r.Context())
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
	values := [...]string{requestid.FromContext(r.Context()), b.base.Host, b.base.Scheme, b.clientAddress(r)}
	for i, name := range [...]string{requestid.Header, "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// connectionHeaders are those that a request names in Connection: they are
// for the first hop (RFC 9110 section 7.6.1), and dropped before ours are
// added, so that nobody can have ours dropped.
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

// clientAddress is the address of the browser: the nearest one that is not a
// trusted proxy's, "" if it cannot be told.
func (b *BFF) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0 && b.trusts(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	return address.String()
}

// peerAddress is whoever is connected to us, "" if it cannot be told.
func peerAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return peer.Addr().Unmap().String()
}

func (b *BFF) trusts(address netip.Addr) bool {
	for _, network := range b.trusted {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
