// Package route owns the bff's own addresses, the local paths to which a login
// or logout may return, and the login address for what an API demands. It
// leaves serving them to the handlers.
package route

import (
	"maps"
	"net/url"
	"strings"
)

// The bff's own addresses. Login, Callback, Logout and Me are those of
// nextjs-auth0.
const (
	Login              = "/api/auth/login"
	Callback           = "/api/auth/callback"
	Logout             = "/api/auth/logout"
	Me                 = "/api/auth/me"
	Session            = "/api/auth/session"
	Sessions           = "/api/auth/sessions"
	Events             = "/api/auth/events"
	BackchannelLogout  = "/api/auth/backchannel-logout"
	FrontchannelLogout = "/api/auth/frontchannel-logout"
	ClientKeys         = "/api/auth/jwks.json"
)

// Under reports whether path is root or lies below it, in any case.
func Under(path, root string) bool {
	path = strings.ToLower(path)
	return path == root || strings.HasPrefix(path, root+"/")
}

// LoginURL returns the address of a login that returns to a path.
func LoginURL(to string) string { return LoginFor(nil, to) }

// LoginFor returns the address of a login with parameters, such as those of
// [StepUp], that returns to a path.
func LoginFor(parameters url.Values, to string) string {
	q := url.Values{}
	maps.Copy(q, parameters)
	if to != "" && to != "/" {
		q.Set("returnTo", to)
	}
	if len(q) == 0 {
		return Login
	}
	return Login + "?" + q.Encode()
}
