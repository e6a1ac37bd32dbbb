// Package bff is a backend for frontends: it owns login with an OpenID provider,
// the session behind the cookie, refresh, logout, the protection of pages, and
// forwarding /api to the gateway with the session's access token, so that no
// token reaches the browser. It leaves storing sessions to bff/session, pages to
// bff/web or another front end, and authorization to the server. It knows no
// Protobuf message.
//
// The package itself has the configuration, the routes and the server. Each area
// is a package below bff/internal, with a Config and handlers of its own.
//
// # Endpoints
//
//	GET    /api/auth/login                start a login; returnTo, parameters for the provider
//	GET    /api/auth/callback             end it; POST for answers in a form
//	GET    /api/auth/jwks.json            the client's public keys
//	GET    /api/auth/logout               sign out, here and at the provider; returnTo; POST too
//	GET    /api/auth/me                   the user's claims, or 204
//	GET    /api/auth/session              time left, without extending it
//	GET    /api/auth/events               events of the session, as server-sent events
//	GET    /api/auth/sessions             the user's sessions; DELETE ends all but this one
//	DELETE /api/auth/sessions/{handle}    ends one of them
//	POST   /api/auth/backchannel-logout   the provider ends sessions
//	GET    /api/auth/frontchannel-logout  the same, from a page of the provider
//	any    the paths of Config.Routes     forwarded to the servers of the route
//	any    /api, /api/… besides           forwarded to the gateway
//	GET    /healthz, /readyz              for load balancers
//	any    everything else                the front end
package bff
