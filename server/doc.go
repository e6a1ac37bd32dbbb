// Package server owns the gRPC server: which interceptors a call passes and in
// which order, on the network and in process alike, and how the server starts
// and stops. It leaves authorization to server/authn, and what a call does to
// the services registered with it.
package server
