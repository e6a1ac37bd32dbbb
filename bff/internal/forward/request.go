package forward

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// Describe sets the headers that tell a server behind the bff of the request
// r: its id, its address under the base URL, and the address of its browser.
func Describe(h http.Header, r *http.Request, base *url.URL, o *origins.Origins) {
	values := [...]string{requestid.FromContext(r.Context()), base.Host, base.Scheme, o.ClientAddress(r)}
	for i, name := range [...]string{requestid.Header, "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
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
