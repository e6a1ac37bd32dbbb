// Package oidc owns the relation to an OpenID provider: its metadata and its
// signing keys, fetched, kept fresh and shared by the parts of one process. A
// [Provider] is given to bff.Config and to authn.Config; both run it.
//
// The package leaves the verification of tokens to the server and the bff, and
// logins to the bff.
package oidc
