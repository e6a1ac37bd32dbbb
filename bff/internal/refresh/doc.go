// Package refresh owns the access tokens of sessions: when one is refreshed, by
// which of several processes, and what follows when the provider issues none. It
// leaves requests to the provider to package rp, and answers to browsers to the
// handlers.
//
// A refresh token is never sent twice at the same time: providers with rotation
// end the grant at a second use (oauth2-proxy #1992). So a refresh holds the
// session's lock in the store, it goes on when the browser closes the connection,
// and a request that was sent and not answered is not repeated while the access
// token is valid.
package refresh
