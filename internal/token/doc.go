// Package token owns the verification of RS256 tokens (access, ID and logout tokens), the provider's metadata and key set,
// and the cache of verified tokens; it is the only importer of jwx.
// It leaves to others what a verified token allows (server/authn), login and sessions (bff), and the store of denials that
// answers the revocation hook.
package token
