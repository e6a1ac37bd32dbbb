package openapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// about describes what all operations have in common.
const about = `JSON follows the [ProtoJSON format](https://protobuf.dev/programming-guides/json/): 64-bit integers are strings, enums are
names, times are RFC 3339. An answer has every field; one that is not set has its zero value. A request may omit fields. An
unknown field is an error, in a body and in a query.

An error is a ` + "`google.rpc.Status`" + `, or a problem (RFC 9457) for clients that accept ` + "`application/problem+json`" + `. Programs branch on
` + "`reason`" + ` and ` + "`domain`" + ` of its ` + "`google.rpc.ErrorInfo`" + `; messages are for people.

HEAD works wherever GET does, and OPTIONS everywhere. Any other method gets 405, and ` + "`Allow`" + ` lists the supported ones. Every
answer has an ` + "`X-Request-Id`" + `, which also identifies the request in the log.`

// A failure is an error as the gateway answers it: in general, or, with under, for a
// method with a certain policy.
type failure struct {
	status  int
	name    string // of the component
	about   string
	code    code.Code
	message string   // of the example
	details []object // of the example
	retry   bool     // may have Retry-After
}

// failures are all failures, in the order of the document.
var failures = []failure{
	{400, "BadRequest", "The request is malformed, violates a rule of a field, or is not possible in the current state.",
		code.Code_INVALID_ARGUMENT, `query parameter "colour" is unknown: no field of the request has that name`,
		[]object{{{"@type", "type.googleapis.com/google.rpc.BadRequest"}, {"fieldViolations", []object{{
			{"field", "colour"}, {"description", "is unknown: no field of the request has that name"},
		}}}}}, false},
	{401, "Unauthorized", "The token is missing, expired, revoked or otherwise not valid.",
		code.Code_UNAUTHENTICATED, "a bearer token is required", []object{errorInfo(reason.TokenMissing, nil)}, false},
	{403, "Forbidden", "The caller is authenticated and not permitted to do this.",
		code.Code_PERMISSION_DENIED, "only its owner may do this", nil, false},
	{404, "NotFound", "The resource does not exist, or the caller may not know that it does.",
		code.Code_NOT_FOUND, "not found", nil, false},
	{406, "NotAcceptable", "The Accept header excludes the media type of the answer.",
		code.Code_INVALID_ARGUMENT, "this route answers with application/json, which the Accept header excludes", nil, false},
	{408, "RequestTimeout", "The body did not arrive in time.",
		code.Code_DEADLINE_EXCEEDED, "the request body did not arrive in time", nil, false},
	{409, "Conflict", "The resource already exists, or has changed in the meantime.",
		code.Code_ABORTED, "the resource has changed; read it again and repeat the change", nil, false},
	{412, "PreconditionFailed", "The entity tag in If-Match is not that of the resource.",
		code.Code_FAILED_PRECONDITION, "the entity tag in If-Match is not the resource's", []object{errorInfo(reason.ETagMismatch, nil)}, false},
	{413, "ContentTooLarge", "The body is too long.",
		code.Code_INVALID_ARGUMENT, "the request body is longer than 1048576 bytes", nil, false},
	{415, "UnsupportedMediaType", "The Content-Type is not JSON, or the body has a Content-Encoding.",
		code.Code_INVALID_ARGUMENT, "the Content-Type must be application/json, in UTF-8", nil, false},
	{416, "RangeNotSatisfiable", "The content has no such bytes. Content-Range has its length.",
		code.Code_OUT_OF_RANGE, "the range is outside the content, which has 1048576 bytes", nil, false},
	{429, "TooManyRequests", "The caller has exceeded a limit.",
		code.Code_RESOURCE_EXHAUSTED, "too many requests", nil, true},
	{500, "InternalServerError", "An internal error. The log has the cause, under the id of the request.",
		code.Code_INTERNAL, "internal error", nil, false},
	{503, "ServiceUnavailable", "The service, or one that it needs, is temporarily unavailable.",
		code.Code_UNAVAILABLE, "the service is not available at the moment", nil, true},
	{504, "GatewayTimeout", "The service did not answer in time.",
		code.Code_DEADLINE_EXCEEDED, "the service did not answer in time", nil, false},
}

