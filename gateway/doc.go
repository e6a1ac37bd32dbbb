// Package gateway owns the facade for HTTP: which request becomes which gRPC
// call, and how the answer, or the refusal, looks: as REST, and to generated
// clients as Connect or gRPC-Web. It leaves who may call what to the server
// behind it, whose refusals it only translates, and sessions and browsers to
// the bff in front of it: it verifies no token and reads no cookie.
//
// The conversion between JSON and Protobuf is grpc-gateway's, the two protocols
// are connect-go's. Around them stands what their defaults leave open; each file
// says which part of that it holds.
package gateway
