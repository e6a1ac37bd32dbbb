package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// about is what holds for every operation.
const about = `JSON is written as the [proto JSON mapping](https://protobuf.dev/programming-guides/json/) says: 64-bit integers are
strings, enums are names, times are RFC 3339. An answer has every field, with its zero value where nothing was set. A request
may leave fields out; one that the API does not know is an error, in a body as in a query.

An error is a ` + "`google.rpc.Status`" + `, or a problem (RFC 9457) for who accepts ` + "`application/problem+json`" + `. Programs branch on
` + "`reason`" + ` and ` + "`domain`" + ` of its ` + "`google.rpc.ErrorInfo`" + `; messages are for people.

HEAD answers wherever GET does, and OPTIONS everywhere; any other method is answered with 405, and ` + "`Allow`" + ` lists those that
there are. Every answer has an ` + "`X-Request-Id`" + `, by which the log knows the request.`

// A failure is an error as the gateway answers it.
type failure struct {
	status  int
	name    string // of its component
	about   string
	code    code.Code
	message string   // of the example
	details []string // of the example, as JSON
	retry   bool     // may have Retry-After
}

var (
	badRequest = failure{400, "BadRequest", "The request is malformed, breaks a rule of a field, or asks for what cannot be in the present state.",
		code.Code_INVALID_ARGUMENT, `query parameter "colour" is unknown: no field of the request has that name`,
		[]string{`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"colour","description":"is unknown: no field of the request has that name"}]}`}, false}
	unauthorized = failure{401, "Unauthorized", "The token is missing, expired, revoked or not valid here.",
		code.Code_UNAUTHENTICATED, "a bearer token is required", []string{errorInfo(reason.TokenMissing, "")}, false}
	forbidden = failure{403, "Forbidden", "The caller is known, and may not do this.",
		code.Code_PERMISSION_DENIED, "only its owner may do this", nil, false}
	notFound = failure{404, "NotFound", "There is nothing by that name, or the caller may not know of it.",
		code.Code_NOT_FOUND, "there is nothing by that name", nil, false}
	notAcceptable = failure{406, "NotAcceptable", "The Accept header rules out the media type that this operation answers with.",
		code.Code_INVALID_ARGUMENT, "this route answers with application/json, which the Accept header rules out", nil, false}
	requestTimeout = failure{408, "RequestTimeout", "The body did not arrive in time.",
		code.Code_DEADLINE_EXCEEDED, "the request body did not arrive in time", nil, false}
	preconditionFailed = failure{412, "PreconditionFailed", "The entity tag in If-Match is not, or no longer, the resource's.",
		code.Code_FAILED_PRECONDITION, "the entity tag in If-Match is not the resource's", []string{errorInfo(reason.ETagMismatch, "")}, false}
	conflict = failure{409, "Conflict", "There is such a thing already, or it has changed meanwhile.",
		code.Code_ABORTED, "it was changed since you read it; read it again and repeat the change", nil, false}
	tooLarge = failure{413, "ContentTooLarge", "The body is too long.",
		code.Code_INVALID_ARGUMENT, "the request body is longer than 1048576 bytes", nil, false}
	unsupported = failure{415, "UnsupportedMediaType", "The body is not labelled as JSON, or encoded.",
		code.Code_INVALID_ARGUMENT, "the Content-Type must be application/json, in UTF-8", nil, false}
	tooMany = failure{429, "TooManyRequests", "The caller has used up what is allowed.",
		code.Code_RESOURCE_EXHAUSTED, "too many at a time", nil, true}
	internal = failure{500, "InternalServerError", "Something is broken. The log says what, by the request's id.",
		code.Code_INTERNAL, "internal error", nil, false}
	unavailable = failure{503, "ServiceUnavailable", "The service, or one that it needs, cannot be reached at the moment.",
		code.Code_UNAVAILABLE, "the service is not available at the moment", nil, true}
	timeout = failure{504, "GatewayTimeout", "The service did not answer in time.",
		code.Code_DEADLINE_EXCEEDED, "the service did not answer in time", nil, false}

	// failures are all of them, in the order of the document.
	failures = []failure{badRequest, unauthorized, forbidden, notFound, notAcceptable, requestTimeout, conflict,
		preconditionFailed, tooLarge, unsupported, tooMany, internal, unavailable, timeout}
)

