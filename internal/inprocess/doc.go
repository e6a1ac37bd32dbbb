// Package inprocess owns a grpc.ClientConnInterface that calls services in this
// very process: no network, no frame, for unary calls not even a goroutine, and
// otherwise what a caller and a service would see of each other over a
// grpc.ClientConn. It leaves to package server what a call has to pass before it
// reaches its service.
//
// Neither side sees the other's memory: messages cross as their encoding,
// metadata as copies, errors as their status, and of the caller's context the
// service gets the deadline, the end and the outgoing metadata, and no value but
// the line that the request will have in the log.
//
// What differs from a network: a unary call returns when its handler does, even
// if its context has ended before (the error is then the context's, as it would
// have been); compression is not asked for; and a codec other than Protobuf's
// is refused.
package inprocess
