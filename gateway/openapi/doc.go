// Package openapi owns the description of the REST facade for programs and
// people: an OpenAPI 3.1 document made of the linked descriptors, so that it
// says what is served, with each method's policy, the rules of its fields and,
// where they are given, the comments of the .proto. It leaves serving the
// document, and doing what it says, to the gateway.
package openapi
