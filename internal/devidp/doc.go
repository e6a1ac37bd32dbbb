// Package devidp owns the OpenID provider for development: a real provider, with discovery, authorization code flow,
// rotation of refresh tokens and logout, at which a newcomer signs in by choosing one of three demo users, with no
// account and no password.
//
// It leaves listening to its caller, and everything about relying parties and resource servers to the rest of the
// system, which talks to it over HTTP alone, as to any other provider. Because whoever reaches it may be whomever they
// like, it refuses an issuer that is not on loopback, and requests that were addressed to another name.
//
// Parsing and checking of requests, the claims of tokens and their signature come from zitadel/oidc. Its ready-made
// storage-driven server is not used, for four reasons: it gives ID tokens the audience of access tokens, reads the
// wall clock, logs the URL of error redirects (state included) through the default logger, and shows JSON to people.
//
// State lives in memory and the signing key is made at each start: nothing survives a restart, by intent.
package devidp
