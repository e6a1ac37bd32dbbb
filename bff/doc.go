// Package bff owns the browser's side: login with an OpenID provider, the
// session behind the cookie, refresh and logout, who may see which page, and
// forwarding /api to the gateway with the session's bearer token, so that no
// token ever reaches the browser. It leaves storing sessions to bff/session,
// the pages themselves to bff/web or another front end, and who may call what
// to the server: it knows no Protobuf message.
//
// # Routes
//
//	GET    /api/auth/login                start a login; returnTo, and provider parameters
//	GET    /api/auth/callback             its end; POST for answers in a form
//	GET    /api/auth/jwks.json            the client's public keys
//	GET    /api/auth/logout               sign out, here and at the provider; returnTo; POST too
//	GET    /api/auth/me                   the person's claims, or 204
//	GET    /api/auth/session              time left, without extending it
//	GET    /api/auth/events               what becomes of the session, as server-sent events
//	GET    /api/auth/sessions             the person's sessions; DELETE ends all but this one
//	DELETE /api/auth/sessions/{handle}    ends one of them
//	POST   /api/auth/backchannel-logout   the provider ends sessions
//	GET    /api/auth/frontchannel-logout  the same, from a page of the provider
//	any    /api, /api/…                   forwarded to the gateway
//	GET    /healthz, /readyz              for load balancers
//	any    everything else                the front end
package bff
