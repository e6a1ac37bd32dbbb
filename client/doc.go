// Package client owns connections of programs to gRPC services that want a bearer token: TLS, the
// token and its renewal, deadlines, and retries. It leaves the methods to generated code and
// authorization to the server, of which it imports nothing.
//
// The token is the program's own (client credentials, RFC 6749 §4.4). The token of a request that
// the program is serving is never passed on, because its audience is this program alone.
package client
