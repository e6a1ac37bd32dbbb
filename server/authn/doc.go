// Package authn owns the question who is calling: it turns a bearer token
// into a [Principal], holds each method to the policy written in its .proto,
// and refuses everything else, for unary calls and streams alike. It leaves
// the checking of signatures and claims to internal/token, and what a
// principal may do with one particular resource (ownership) to the services.
//
// Authentication is not left to go-grpc-middleware's auth interceptor: a
// service can replace that silently by implementing
// ServiceAuthFuncOverride.
package authn
