// Package gateway owns the HTTP facade of gRPC services: which request becomes
// which call, and how answers and errors look, as REST and, to generated clients,
// as Connect and gRPC-Web. It leaves authorization to the server behind it, whose
// errors it translates, and sessions and browsers to the bff in front of it: it
// verifies no token and reads no cookie.
//
// grpc-gateway converts between JSON and Protobuf and connect-go implements the
// protocols of generated clients. The packages in internal change their defaults:
//
//	route       routes of the google.api.http annotations
//	sanitize    path, header and metadata that pass
//	exchange    one request and its answer, body limits, log
//	transcode   REST
//	rpc         Connect and gRPC-Web
//	rawbody     google.api.HttpBody: bytes and ranges
//	flow        streams: NDJSON, server-sent events, heartbeats
//	condition   If-Match, If-None-Match, Last-Event-ID
//	malformed   requests that make no message
//	refusal     error answers
//	upstream    connection to the server
//	httpheader  syntax of header fields
package gateway
