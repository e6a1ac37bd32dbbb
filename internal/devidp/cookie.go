package devidp

import (
	"net/http"
	"net/url"
)

// sessionCookie carries the secret of a browser's session at the provider.
type sessionCookie struct {
	name   string
	secure bool
}

// newSessionCookie returns the cookie for an issuer. Its name contains the port,
// since all ports of a host share cookies. The prefix __Host- requires Secure, and so
// https.
func newSessionCookie(issuer *url.URL) *sessionCookie {
	name := "devidp"
	if port := issuer.Port(); port != "" {
		name += "_" + port
	}
	if issuer.Scheme == "https" {
		name = "__Host-" + name
	}
	return &sessionCookie{name: name, secure: issuer.Scheme == "https"}
}

// value returns the secret of the browser's session; "" if there is none.
func (c *sessionCookie) value(r *http.Request) string {
	found, err := r.Cookie(c.name)
	if err != nil {
		return ""
	}
	return found.Value
}

// set sets the cookie, or deletes it if the value is "".
func (c *sessionCookie) set(w http.ResponseWriter, value string) {
	cookie := &http.Cookie{
		Name: c.name, Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}
