// Package inprocess owns a grpc.ClientConnInterface that calls services in the
// same process: without network and framing, for unary calls without a goroutine,
// and otherwise with what a caller and a service see of each other over a
// grpc.ClientConn. It leaves to package server what a call passes before it
// reaches its service.
//
// Neither side sees the other's memory. Messages cross as copies of what can be encoded,
// metadata as copies, errors as their status. Of the caller's context the service
// gets the deadline, the cancellation and the outgoing metadata, and one value:
// the request's line in the access log.
//
// Differences from a network: a unary call returns when its handler does, even if
// its context has ended before (the error is then the context's, as it would have
// been); compression is ignored; a codec other than Protobuf's is refused; a closed
// enum of a unary call keeps a number that it does not define.
package inprocess
