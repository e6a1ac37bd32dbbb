// Package client owns how a program of one's own calls gRPC services that want
// a bearer token: the connection, the token and its renewal, how long a call may
// take, and what is tried again. It leaves the methods to generated code, and
// who may call them to the server, of which it imports nothing.
//
// The token is the program's own (client credentials, RFC 6749 section 4.4).
// That of somebody in whose name a request is being served is never passed on: a
// token says whom it is for, and that is one service.
package client
