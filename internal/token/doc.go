// Package token owns the verification of signed tokens (access tokens, ID tokens,
// logout tokens, signed userinfo) and the cache of verified access tokens. With
// package jwk it is the only importer of jwx.
//
// It leaves the provider's keys to package oidc, authorization to server/authn,
// login and sessions to bff, and the store of revocations to its users.
package token
