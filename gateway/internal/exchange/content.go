package exchange

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
)

// sandbox is the policy of an HttpBody (CSP Level 3 §6.3.2): a document of it has
// no scripts and none of the origin's data, and loads nothing but itself, as what
// browsers show for audio, video and images does.
const sandbox = "sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"

// pdf is the policy of a PDF that its service shows inline: browsers show none in a
// sandbox. They run its scripts apart from the origin.
const pdf = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"

// shown are the beginnings of media types that browsers show without running
// anything. An HttpBody of them is no attachment unless the service says so.
var shown = []string{
	"text/plain", "application/json", "audio/", "video/",
	"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon",
}

// documents are parts of media types that browsers run as a document: HTML, all
// that is XML, such as SVG, and what contains such a document.
var documents = []string{"html", "xml", "svg", "xsl", "multipart/", "message/"}

// secure sets the header of an HttpBody. Its content may be a file of another user,
// and has the origin of the application: behind the bff its scripts would run with
// the session of the user who opens it. So it has a sandbox, and is an attachment
// unless browsers show it without running it, or the service says "inline". What
// browsers run as a document is always an attachment.
func secure(h http.Header) {
	types := h["Content-Type"]
	if len(types) == 0 || types[0] == "" || !httpheader.IsPrintable(types[0]) {
		types = []string{"application/octet-stream"}
		h["Content-Type"] = types
	}
	mediaType := strings.ToLower(types[0])
	isShown := slices.ContainsFunc(shown, func(prefix string) bool { return strings.HasPrefix(mediaType, prefix) })
	isDocument := slices.ContainsFunc(documents, func(part string) bool { return strings.Contains(mediaType, part) })
	disposition := h.Get("Content-Disposition")
	kind, rest, _ := strings.Cut(disposition, ";")
	inline := strings.EqualFold(strings.TrimSpace(kind), "inline")
	switch {
	case inline && isDocument && rest != "":
		h.Set("Content-Disposition", "attachment;"+rest)
	case inline && isDocument, disposition == "" && (isDocument || !isShown):
		h.Set("Content-Disposition", "attachment")
	}
	if inline && strings.HasPrefix(mediaType, "application/pdf") {
		h.Set("Content-Security-Policy", pdf)
		return
	}
	h.Set("Content-Security-Policy", sandbox)
}
