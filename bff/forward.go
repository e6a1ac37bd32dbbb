package bff

import (
	"context"
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
	"Connect-Protocol-Version", "Connect-Timeout-Ms", "X-Grpc-Web", "X-User-Agent",
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
	"Last-Event-Id", "Prefer", "Range", "Te",
	"Traceparent", "Tracestate", "User-Agent",
}

// forward sends a request to the API as the person who is signed in, or
// without a token: then the API decides.
func (b *BFF) forward(w http.ResponseWriter, r *http.Request) {
	s, err := b.signedIn(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
	case errors.Is(err, errNoToken):
		w.Header().Set("Retry-After", retryAfter)
		writeError(w, http.StatusServiceUnavailable, "the sign-in service does not answer at the moment; you are still signed in")
		return
	case err != nil:
		b.storeDown(w, r, err)
		return
	}
	out := b.outgoing(r, s)
	answer := &apiAnswer{ResponseWriter: w, private: s != nil}
	if s == nil && navigation(r) {
		// A person who opened an address of the API is sent to the login.
		answer.login = loginURL(returnTo(r.URL.RequestURI()))
	}
	b.api.ServeHTTP(answer, out)
}

// signedIn returns the session of a request with a valid access token.
func (b *BFF) signedIn(r *http.Request) (*session.Session, error) {
	s, err := b.used(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	return b.fresh(ctx, s)
}

// outgoing is the request that the API sees.
func (b *BFF) outgoing(r *http.Request, s *session.Session) *http.Request {
	out := r.WithContext(r.Context())
	dropped := connectionHeaders(r.Header)
	out.Header = make(http.Header, len(forwardedHeaders))
	for _, name := range forwardedHeaders {
		if values := r.Header[name]; len(values) > 0 && !dropped[name] {
			out.Header[name] = values
		}
	}
	b.describe(out.Header, r)
	if s != nil {
		out.Header.Set("Authorization", "Bearer "+s.Data.Tokens.Access)
	}
	return out
}

// describe says who asks, and under which address, in our own words.
func (b *BFF) describe(h http.Header, r *http.Request) {
	h.Set(requestid.Header, requestid.FromContext(r.Context()))
	h.Set("X-Forwarded-For", b.clientAddress(r))
	h.Set("X-Forwarded-Host", b.base.Host)
	h.Set("X-Forwarded-Proto", b.base.Scheme)
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
// trusted proxy's.
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

func (b *BFF) trusts(address netip.Addr) bool {
	for _, network := range b.trusted {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// An apiAnswer corrects the API's response headers when they are sent.
type apiAnswer struct {
	http.ResponseWriter
	private bool   // answers a person who is signed in
	login   string // where to send the browser instead of a 401; "" for nowhere

	sent     bool
	replaced bool // the browser was sent to the login: the body is dropped
}

func (a *apiAnswer) WriteHeader(status int) {
	if a.sent {
		return
	}
	h := a.Header()
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.sent = true
	}
	// Cookies of this origin are ours alone; a cached one would sign others
	// in (CVE-2025-48947).
	h.Del("Set-Cookie")
	for name := range h { // the origin that asks is our own
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
	if a.private && h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	if a.private {
		h.Add("Vary", "Cookie")
	}
	if status == http.StatusUnauthorized && a.login != "" {
		a.replaced = true
		for name := range h {
			if name != requestid.Header {
				h.Del(name)
			}
		}
		h.Set("Cache-Control", "no-store")
		h.Set("Location", a.login)
		status = http.StatusSeeOther
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *apiAnswer) Write(p []byte) (int, error) {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	if a.replaced {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// FlushError sends what was written so far; a stream's first event does not
// wait for the second.
func (a *apiAnswer) FlushError() error {
	if !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap serves http.ResponseController.
func (a *apiAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
