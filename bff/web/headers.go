package web

import (
	"net/http"
)

// contentSecurityPolicy allows the pages their own files and their own origin,
// and nothing inline: markup that got past the escaping of html/template could
// run no script.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"media-src 'self'; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// imageSecurityPolicy lets an image have styles, and no scripts and other files.
const imageSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"

// setHeaders sets the headers that every answer of this package has.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	// same-origin and not no-referrer: from browsers without Sec-Fetch-Site, the
	// bff tells the pages' own logout link from another site's by the Referer.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

// readOnly reports whether the method is GET or HEAD. Others it answers with
// 405.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	plain(w, http.StatusMethodNotAllowed, "This address answers GET and HEAD only.")
	return false
}

// plain answers with one line of text.
func plain(w http.ResponseWriter, status int, text string) {
	setHeaders(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
