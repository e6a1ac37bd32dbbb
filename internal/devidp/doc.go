// Package devidp owns the OpenID provider for development: discovery, authorization
// code flow, rotation of refresh tokens and logout, with configured users instead of
// accounts and passwords. Lifetimes and failures are switched while it runs, by
// methods, by forms of its home page, and by an HTTP API.
//
// It leaves users and machines to package directory, and listening to its caller. The
// other parts use it over HTTP only, as any provider. Since every client can sign in as
// every user, it refuses an issuer off loopback and requests with another Host.
//
// Parsing and validation of requests, claims and signatures come from zitadel/oidc.
// Its storage-driven server is not used, because it gives ID tokens the audience of
// access tokens, reads the wall clock, logs the URLs of error redirects with state
// through the default logger, and shows JSON to users.
//
// State is in memory and the signing key is new at each start, so nothing survives a
// restart.
package devidp
