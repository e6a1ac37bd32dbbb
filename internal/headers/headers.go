// Package headers owns which names of header fields an application can pass on to its
// services: those that no part, proxy or protocol gives a meaning that a client could
// forge. It leaves passing them on to gateway and bff.
package headers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// reserved are the names that parts, proxies and protocols use, in lower case.
var reserved = []string{
	"authorization", "cookie", "set-cookie", "host", "origin", "referer", "date", "via", "forwarded",
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "http2-settings",
	"accept", "accept-encoding", "accept-language", "content-length", "content-type", "content-encoding", "user-agent",
	"last-event-id", "prefer", "range", "x-real-ip", "x-user-agent", "x-request-id", "traceparent", "tracestate", "baggage",
	"x-http-method-override", "x-method-override", "x-http-method",
	// By these, proxies tell who the client is.
	"x-forwarded", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "fastly-client-ip", "cf-connecting-ip",
	"remote-user", "x-remote-user", "client-cert", "client-cert-chain", "x-client-cert",
}

// families are the beginnings of such names.
var families = []string{
	":", "grpc-", "grpcgateway-", "connect-", "x-grpc-", "x-forwarded-", "x-original-", "x-rewrite-", "x-auth-",
	"x-envoy-", "x-amzn-", "x-goog-", "x-ms-client-", "x-ssl-", "proxy-", "sec-", "if-", "access-control-", "gatehouse-", "x-gatehouse-",
}

// Reserved reports whether an application must not set a header field or metadata of this
// name. Names with an underscore are reserved, since some servers read it as a hyphen.
func Reserved(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(reserved, name) || strings.Contains(name, "_") ||
		slices.ContainsFunc(families, func(family string) bool { return strings.HasPrefix(name, family) })
}

// Check returns what is wrong with the names in a field of a configuration.
func Check(field string, names []string) (errs []error) {
	for i, name := range names {
		problem := ""
		switch lower := strings.ToLower(name); {
		case !httpguts.ValidHeaderFieldName(name):
			problem = "is not the name of a header field"
		case Reserved(name):
			problem = "has a meaning of its own and is not passed on as it comes from clients"
		case strings.HasSuffix(lower, "-bin"):
			problem = "is a name of binary metadata"
		}
		if problem != "" {
			errs = append(errs, invalid.Field(fmt.Sprintf("%s[%d]", field, i), name, problem, "give a name of the application's own, such as X-Tenant"))
		}
	}
	return errs
}

// Canonical returns the names in the form of http.Header.
func Canonical(names []string) []string {
	var canonical []string
	for _, name := range names {
		canonical = append(canonical, http.CanonicalHeaderKey(name))
	}
	return canonical
}

// Printable reports whether a value consists of printable ASCII characters, eight at a time: tokens
// are long.
func Printable(s string) bool {
	const ones = 0x0101010101010101
	for len(s) >= 8 {
		v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (v|(v-ones*' ')|(v+ones*(0x7f-'~')))&(ones<<7) != 0 { // a carry comes from a byte that fails itself
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