// errorInfo returns a google.rpc.ErrorInfo of Gatehouse as ProtoJSON writes it in a
// google.protobuf.Any. metadata may be nil.
func errorInfo(why string, metadata object) object {
	info := object{{"@type", "type.googleapis.com/google.rpc.ErrorInfo"}, {"reason", why}, {"domain", reason.Domain}}
	if metadata != nil {
		info.set("metadata", metadata)
	}
	return info
}

// answers returns the answers that an operation can have, and no others: a generated
// client handles what is listed. A public method is never forbidden. Without a
// variable in the path, and a reference in query or body, there is no resource that
// could be missing. A GET cannot conflict. Only a body can be late, too long or of
// another type.
//
// A policy that names its requirements has answers of its own, any other one refers to
// the components.
func (b *builder) answers(r Route, access policy) object {
	var o object
	o.set("200", b.success(r))
	if r.downloads() {
		part := b.success(r)
		part.Description = "The bytes that Range asks for, of a service that supports ranges."
		part.Headers.set("Content-Range", ref("headers/ContentRange"))
		o.set("206", part)
	}
	if r.readsTagged() {
		o.set("304", &response{Ref: "#/components/responses/NotModified"})
	}
	can := map[string]bool{"400": true, "401": true, "429": true, "500": true, "503": true, "504": true}
	can["403"] = !access.Public
	can["404"] = strings.Contains(r.Pattern, "{") || refersTo(r.RPC.Input(), r.Body)
	can["406"] = r.RPC.Output().FullName() != bytesName
	can["409"] = r.Method != http.MethodGet
	can["412"] = r.conditional()
	can["408"], can["413"], can["415"] = r.Body != "", r.Body != "", r.Body != ""
	can["416"] = r.downloads()
	for _, f := range failures {
		status := strconv.Itoa(f.status)
		if !can[status] {
			continue
		}
		answer := &response{Ref: "#/components/responses/" + f.name}
		if narrower, ok := f.under(access); ok {
			answer = narrower.response()
		} else if narrower, ok := f.ofBytes(); ok && r.uploads() {
			answer = narrower.response()
		}
		o.set(status, answer)
	}
	return o
}

// under returns the failure for a method with policy p; ok reports whether it
// differs from the general one.
func (f failure) under(p policy) (failure, bool) {
	switch {
	case f.status == 401 && (p.MaxAge > 0 || len(p.ACRValues) > 0):
		var metadata object
		if len(p.ACRValues) > 0 {
			metadata.set("acr_values", strings.Join(p.ACRValues, " "))
		}
		if p.MaxAge > 0 {
			metadata.set("max_age", strconv.FormatInt(p.MaxAge, 10))
		}
		f.about += " Or the sign-in is too old or too weak: `STEP_UP_REQUIRED`, and the challenge has the requirement (RFC 9470)."
		f.message, f.details = "a fresher or stronger sign-in is required", []object{errorInfo(reason.StepUpRequired, metadata)}
	case f.status == 403 && len(p.Scopes) > 0:
		return f.lacking("scope", reason.ScopeMissing, "scope", p.Scopes), true
	case f.status == 403 && len(p.Permissions) > 0:
		return f.lacking("permission", reason.PermissionMissing, "permissions", p.Permissions), true
	case f.status == 403 && p.Callers != nil && !p.usersToo():
		f.about = "The token is one of a user. Or the caller is not permitted for another reason."
		f.message = "this method is for machines; the token is one of a user"
		f.details = []object{errorInfo(reason.CallerNotAllowed, object{{"callers", machines}})}
	default:
		return f, false
	}
	return f, true
}

// ofBytes returns the failure for an upload of bytes; ok reports whether it differs
// from the general one.
func (f failure) ofBytes() (_ failure, ok bool) {
	switch f.status {
	case 408:
		f.about = "No data arrived for 30 seconds."
	case 413:
		f.about = "The content is longer than the service takes. If its length was announced, the answer precedes it."
		f.message, f.details = "the content is longer than 1073741824 bytes", []object{errorInfo(reason.ContentTooLong, object{{"max_bytes", "1073741824"}})}
	case 415:
		f.about = "The Content-Type is not one media type, or the body has a Content-Encoding."
		f.message = "the Content-Type must be one media type"
	default:
		return f, false
	}
	return f, true
}

