// Package openapi owns the OpenAPI 3.1 document of the REST facade. It is made
// from the linked descriptors: routes, the policy of each method, the rules of
// fields (buf.validate) and, if they are given, the comments of the .proto files.
// It leaves serving the document and the API to package gateway.
package openapi
