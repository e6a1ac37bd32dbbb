// Package schema owns the tests that hold the schemas of OpenAPI documents to what the gateway
// accepts and writes. An independent implementation of JSON Schema judges; it is not a dependency of
// the library. Package gateway/openapi has the tests of everything else in a document.
package schema