// lacking returns the failure for a method that requires scopes or permissions. key
// is their name in the metadata of the ErrorInfo.
func (f failure) lacking(what, why, key string, required []string) failure {
	needs := strings.Join(required, " ")
	f.about = fmt.Sprintf("The token lacks a required %s: `%s`. Or the caller is not permitted for another reason.", what, needs)
	f.message = fmt.Sprintf("the token lacks a %s that this method needs: %s", what, needs)
	f.details = []object{errorInfo(why, object{{key, needs}})}
	return f
}

// response returns the description of a failure, with an example of both formats.
func (f failure) response() *response {
	number, details := int(f.code.Number()), f.details
	if details == nil {
		details = []object{} // not null
	}
	r := &response{Description: f.about, Headers: object{{"X-Request-Id", ref("headers/RequestId")}}}
	switch {
	case f.status == 401 || f.status == 403:
		r.Headers.set("WWW-Authenticate", ref("headers/Challenge"+strconv.Itoa(f.status)))
	case f.status == 416:
		r.Headers.set("Content-Range", ref("headers/ContentRange"))
	case f.retry:
		r.Headers.set("Retry-After", ref("headers/RetryAfter"))
	}
	r.Content = object{
		{"application/json", mediaType{
			Schema:  &schema{Ref: "#/components/schemas/google.rpc.Status"},
			Example: object{{"code", number}, {"message", f.message}, {"details", details}},
		}},
		{"application/problem+json", mediaType{
			Schema: &schema{Ref: "#/components/schemas/Problem"},
			Example: object{{"type", "about:blank"}, {"title", http.StatusText(f.status)}, {"status", f.status},
				{"detail", f.message}, {"code", number}, {"details", details}},
		}},
	}
	return r
}

// ref returns a reference to a header among the components.
func ref(component string) *header { return &header{Ref: "#/components/" + component} }

// errorResponses returns the answers that operations refer to unless theirs depends
// on a policy.
func errorResponses() (o object) {
	o.set("NotModified", &response{
		Description: "The client has the current state: If-None-Match contains its entity tag.",
		Headers:     object{{"X-Request-Id", ref("headers/RequestId")}, {"ETag", ref("headers/ETag")}},
	})
	for _, f := range failures {
		o.set(f.name, f.response())
	}
	return o
}

// success returns the answer of a successful call. Bytes have no schema (OpenAPI 3.1
// §4.8.14.3). A stream of messages has one for JSON lines only: OpenAPI 3.1 cannot
// describe the events of text/event-stream.
func (b *builder) success(r Route) *response {
	output := r.RPC.Output()
	answer := &response{Headers: object{{"X-Request-Id", ref("headers/RequestId")}}}
	switch {
	case output.FullName() == bytesName:
		answer.Description = "The content, of any media type."
		answer.Content = object{{"*/*", mediaType{}}}
		if r.downloads() {
			answer.Description = "The content, byte for byte, of any media type. It is aborted if the service fails in the middle."
			for _, name := range []string{"Accept-Ranges", "Content-Disposition", "ETag", "Last-Modified"} {
				answer.Headers.set(name, ref("headers/"+strings.ReplaceAll(name, "-", "")))
			}
		}
	case r.RPC.IsStreamingServer():
		answer.Description = "A stream of messages, until either side ends it."
		answer.Content = object{
			{"application/x-ndjson", mediaType{Schema: b.line(r)}},
			{"text/event-stream", mediaType{Schema: &schema{Type: "string", Description: events}}},
		}
	default:
		answer.Description = "Success."
		answer.Content = object{{"application/json", mediaType{Schema: b.reference(output, answers)}}}
	}
	if r.GivesETag {
		answer.Headers.set("ETag", ref("headers/ETag"))
	}
	return answer
}

// events describes a stream for an EventSource.
const events = `Server-sent events. A message is the data of an event without a name, as JSON; the id of the event is the message's
` + "`resumeToken`" + `, if it has one. The last event has a name: ` + "`end`" + `, or ` + "`error`" + ` with a ` + "`google.rpc.Status`" + ` as its data.`

