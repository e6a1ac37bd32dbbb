// Package refresh owns the access tokens of sessions: when one is renewed, by which of several processes, and what follows
// when the provider gives none. It leaves requests of the provider and the verification of what it sends to its Config, and
// answers to browsers to package bff.
//
// At most one refresh token of a session is ever under way: providers with rotation answer a second use by ending the grant
// (oauth2-proxy #1992). So a refresh holds the session's lock in the store, it goes on when the browser hangs up, and a
// request that was sent and not answered is not repeated while the access token is good.
package refresh
