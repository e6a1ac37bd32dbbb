// Package oidc owns the relation to an OpenID provider: its metadata and its
// signing keys, fetched, kept fresh and shared by the parts of one process. A
// [Provider] is given to bff.Config and to authn.Config; both run it.
//
// The package leaves the verification of tokens to the server and the bff, and
// logins to the bff.
//
// # Freshness
//
// [Provider.Run] fetches the metadata once and the key set every 10 minutes, or
// earlier if the max-age of the last response says so, but about a minute apart at least.
// After a failure it tries again, with pauses that grow from 5 seconds to 5 minutes.
// The known keys stay in use meanwhile, for 24 hours after the provider has last
// confirmed them. A response without a usable key counts as a failure.
//
// [Provider.Keys] fetches the set again for a token whose "kid" is unknown, so that a
// rotation is noticed at once. Such fetches are limited to 5 a minute, because a
// caller can invent any number of kids.
//
// # Errors
//
// An error that wraps [ErrUnavailable] says nothing about a token: a server answers
// it with 503. An error that wraps [ErrUnknownKey] makes the token invalid. Errors
// contain addresses of the provider, and neither tokens nor secrets.
package oidc