// line returns the schema of one line of a stream. The last line of a stream that
// failed has an error, because the status 200 was sent before.
func (b *builder) line(r Route) *schema {
	return &schema{
		Type:        "object",
		Description: "One line of the stream: a message, or an error as the last line.",
		Properties: object{
			{"result", b.reference(r.RPC.Output(), answers)},
			{"error", &schema{Ref: "#/components/schemas/google.rpc.Status"}},
		},
	}
}

// errorSchemas returns the schemas of errors and their details. They replace those of
// messages with the same names, which answers of services may contain.
func errorSchemas() object {
	integer := func(about string) *schema { return &schema{Type: "integer", Format: "int32", Description: about} }
	text := func(about string) *schema { return &schema{Type: "string", Description: about} }
	details := &schema{
		Type:        "array",
		Description: "Details for programs: `google.rpc.ErrorInfo` has the reason, `google.rpc.BadRequest` the wrong fields, `google.rpc.RetryInfo` the time to wait before a retry.",
		Items: &schema{AnyOf: []*schema{
			{Ref: "#/components/schemas/google.rpc.ErrorInfo"}, {Ref: "#/components/schemas/google.rpc.BadRequest"},
			{Ref: "#/components/schemas/google.rpc.RetryInfo"}, {Ref: "#/components/schemas/google.protobuf.Any"},
		}},
	}
	detail := func(name, about string, members object, required ...string) *schema {
		properties := append(object{{"@type", &schema{Type: "string", Const: "type.googleapis.com/google.rpc." + name}}}, members...)
		return &schema{Type: "object", Description: about, Properties: properties, Required: append([]string{"@type"}, required...)}
	}
	violation := &schema{Type: "object", Properties: object{
		{"field", text("The field's path.")}, {"description", text("What is wrong with it.")},
		{"reason", text("The reason, for programs.")},
	}}
	all := wellKnown("google.protobuf.Any")
	all.Description = "A detail of another type."
	return object{
		{"google.rpc.Status", &schema{
			Type: "object", Description: "An error.", Required: []string{"code", "message", "details"},
			Properties: object{
				{"code", integer("A number of `google.rpc.Code`.")},
				{"message", text("A description, for people.")},
				{"details", details},
			},
		}},
		{"Problem", &schema{
			Type: "object", Description: "An error in the format of RFC 9457, with code and details of `google.rpc.Status`.",
			Required: []string{"type", "title", "status", "detail", "code", "details"},
			Properties: object{
				{"type", &schema{Type: "string", Format: "uri-reference", Description: "Always about:blank: the status is the kind of problem."}},
				{"title", text("The meaning of the status.")},
				{"status", integer("The HTTP status.")},
				{"detail", text("A description, for people.")},
				{"code", integer("A number of `google.rpc.Code`.")},
				{"details", details},
			},
		}},
		{"google.rpc.ErrorInfo", detail("ErrorInfo", "The reason for an error.", object{
			{"reason", text("The reason, for programs, such as `TOKEN_EXPIRED`.")},
			{"domain", text("The owner of the reason: `gatehouse`, or a service.")},
			{"metadata", &schema{Type: "object", Additional: &schema{Type: "string"}, Description: "Data of the reason, such as the missing scope."}},
		}, "reason", "domain")},
		{"google.rpc.BadRequest", detail("BadRequest", "The wrong fields of a request.", object{
			{"fieldViolations", &schema{Type: "array", Items: violation}},
		})},
		{"google.rpc.RetryInfo", detail("RetryInfo", "The time to wait before a retry.", object{
			{"retryDelay", wellKnown("google.protobuf.Duration")},
		})},
		{"google.protobuf.Any", all},
	}
}

