package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// serveAPI takes a request that CORS has let pass to the mux, reduced to what
// the mux may see.
func (g *Gateway) serveAPI(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange)
	path, refused := cleanPath(r.URL)
	if refused != nil {
		x.refuse(refused)
		return
	}
	if (path.Path != apiPrefix && !strings.HasPrefix(path.Path, apiPrefix+"/")) || belongsToBFF(path.Path) {
		x.refuse(g.notFound(nil))
		return
	}
	if strings.Contains(path.Path, "//") || strings.HasSuffix(path.Path, "/") {
		// An empty segment is no name: GET /api/things/ must not become
		// GetThing("").
		x.refuse(g.notFound(path))
		return
	}
	if g.rpcs.own(path.Path) {
		g.serveRPC(x, path)
		return
	}
	if g.description.describes(path.Path) {
		g.description.serve(x, r)
		return
	}
	if r.Method == http.MethodOptions {
		g.options(x, path)
		return
	}
	md, refused := forwarded(r.Header, x.id)
	if refused != nil {
		x.refuse(refused)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	// The runtime adds to the metadata what it finds in the request: nothing.
	inner := r.WithContext(metadata.NewOutgoingContext(r.Context(), md))
	inner.Method, inner.URL, inner.Header = method, path, http.Header{}
	inner.Host, inner.RemoteAddr = "", ""
	g.mux.ServeHTTP(x, inner)
}

func (g *Gateway) options(x *exchange, path *url.URL) {
	methods := g.allowed(path)
	if methods == nil {
		x.refuse(g.notFound(path))
		return
	}
	x.Header().Set("Allow", strings.Join(methods, ", "))
	x.WriteHeader(http.StatusNoContent)
}

