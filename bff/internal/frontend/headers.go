package frontend

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// The headers by which a front-end server learns whether its request has a
// session, and with stateActive whose: the subject, percent-encoded where it
// has characters that a header cannot have.
const (
	sessionHeader = "Gatehouse-Session"
	subjectHeader = "Gatehouse-Subject"
)

// A state is a value of sessionHeader.
type state string

const (
	stateActive  state = "active"
	stateNone    state = "none"
	stateUnknown state = "unknown" // the store did not answer within lookupTimeout
)

// outgoing is the request that the front end sees. It has the browser's headers
// and cookies, so that a front-end server can ask the bff for the session, but
// no header that only a proxy or the bff may set.
func (f *Frontend) outgoing(r *http.Request, s *session.Session, state state) *http.Request {
	out := r.WithContext(r.Context())
	out.Trailer = nil
	out.Header = make(http.Header, len(r.Header)+6)
	dropped := forward.ConnectionHeaders(r.Header)
	for name, values := range r.Header {
		if !untrusted(name) && !dropped[name] {
			out.Header[name] = values
		}
	}
	// The body is sent without waiting for 100 (Continue).
	delete(out.Header, "Expect")
	delete(out.Header, "Connection")
	delete(out.Header, "Upgrade")
	if forward.IsWebSocket(r) {
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = r.Header["Upgrade"]
		out = out.WithContext(forward.WithSessionCookie(out.Context(), f.cfg.Manager.CookieName()))
	}
	forward.Identify(out)
	forward.Describe(out.Header, new([3]string), r, f.cfg.Base, f.cfg.Origins)
	tracing.InjectHeader(out.Context(), out.Header)
	if state != "" {
		out.Header[sessionHeader] = []string{string(state)}
	}
	if s != nil {
		out.Header[subjectHeader] = []string{headerText(s.Subject)}
	}
	return out
}

// headerText returns text as the value of a header. Everything but printable
// ASCII is percent-encoded, and so is the percent sign: decodeURIComponent
// returns the text.
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

// untrusted reports whether a front end could take a browser's header of this
// name for one of a proxy, the bff, or a part of the front end.
func untrusted(name string) bool {
	name = strings.ToLower(name)
	if strings.Contains(name, "_") || name == "authorization" || name == "forwarded" || name == "x-real-ip" || name == "baggage" {
		return true
	}
	if strings.HasPrefix(alphanumeric(name), "gatehouse") {
		return true
	}
	for _, prefix := range untrustedHeaders {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// alphanumeric returns a lower-case name without the characters that CGI and
// WSGI replace by underscores, after which different names are equal.
func alphanumeric(name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return -1
	}, name)
}

// untrustedHeaders are the prefixes of headers that proxies, authentication
// services and parts of a front end set. By those of Next.js its middleware was
// bypassed (CVE-2025-29927) and its pages were exchanged, by those of React
// Router the data of a page was (CVE-2025-43865).
var untrustedHeaders = []string{
	"x-forwarded-", "x-original-", "x-auth-", "x-rewrite-", "grpc-metadata-",
	"x-middleware-subrequest", "x-middleware-rewrite", "x-middleware-next", "x-matched-path", "x-now-route-matches", "x-invoke-",
	"x-react-router-", "x-nitro-", "x-nuxt-error",
}