// headers returns the headers of answers. Challenge401 and Challenge403 are those of
// the failures with these statuses.
func headers() object {
	return object{
		{"RequestId", &header{
			Description: "The id of the request: the one that was sent, or a new one.", Required: true,
			Schema: &schema{Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(64))},
		}},
		{"ETag", &header{
			Description: "The entity tag of the state of the resource, for If-Match and If-None-Match.",
			Schema:      &schema{Type: "string"}, Example: `"UtK7xLr2mAq9Zc4E"`,
		}},
		{"AcceptRanges", &header{
			Description: "`bytes` if the service supports Range.", Schema: &schema{Type: "string"}, Example: "bytes",
		}},
		{"ContentDisposition", &header{
			Description: "Whether browsers show or save the content, and its file name (RFC 6266).",
			Schema:      &schema{Type: "string"}, Example: `attachment; filename="mix.wav"`,
		}},
		{"ContentRange", &header{
			Description: "Which bytes these are, and the length of the whole content (RFC 9110 §14.4).",
			Schema:      &schema{Type: "string"}, Example: "bytes 0-499/1048576",
		}},
		{"LastModified", &header{
			Description: "When the content last changed.",
			Schema:      &schema{Type: "string"}, Example: "Fri, 27 Nov 2026 10:00:00 GMT",
		}},
		{"Challenge401", &header{
			Description: "The required token (RFC 6750, and RFC 9470 for a more recent or stronger sign-in).", Required: true,
			Schema: &schema{Type: "string"}, Example: `Bearer realm="gatehouse", error="invalid_token", error_description="The access token has expired."`,
		}},
		{"Challenge403", &header{
			Description: "The required scope, if one is missing (RFC 6750).",
			Schema:      &schema{Type: "string"}, Example: `Bearer realm="gatehouse", error="insufficient_scope", error_description="The access token lacks a scope that is needed.", scope="orders:write"`,
		}},
		{"RetryAfter", &header{
			Description: "The number of seconds to wait before a retry.",
			Schema:      &schema{Type: "string", Pattern: "^[0-9]+$"}, Example: "2",
		}},
	}
}

// conditional reports whether the route supports If-Match: it fills a field of the
// request, or is compared with the answer of a GET.
func (r Route) conditional() bool { return r.TakesETag || r.readsTagged() }

// readsTagged reports whether the route supports If-None-Match.
func (r Route) readsTagged() bool { return r.GivesETag && r.Method == http.MethodGet || r.downloads() }

// downloads reports whether the route answers with a stream of bytes, of which clients
// may ask for a range.
func (r Route) downloads() bool {
	return r.Method == http.MethodGet && r.RPC.IsStreamingServer() && r.RPC.Output().FullName() == bytesName
}

// uploads reports whether the body of the route is a stream of bytes.
func (r Route) uploads() bool { return r.RPC.IsStreamingClient() && r.Body != "" }

// bytesName is the message for bytes of any media type.
const bytesName = "google.api.HttpBody"

// headers returns the request headers of a route.
func (r Route) headers() (parameters []*parameter) {
	for _, h := range []struct {
		name      string
		supported bool
	}{{"IfMatch", r.conditional()}, {"IfNoneMatch", r.readsTagged()}, {"Range", r.downloads()}, {"IfRange", r.downloads()}, {"LastEventId", r.Resumable}, {"RequestId", true}} {
		if h.supported {
			parameters = append(parameters, &parameter{Ref: "#/components/parameters/" + h.name})
		}
	}
	return parameters
}

// sharedParameters returns the parameters for headers. They have no examples: the
// reference page would send them with every request. The patterns are those of entity
// tags (RFC 9110 §8.8.3); a gateway takes only strong ones in If-Match.
func sharedParameters() object {
	in := func(name, about, pattern string) *parameter {
		return &parameter{Name: name, In: "header", Description: about, Schema: &schema{Type: "string", Pattern: pattern}}
	}
	const tag = `"[!#-~]*"`
	return object{
		{"IfMatch", in("If-Match", "The entity tag that the resource must have, or `*` for any; 412 otherwise.", `^(\*|`+tag+`)$`)},
		{"IfNoneMatch", in("If-None-Match", "The entity tags of the states that the client has: 304 if one is current.", `^(\*|(W/)?`+tag+`(, (W/)?`+tag+`)*)$`)},
		{"Range", in("Range", "The bytes to send: one range, such as `bytes=0-499`, `bytes=500-` or `bytes=-500`. Any other value is ignored, and so is a range at a service that does not support them.", "")},
		{"IfRange", in("If-Range", "The entity tag or the date of the content of which the client has a part. If the content has changed, the answer is 200 with all of it.", "")},
		{"LastEventId", in("Last-Event-ID", "The position after which to resume: the `resumeToken` of the last message received. An EventSource sends it by itself. It replaces the one in the query.", "")},
		{"RequestId", in("X-Request-Id", "An id for this request, for its answer and the log: 1 to 64 letters, digits and `-_.:`. Any other value is replaced.", "")},
	}
}
