package web

import (
	"net/http"
)

// contentSecurityPolicy allows what the pages use: their own files and their
// own origin. Nothing inline, so that markup injected past the escaping of
// html/template could still run nothing.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// setHeaders puts the headers on that every answer of this package carries.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	// same-origin rather than no-referrer: where a browser sends no Sec-Fetch-Site,
	// the bff has only the Referer to tell our own Logout link from another site's.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

// readOnly answers every method but GET and HEAD with 405 and reports whether
// the request may go on.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	plain(w, http.StatusMethodNotAllowed, "This address answers GET and HEAD only.")
	return false
}

// plain answers with one line of text for callers that show no page.
func plain(w http.ResponseWriter, status int, text string) {
	setHeaders(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