// errorInfo is a google.rpc.ErrorInfo of this project in JSON; metadata is a
// JSON object, or "".
func errorInfo(why, metadata string) string {
	if metadata != "" {
		metadata = `,"metadata":` + metadata
	}
	return `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + why + `","domain":"` + reason.Domain + `"` + metadata + `}`
}

// answers are the answers of an operation: those, and no others, that it can
// give.
func (b *builder) answers(r Route, who policy) object {
	var o object
	o.set("200", b.success(r))
	if r.readsTagged() {
		o.set("304", &response{Ref: "#/components/responses/NotModified"})
	}
	can := map[string]bool{"400": true, "401": true, "429": true, "500": true, "503": true, "504": true}
	can["403"] = !who.Public
	can["404"] = strings.Contains(r.Pattern, "{")
	can["406"] = r.RPC.Output().FullName() != "google.api.HttpBody"
	can["409"] = r.Method != http.MethodGet
	can["412"] = r.conditional()
	can["408"], can["413"], can["415"] = r.Body != "", r.Body != "", r.Body != ""
	for _, f := range failures {
		status := strconv.Itoa(f.status)
		if !can[status] {
			continue
		}
		answer := &response{Ref: "#/components/responses/" + f.name}
		if narrower, ok := f.under(who); ok {
			answer = narrower.response()
		}
		o.set(status, answer)
	}
	return o
}

// under is the failure as a policy makes it, if it does.
func (f failure) under(p policy) (failure, bool) {
	switch {
	case f.status == 401 && (p.MaxAge > 0 || len(p.ACRValues) > 0):
		metadata := map[string]string{}
		f.about += " Or the person's sign-in is too old or too weak: `STEP_UP_REQUIRED`, and the challenge says what is wanted (RFC 9470)."
		if p.MaxAge > 0 {
			metadata["max_age"] = strconv.FormatInt(p.MaxAge, 10)
		}
		if len(p.ACRValues) > 0 {
			metadata["acr_values"] = strings.Join(p.ACRValues, " ")
		}
		f.message, f.details = "a fresher or stronger sign-in is required", []string{errorInfo(reason.StepUpRequired, object(pairs(metadata)).String())}
	case f.status == 403 && len(p.Scopes) > 0:
		needs := strings.Join(p.Scopes, " ")
		f.about = fmt.Sprintf("The token lacks a scope that is needed: `%s`. Or the caller may not do this for another reason.", needs)
		f.message, f.details = "the token lacks a scope that this method needs: "+needs, []string{errorInfo(reason.ScopeMissing, object{{"scope", needs}}.String())}
	case f.status == 403 && len(p.Permissions) > 0:
		needs := strings.Join(p.Permissions, " ")
		f.about = fmt.Sprintf("The token lacks a permission that is needed: `%s`. Or the caller may not do this for another reason.", needs)
		f.message, f.details = "the token lacks a permission that this method needs: "+needs, []string{errorInfo(reason.PermissionMissing, object{{"permissions", needs}}.String())}
	default:
		return f, false
	}
	return f, true
}

func pairs(m map[string]string) (o object) {
	for _, key := range sortedKeys(m) {
		o.set(key, m[key])
	}
	return o
}

// String is the object as JSON.
func (o object) String() string {
	content, _ := o.MarshalJSON() // of texts, which cannot fail
	return string(content)
}

