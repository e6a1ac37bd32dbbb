// Package openapi owns the OpenAPI 3.1 document of the REST facade. It is made
// from the linked descriptors: routes, the policy of each method, the rules of
// fields (buf.validate) and, if they are given, the comments of the .proto files.
// It leaves serving the document and the API to package gateway.
//
// # Operations
//
// Each [Route] is one operation. Its operationId is Service_Method, with the
// package in front if two services have the same name, and with a number for the
// second and further bindings of a method. Its tag is the service.
//
// A path of OpenAPI has one segment for each parameter, so that a template such as
// /api/{name=shelves/*/books/*} becomes /api/shelves/{shelf}/books/{book}. The
// names come from the pattern of the resource (google.api.resource) to which the
// field refers, otherwise from the field. Fields that neither path nor body fills
// are query parameters; those of nested messages have dotted names.
//
// An operation lists the error answers that it can have. Those for 401 and 403
// describe the method's policy (gatehouse.auth.v1.policy). OpenAPI has no place for
// permissions and step-up authentication, so that the extension x-gatehouse-policy
// repeats the policy for programs:
//
//	public       true if no token is required
//	scopes       required scopes, all of them
//	permissions  required permissions, all of them
//	maxAge       greatest age of the sign-in, in seconds
//	acrValues    accepted authentication contexts, one of them
//	callers      admitted classes of callers, users and machines; users if absent
//
// A google.api.HttpBody is content of any media type, without a schema: generators
// make a type of it that takes everything. A GET with a stream of them may have
// Range, If-Range, If-None-Match and If-Match, and may answer with 206, 304, 412 and
// 416.
//
// # Schemas
//
// Schemas describe ProtoJSON: 64-bit integers are strings, enums are names, bytes
// are base64. A message may have up to three schemas. That of answers has its full
// name; every field is present there, and clients must expect new ones. That of
// requests ends in "-input" if answers contain the message too: fields may be
// omitted, unknown ones are refused. That of PATCH ends in "-patch" and requires no
// field.
//
// Rules of buf.validate become keywords of JSON Schema. A rule that has none, such
// as a CEL expression or a length in bytes, becomes a sentence of the description,
// if it has words. Rules that are ignored (IGNORE_ALWAYS) are left out.
//
// # Comments
//
// Leading comments, or else trailing ones, become descriptions, which are CommonMark.
// The first sentence of a method's comment is the summary of its operations. A line
// "Example:" followed by a value in JSON is an example; lines that begin with
// "buf:lint:" are left out.
package openapi
