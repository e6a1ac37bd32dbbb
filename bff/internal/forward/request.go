package forward

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// toBackend completes a request to a server that is no gateway: without the prefix if it is
// stripped, and with a WebSocket handshake.
func (api *API) toBackend(out, r *http.Request) *http.Request {
	if api.cfg.Strip {
		out.URL = stripped(r.URL, strings.Count(api.cfg.Path, "/"))
		out.Header["X-Forwarded-Prefix"] = []string{api.cfg.Path}
	}
	if !IsWebSocket(r) {
		return out
	}
	for _, name := range socketHeaders {
		if values := r.Header[name]; len(values) > 0 {
			out.Header[name] = values
		}
	}
	out.Header["Connection"] = []string{"Upgrade"}
	out.Header["Upgrade"] = []string{"websocket"}
	return out.WithContext(WithSessionCookie(out.Context(), anyCookie))
}

// IsWebSocket reports whether a request asks for a WebSocket. No other upgrade passes: after
// one to HTTP/2 (h2c), requests would bypass everything here.
func IsWebSocket(r *http.Request) bool {
	return origins.Upgrade(r) && len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket")
}

// stripped returns a URL without the first n segments of its path, as they were sent.
func stripped(u *url.URL, n int) *url.URL {
	rest := u.EscapedPath()
	for range n {
		_, rest, _ = strings.Cut(rest[1:], "/")
		rest = "/" + rest
	}
	short := *u
	short.RawPath = rest
	short.Path, _ = url.PathUnescape(rest) // a part of a valid path
	return &short
}

// Describe sets the headers that tell a server behind the bff of the request r: its
// address under the base URL, and the address of its browser. values has room for
// theirs.
func Describe(h http.Header, values *[3]string, r *http.Request, base *url.URL, o *origins.Origins) {
	*values = [...]string{base.Host, base.Scheme, o.ClientAddress(r)}
	for i, name := range [...]string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// Identify sets the header with the id of a request's context.
func Identify(r *http.Request) {
	if id := requestid.FromContext(r.Context()); id != "" {
		r.Header[requestid.Header] = []string{id}
	}
}

// ConnectionHeaders returns the headers that a request names in Connection:
// those of the first hop (RFC 9110 §7.6.1). They are dropped before the bff's
// own are added, so that no client can have those dropped.
func ConnectionHeaders(h http.Header) map[string]bool {
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