// response describes the failure, with an example in each of its two forms.
func (f failure) response() *response {
	details := make([]json.RawMessage, len(f.details))
	for i, d := range f.details {
		details[i] = json.RawMessage(d)
	}
	number := int(f.code.Number())
	r := &response{Description: f.about, Headers: object{{"X-Request-Id", ref("headers/RequestId")}}}
	switch {
	case f.status == 401 || f.status == 403:
		r.Headers.set("WWW-Authenticate", ref("headers/Challenge"+strconv.Itoa(f.status)))
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

func ref(component string) *header { return &header{Ref: "#/components/" + component} }

func errorResponses() (o object) {
	o.set("NotModified", &response{
		Description: "The client has it already: If-None-Match names its entity tag.",
		Headers:     object{{"X-Request-Id", ref("headers/RequestId")}, {"ETag", ref("headers/ETag")}},
	})
	for _, f := range failures {
		o.set(f.name, f.response())
	}
	return o
}

// success is the answer of a call that went well.
func (b *builder) success(r Route) *response {
	output := r.RPC.Output()
	answer := &response{Headers: object{{"X-Request-Id", ref("headers/RequestId")}}}
	switch {
	case output.FullName() == "google.api.HttpBody":
		answer.Description = "The content, of whatever media type it is."
		answer.Content = object{{"*/*", mediaType{}}}
	case r.RPC.IsStreamingServer():
		answer.Description = "Messages, each as soon as there is one, until either side ends the stream."
		answer.Content = object{
			{"application/x-ndjson", mediaType{Schema: b.line(r)}},
			{"text/event-stream", mediaType{Schema: &schema{Type: "string", Description: events}}},
		}
	default:
		answer.Description = "It went well."
		answer.Content = object{{"application/json", mediaType{Schema: b.reference(output, answers)}}}
	}
	if r.GivesETag {
		answer.Headers.set("ETag", ref("headers/ETag"))
	}
	return answer
}

// events says how a stream looks to an EventSource.
const events = `Server-sent events. A message is the data of an event without a name, as JSON; its id is the message's ` + "`resumeToken`" + `, where
it has one. The last event is named: ` + "`end`" + `, or ` + "`error`" + ` with a ` + "`google.rpc.Status`" + ` as its data.`

// line is one line of a stream.
func (b *builder) line(r Route) *schema {
	return &schema{
		Type:        "object",
		Description: "One line of the stream: a message, or as the last one an error.",
		Properties: object{
			{"result", b.reference(r.RPC.Output(), answers)},
			{"error", &schema{Ref: "#/components/schemas/google.rpc.Status"}},
		},
	}
}

func errorSchemas() []struct {
	name  string
	value *schema
} {
	integer := func(about string) *schema { return &schema{Type: "integer", Format: "int32", Description: about} }
	text := func(about string) *schema { return &schema{Type: "string", Description: about} }
	details := &schema{
		Type:        "array",
		Description: "More for programs: `google.rpc.ErrorInfo` says why, `google.rpc.BadRequest` which fields are wrong, `google.rpc.RetryInfo` when to try again.",
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
		{"reason", text("Why, for programs.")},
	}}
	all := wellKnown("google.protobuf.Any")
	all.Description = "A detail of another type."
	type named = struct {
		name  string
		value *schema
	}
	return []named{
		{"google.rpc.Status", &schema{
			Type: "object", Description: "An error.", Required: []string{"code", "message", "details"},
			Properties: object{
				{"code", integer("A number of `google.rpc.Code`.")},
				{"message", text("What went wrong, for people.")},
				{"details", details},
			},
		}},
		{"Problem", &schema{
			Type: "object", Description: "An error, as RFC 9457 has it, with the code and the details of `google.rpc.Status`.",
			Required: []string{"type", "title", "status", "detail", "code", "details"},
			Properties: object{
				{"type", &schema{Type: "string", Format: "uri-reference", Description: "Always about:blank: the status says what kind of problem it is."}},
				{"title", text("What the status means.")},
				{"status", integer("The status of the answer.")},
				{"detail", text("What went wrong, for people.")},
				{"code", integer("A number of `google.rpc.Code`.")},
				{"details", details},
			},
		}},
		{"google.rpc.ErrorInfo", detail("ErrorInfo", "Why a request was refused.", object{
			{"reason", text("Why, for programs: `TOKEN_EXPIRED`.")},
			{"domain", text("Whose reason it is: `gatehouse`, or the service's own.")},
			{"metadata", &schema{Type: "object", Additional: &schema{Type: "string"}, Description: "What belongs to the reason, such as the scope that is missing."}},
		}, "reason", "domain")},
		{"google.rpc.BadRequest", detail("BadRequest", "What is wrong with a request.", object{
			{"fieldViolations", &schema{Type: "array", Items: violation}},
		})},
		{"google.rpc.RetryInfo", detail("RetryInfo", "When to try again.", object{
			{"retryDelay", wellKnown("google.protobuf.Duration")},
		})},
		{"google.protobuf.Any", all},
	}
}

func headers() object {
	return object{
		{"RequestId", &header{
			Description: "The request's id: the one that it came with, or a new one.", Required: true,
			Schema: &schema{Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(64))},
		}},
		{"ETag", &header{
			Description: "The entity tag of the resource's state, where its message has one: for If-Match and If-None-Match.",
			Schema:      &schema{Type: "string"}, Example: `"UtK7xLr2mAq9Zc4E"`,
		}},
		{"Challenge401", &header{
			Description: "Which token is wanted (RFC 6750, and RFC 9470 for a fresher or stronger sign-in).", Required: true,
			Schema: &schema{Type: "string"}, Example: `Bearer realm="gatehouse", error="invalid_token", error_description="The access token has expired."`,
		}},
		{"Challenge403", &header{
			Description: "Which scope is wanted, where one is missing (RFC 6750).",
			Schema:      &schema{Type: "string"}, Example: `Bearer realm="gatehouse", error="insufficient_scope", error_description="The access token lacks a scope that is needed.", scope="orders:write"`,
		}},
		{"RetryAfter", &header{
			Description: "After how many seconds to try again, where that is known.",
			Schema:      &schema{Type: "string", Pattern: "^[0-9]+$"}, Example: "2",
		}},
	}
}

