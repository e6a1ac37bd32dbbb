// Package introspect owns the verification of opaque access tokens by token
// introspection (RFC 7662): the requests to the provider and their budget, and the
// answers that are kept. It leaves what an answer must say to package token, and the
// policy to its caller.
//
// # Cost
//
// An answer is used for 60 seconds at most, and never beyond the token's expiry. After
// 45 seconds the next call has it renewed in the background, so that callers with a good
// token rarely wait. Calls with one token share one request, which does not end with any
// of them.
//
// Anyone can invent tokens, so requests for tokens that the provider has not confirmed
// before have a rate and a number of connections of their own. Those for confirmed tokens
// have other connections and no rate, because each is asked about once a minute. Beyond
// the budget a token is refused as unavailable, which clients take for 503.
package introspect
