// Package sanitize owns what of a request's path and header reaches the service,
// and which metadata of the service reaches the client. It leaves the message to
// package malformed and the answer to its callers.
package sanitize

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// Path returns the URL to route by, which may be u. It refuses paths that another hop may read
// in a different way: with an encoded slash or backslash, a dot segment or a
// control character. %252F is the text "%2F".
func Path(u *url.URL) (*url.URL, *refusal.Refusal) {
	malformed := func(what string) *refusal.Refusal {
		return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the path "+what)
	}
	if !strings.HasPrefix(u.Path, "/") {
		return nil, malformed("does not begin with a slash")
	}
	if !utf8.ValidString(u.Path) {
		return nil, malformed("is not UTF-8")
	}
	raw := u.RawPath
	if raw == "" && isPlain(u.Path) {
		if *u == (url.URL{Path: u.Path, RawQuery: u.RawQuery}) {
			return u, nil
		}
		return &url.URL{Path: u.Path, RawQuery: u.RawQuery}, nil
	}
	if raw != u.EscapedPath() {
		raw = "" // stale: a caller in this process has changed Path alone
	}
	upper := strings.ToUpper(raw)
	if strings.Contains(upper, "%2F") || strings.Contains(upper, "%5C") || strings.Contains(u.Path, `\`) {
		return nil, malformed("contains an encoded slash or a backslash")
	}
	if strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, malformed("contains a control character")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, malformed("contains a dot segment")
		}
	}
	return &url.URL{Path: u.Path, RawPath: unescapeUnreserved(raw), RawQuery: u.RawQuery}, nil
}

// isPlain reports whether a path consists of letters, digits, slashes, hyphens,
// underscores and tildes, as nearly all paths do, and so has one reading.
func isPlain(path string) bool {
	for i := range len(path) {
		if c := path[i]; !(isUnreserved(c) || c == '/') || c == '.' {
			return false
		}
	}
	return true
}

// unescapeUnreserved decodes the unreserved characters (RFC 3986 §6.2.2.2), so
// that /api/private%2Droute finds its route. All others stay encoded until the
// path is split: %3A is a colon in a name and does not begin a custom verb.
func unescapeUnreserved(raw string) string {
	if !strings.Contains(raw, "%") {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) {
			if c, err := url.PathUnescape(raw[i : i+3]); err == nil && isUnreserved(c[0]) {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(raw[i])
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// Metadata returns the metadata of a call: the request id, and from the header
// Authorization, Accept-Language and the fields that the application lists in also, in
// canonical form. Nothing else passes, in particular not
// Grpc-Timeout, Grpc-Metadata-* (CVE-2026-18972), cookies,
// X-HTTP-Method-Override, TE, Baggage and forwarded addresses. The connection to the
// server adds the trace context.
//
// Two Authorization values are refused with 400 invalid_request (RFC 6750 §3.1):
// metadata would contain both, and servers differ in which one they read.
//
// The metadata shares values with the header and ids, the request id as the only element.
func Metadata(from http.Header, ids []string, also []string) (metadata.MD, *refusal.Refusal) {
	to := metadata.MD{requestIDKey: ids}
	if values := from["Authorization"]; len(values) > 0 {
		if len(values) > 1 || !httpheader.IsPrintable(values[0]) {
			refused := refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the Authorization header must have exactly one value, of printable ASCII characters")
			refused.Challenge = refusal.InvalidRequest
			return nil, refused
		}
		to["authorization"] = values
	}
	languages := from["Accept-Language"]
	if len(languages) > 1 {
		languages = []string{strings.Join(languages, ", ")}
	}
	if len(languages) > 0 && languages[0] != "" && httpheader.IsPrintable(languages[0]) {
		to["accept-language"] = languages
	}
	for _, name := range also {
		if values := from[name]; len(values) > 0 && !slices.ContainsFunc(values, func(value string) bool { return !httpheader.IsPrintable(value) }) {
			to[strings.ToLower(name)] = values
		}
	}
	return to, CheckSize(to)
}

// CheckSize refuses metadata that the server would not accept.
func CheckSize(md metadata.MD) *refusal.Refusal {
	size := 0
	for key, values := range md {
		for _, value := range values {
			size += len(key) + len(value) + 32 // as HTTP/2 counts (RFC 9113 §10.5.1)
		}
	}
	if size > maxMetadataBytes {
		return refusal.New(http.StatusRequestHeaderFieldsTooLarge, codes.InvalidArgument, fmt.Sprintf("the header is longer than %d bytes", maxMetadataBytes))
	}
	return nil
}

// maxMetadataBytes is the server's limit of a header (32 KiB) minus what gRPC
// itself and a range add. net/http lets a little more pass, which the transport
// would refuse with an internal error.
const maxMetadataBytes = 28 << 10

// requestIDKey is the metadata key of the request id.
var requestIDKey = strings.ToLower(requestid.Header)

// ResponseHeader returns the name of the header field that a metadata key of the
// server becomes. All other metadata is dropped.
func ResponseHeader(key string) (string, bool) {
	switch key {
	case "cache-control":
		return "Cache-Control", true
	case "etag":
		return "Etag", true
	}
	return "", false
}

// JSONContentType refuses a body that is not labelled as JSON. A page of another
// site can send text/plain or a form without a preflight request (CORS), so such
// a body is never read as JSON.
func JSONContentType(h http.Header) *refusal.Refusal {
	if refused := encoded(h); refused != nil {
		return refused
	}
	if mediaType, ok := MediaType(h); !ok || mediaType != httpheader.JSON {
		return unsupported("the Content-Type must be application/json, in UTF-8")
	}
	return nil
}

// ContentType returns the content type of a body of any type, "" if it has none.
func ContentType(h http.Header) (string, *refusal.Refusal) {
	if refused := encoded(h); refused != nil {
		return "", refused
	}
	switch values := h["Content-Type"]; len(values) {
	case 0:
		return "", nil
	case 1:
		if _, _, err := mime.ParseMediaType(values[0]); err == nil && httpheader.IsPrintable(values[0]) {
			return values[0], nil
		}
	}
	return "", unsupported("the Content-Type must be one media type")
}

// MediaType returns the media type of a body. ok reports whether Content-Type has
// one value and no other parameter than charset=utf-8.
func MediaType(h http.Header) (mediaType string, ok bool) {
	values := h["Content-Type"]
	if len(values) != 1 {
		return "", false
	}
	if values[0] == httpheader.JSON { // most requests
		return values[0], true
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return mediaType, false
		}
	}
	return mediaType, err == nil
}

// encoded refuses a body with a Content-Encoding.
func encoded(h http.Header) *refusal.Refusal {
	if encoding := h["Content-Encoding"]; len(encoding) > 0 && !slices.Equal(encoding, []string{"identity"}) {
		return unsupported("a request body must come without Content-Encoding")
	}
	return nil
}

func unsupported(message string) *refusal.Refusal {
	return refusal.New(http.StatusUnsupportedMediaType, codes.InvalidArgument, message)
}