// conditional reports whether If-Match counts for the route: it goes into the
// message of one that changes something, and is compared for one that reads.
func (r Route) conditional() bool { return r.TakesETag || r.readsTagged() }

func (r Route) readsTagged() bool { return r.GivesETag && r.Method == http.MethodGet }

// headers are the request headers that count for the route.
func (r Route) headers() (parameters []*parameter) {
	for _, h := range []struct {
		name string
		may  bool
	}{{"IfMatch", r.conditional()}, {"IfNoneMatch", r.readsTagged()}, {"LastEventId", r.Resumable}, {"RequestId", true}} {
		if h.may {
			parameters = append(parameters, &parameter{Ref: "#/components/parameters/" + h.name})
		}
	}
	return parameters
}

// sharedParameters have no examples: a viewer would send them with every
// request that a person tries.
func sharedParameters() object {
	in := func(name, about, pattern string) *parameter {
		return &parameter{Name: name, In: "header", Description: about, Schema: &schema{Type: "string", Pattern: pattern}}
	}
	const tag = `"[!#-~]*"`
	return object{
		{"IfMatch", in("If-Match", "The entity tag that the resource must still have, or `*` for any; 412 otherwise.", `^(\*|`+tag+`)$`)},
		{"IfNoneMatch", in("If-None-Match", "The entity tag of what the client has already, or several: 304 where it is still good.", `^(\*|(W/)?`+tag+`(, (W/)?`+tag+`)*)$`)},
		{"LastEventId", in("Last-Event-ID", "Where to go on: the `resumeToken` of the last message that arrived, which an EventSource sends by itself. It wins over the one in the query.", "")},
		{"RequestId", in("X-Request-Id", "An id for this request, which the answer and every line about it in the log have: 1 to 64 letters, digits and `-_.:`. Anything else is replaced by a new one.", "")},
	}
}
