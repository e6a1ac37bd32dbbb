// Package server owns the gRPC server: which interceptors a call passes and
// in which order, on the network and in process alike, and how the server
// starts and ends. It leaves who may call to server/authn, and what a call
// does to the services registered with it.
package server