// serve runs between the mux, which has found the route, and generated code:
// it refuses what generated code would ignore or misread.
func (g *Gateway) serve(x *exchange, r *http.Request, h *handler, params map[string]string) {
	rt := h.route
	x.route = rt
	deadline := x.start.Add(g.timeout)
	if !rt.acceptable(x.request.Header) {
		x.refuse(refuse(http.StatusNotAcceptable, codes.InvalidArgument,
			"this route answers with "+rt.mediaTypes()+", which the Accept header rules out"))
		return
	}
	conditions, refused := rt.conditions(x.request.Header)
	if refused != nil {
		x.refuse(refused)
		return
	}
	var body io.ReadCloser
	if !rt.uploads {
		if body, refused = g.body(x, rt, deadline); refused != nil {
			x.refuse(refused)
			return
		}
	}
	query, refused := rt.query(r.URL.RawQuery)
	if refused != nil {
		x.refuse(refused)
		return
	}
	x.conditions, x.params, x.query = conditions, params, query
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	if rt.raw {
		ctx = x.ranged(ctx)
	}
	if rt.uploads {
		g.serveUpload(x, r.WithContext(ctx))
		return
	}
	r.Body, r.ContentLength = body, -1
	// Generated code calls ParseForm, which leaves alone what is set: neither a
	// form in the body nor anything the check has not seen reaches a message.
	r.Form, r.PostForm = query, url.Values{}
	if rt.stream {
		x.flow = g.newFlow(x, r.WithContext(ctx), rt.format(x.request.Header))
		defer x.flow.close()
		h.next(x, r.WithContext(x.flow.ctx), params)
		return
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	h.next(x, r.WithContext(ctx), params)
}

// format is how a stream is written.
func (rt *route) format(h http.Header) format {
	switch {
	case rt.raw:
		return nil
	case wantsEvents(h):
		return events{}
	}
	return lines{}
}

// cleanPath returns the URL by which the mux routes, or why there is none. A
// path has one reading for every hop: an encoded slash or backslash, a dot
// segment or a control character has several, and is refused; %252F is the text
// "%2F".
func cleanPath(u *url.URL) (*url.URL, *refusal) {
	malformed := func(what string) (*url.URL, *refusal) {
		return nil, refuse(http.StatusBadRequest, codes.InvalidArgument, "the path "+what)
	}
	if !strings.HasPrefix(u.Path, "/") {
		return malformed("does not begin with a slash")
	}
	if !utf8.ValidString(u.Path) {
		return malformed("is not UTF-8")
	}
	raw := u.RawPath
	if raw == "" && isPlain(u.Path) {
		return &url.URL{Path: u.Path, RawQuery: u.RawQuery}, nil
	}
	if raw != u.EscapedPath() {
		raw = "" // not this path's, but left behind by a caller in this process
	}
	upper := strings.ToUpper(raw)
	if strings.Contains(upper, "%2F") || strings.Contains(upper, "%5C") || strings.Contains(u.Path, `\`) {
		return malformed("contains an encoded slash or a backslash")
	}
	if strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return malformed("contains a control character")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return malformed("contains a dot segment")
		}
	}
	return &url.URL{Path: u.Path, RawPath: unescapeUnreserved(raw), RawQuery: u.RawQuery}, nil
}

// isPlain reports whether a path has nothing in it that could be read in two
// ways, as nearly all: only letters, digits, slashes, hyphens and underscores.
func isPlain(path string) bool {
	for i := range len(path) {
		if c := path[i]; !(isUnreserved(c) || c == '/') || c == '.' {
			return false
		}
	}
	return true
}

// unescapeUnreserved decodes the characters that mean the same either way
// (RFC 3986 §6.2.2.2), so that /api/private%2Droute finds its route. The others
// stay encoded until the path is split: %3A is a colon in a name and begins no
// custom verb.
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

// forwarded returns the metadata that headers become, and no other does: the
// mux sees none at all, so neither Grpc-Timeout nor Grpc-Metadata-*
// (CVE-2026-18972), cookies, X-HTTP-Method-Override, TE or forwarded addresses.
//
// Two Authorization values are refused here: metadata would carry both, and
// what then decides is which one a server reads. RFC 6750 §3.1 calls it
// invalid_request and answers 400.
func forwarded(from http.Header, id string) (metadata.MD, *refusal) {
	to := metadata.MD{requestIDKey: {id}}
	if values := from["Authorization"]; len(values) > 0 {
		if len(values) > 1 || !isPrintable(values[0]) {
			refused := refuse(http.StatusBadRequest, codes.InvalidArgument, "the Authorization header must have exactly one value, of printable ASCII characters")
			refused.challenge = challengeInvalidRequest
			return nil, refused
		}
		to["authorization"] = values
	}
	// W3C Trace Context: several traceparents are none, several tracestates
	// are one list.
	if values := from["Traceparent"]; len(values) == 1 && isPrintable(values[0]) {
		to["traceparent"] = values
		if state := strings.Join(from["Tracestate"], ","); state != "" && isPrintable(state) {
			to["tracestate"] = []string{state}
		}
	}
	if languages := strings.Join(from["Accept-Language"], ", "); languages != "" && isPrintable(languages) {
		to["accept-language"] = []string{languages}
	}
	size := 0
	for key, values := range to {
		size += len(key) + len(values[0]) + 32 // as HTTP/2 counts (RFC 9113 §10.5.1)
	}
	if size > maxMetadataBytes {
		return nil, refuse(http.StatusRequestHeaderFieldsTooLarge, codes.InvalidArgument, fmt.Sprintf("the header is longer than %d bytes", maxMetadataBytes))
	}
	return to, nil
}

// maxMetadataBytes is what the server takes of a header (32 KiB), but for what
// gRPC itself and a range add. net/http lets a little more pass, which the
// transport would refuse as if something were broken here.
const maxMetadataBytes = 28 << 10

// requestIDKey is the metadata key of the request's id.
var requestIDKey = strings.ToLower(requestid.Header)

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// outgoingHeader names the header of a metadata key that the server has sent.
// Everything else stays inside.
func outgoingHeader(key string) (string, bool) {
	switch key {
	case "cache-control":
		return "Cache-Control", true
	case "etag":
		return "Etag", true
	}
	return "", false
}
