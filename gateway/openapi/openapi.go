package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// Config configures a document. Title and Version are required by OpenAPI; the zero
// value of every other field leaves out a part of the document. Document does not
// change a Config.
type Config struct {
	// Title is the name of the API, for people.
	Title string
	// Version is the version of the API's release, such as "1.4.0". It is not the
	// version of OpenAPI.
	Version string
	// Issuer is the issuer of the access tokens, an https URL. Its metadata is the
	// openIdConnectUrl of a security scheme; nothing is fetched from it. Default: the
	// document has no security scheme of type openIdConnect.
	Issuer string
	// Cookie is the name of the session cookie of a bff. Default: the document has
	// no security scheme for a session.
	Cookie string
	// Routes are the routes to describe. Paths, tags and parameters have their order.
	// Two templates that differ only in the names of variables are one path, with the
	// names of the first.
	Routes []Route
	// Comments is a serialized FileDescriptorSet with source info, such as
	// `buf build -o FILE.binpb` writes. The comments of the .proto files become
	// descriptions. Default: no descriptions.
	Comments []byte
}

// Route is one HTTP method and path, and the gRPC method that it calls: one rule of
// google.api.http, additional bindings included. Method, Pattern and RPC are required.
type Route struct {
	// Method is the HTTP method in upper case, such as GET.
	Method string
	// Pattern is the path template of google.api.http, such as
	// /api/{name=things/*}.
	Pattern string
	// Body is the proto name of the field that the body fills, "*" for the whole
	// message, and "" for no body.
	Body string
	// RPC is the method that the route calls. Its options hold the policy; its input
	// and output are the messages of the request and the answer. A server stream is
	// described as JSON lines and as server-sent events, and one of google.api.HttpBody
	// as bytes, with ranges and conditions.
	RPC protoreflect.MethodDescriptor

	// TakesETag states that If-Match fills a field of the request message.
	TakesETag bool
	// GivesETag states that the answer has an ETag header, from its message. A GET
	// with it may be answered with 304.
	GivesETag bool
	// Resumable states that Last-Event-ID fills a field of the request message.
	Resumable bool
}

// Document returns the document as JSON without line breaks. The same cfg always
// gives the same bytes. It is safe for concurrent use and contacts nothing.
//
// The error is about Comments: not a FileDescriptorSet, or a line "Example:" that is
// not JSON; the error names the file and what the comment describes. Document does
// not check routes, which package gateway has checked when it describes its own.
func Document(cfg Config) ([]byte, error) {
	document, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	return document()
}

// Prepare returns a function that makes the document. It has the errors of Document that
// cfg can cause; making the document takes most of the time.
func Prepare(cfg Config) (document func() ([]byte, error), err error) {
	found, err := readComments(cfg.Comments)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return func() ([]byte, error) { return cfg.document(found) }, nil
}

func (cfg Config) document(found comments) ([]byte, error) {
	b := &builder{Config: cfg, schemas: schemas{comments: found, answered: map[protoreflect.FullName]bool{}, made: map[string]*schema{}}}
	for _, r := range cfg.Routes {
		b.collect(r.RPC.Output())
	}
	var tags []tag
	var paths object
	b.name()
	for _, r := range cfg.Routes {
		service := r.RPC.Parent()
		if name := string(service.Name()); !slices.ContainsFunc(tags, func(t tag) bool { return t.Name == name }) {
			tags = append(tags, tag{name, found[service.FullName()].text})
		}
		path, parameters := b.path(r)
		item, _ := paths.get(path).(object)
		item.set(strings.ToLower(r.Method), b.operation(r, parameters))
		paths.set(path, item)
	}
	content, err := object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", cfg.Title}, {"description", about}, {"version", cfg.Version}}},
		{"servers", []object{{{"url", "/"}, {"description", "The origin of this document."}}}},
		{"tags", tags},
		{"paths", paths},
		{"components", b.components()},
	}.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, content); err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return compact.Bytes(), nil
}

// A builder makes one document.
type builder struct {
	Config
	schemas
	operations map[string]string // operationId of a method, without a number
	used       map[string]int    // number of uses of an operationId
	paths      map[string]string // path of each shape
}

// name chooses operationIds: Service_Method, with the package before it if two
// services have the same name.
func (b *builder) name() {
	b.operations, b.used, b.paths = map[string]string{}, map[string]int{}, map[string]string{}
	packages := map[protoreflect.Name]protoreflect.FullName{}
	ambiguous := map[protoreflect.Name]bool{}
	for _, r := range b.Routes {
		service := r.RPC.Parent()
		if first, ok := packages[service.Name()]; ok && first != service.FullName() {
			ambiguous[service.Name()] = true
		}
		packages[service.Name()] = service.FullName()
	}
	for _, r := range b.Routes {
		service := r.RPC.Parent()
		name := string(service.Name())
		if ambiguous[service.Name()] {
			name = strings.ReplaceAll(string(service.FullName()), ".", "_")
		}
		b.operations[string(r.RPC.FullName())] = name + "_" + string(r.RPC.Name())
	}
}

// operation returns the operation of a route. It counts the uses of an operationId,
// so that it is called once for each route, in their order.
func (b *builder) operation(r Route, parameters []*parameter) *operation {
	id := b.operations[string(r.RPC.FullName())]
	if b.used[id]++; b.used[id] > 1 { // an additional binding
		id = fmt.Sprintf("%s_%d", id, b.used[id])
	}
	c := b.comments[r.RPC.FullName()]
	access := policyOf(r.RPC)
	op := &operation{
		OperationID: id,
		Summary:     c.summary(),
		Description: paragraphs(c.text, access.sentence()),
		Tags:        []string{string(r.RPC.Parent().Name())},
		Deprecated:  deprecated(r.RPC),
		Security:    b.security(access),
		Policy:      access,
		Parameters:  append(parameters, b.query(r)...),
	}
	op.Parameters = append(op.Parameters, r.headers()...)
	if r.Body != "" {
		op.Body = b.body(r)
	}
	op.Responses = b.answers(r, access)
	return op
}

// body returns the request body: a field of the message, or the message without
// the fields that the path fills, or content of any media type for an HttpBody. A
// message whose fields are all left for the body is a reference to its component.
func (b *builder) body(r Route) *requestBody {
	as := requests
	if r.Method == http.MethodPatch {
		as = patches
	}
	content, description := r.RPC.Input(), ""
	field := content.Fields().ByName(protoreflect.Name(r.Body))
	if field != nil {
		content = field.Message()
		description = b.comments[field.FullName()].text
	}
	if content != nil && content.FullName() == bytesName {
		types := object{{"*/*", mediaType{}}}
		if r.uploads() { // a type to send: the reference page then offers to choose a file
			types = object{{"application/octet-stream", mediaType{}}, {"*/*", mediaType{}}}
			description = paragraphs(description, "The body is the content, byte for byte, with any Content-Type.")
		}
		return &requestBody{description, false, types}
	}
	s := &schema{}
	if field != nil {
		s = b.typeOf(field, as)
	} else if taken := pathFields(r.Pattern); taken == nil {
		s = b.reference(content, as)
	} else {
		b.message(s, content, as, taken...)
	}
	return &requestBody{description, true, object{{"application/json", mediaType{Schema: s}}}}
}

// pathFields returns the fields of the message itself that the path fills.
func pathFields(pattern string) (fields []protoreflect.Name) {
	for _, v := range variables(pattern) {
		if !strings.Contains(v, ".") {
			fields = append(fields, protoreflect.Name(v))
		}
	}
	return fields
}

// policyOf returns the policy of a method. Without one, a valid token is required
// and sufficient.
func policyOf(method protoreflect.MethodDescriptor) policy {
	p, _ := proto.GetExtension(method.Options(), authv1.E_Policy).(*authv1.Policy)
	access := policy{
		Public: p.GetPublic(), Scopes: p.GetScopes(), Permissions: p.GetPermissions(),
		MaxAge: int64(p.GetMaxAge().AsDuration() / time.Second), ACRValues: p.GetAcrValues(),
	}
	if slices.Contains(p.GetCallers(), authv1.Callers_CALLERS_MACHINES) {
		access.Callers = []string{machines}
		if slices.Contains(p.GetCallers(), authv1.Callers_CALLERS_USERS) {
			access.Callers = []string{users, machines}
		}
	}
	return access
}

// The classes of callers in x-gatehouse-policy.
const users, machines = "users", "machines"

// usersToo reports whether the policy admits users.
func (p policy) usersToo() bool { return p.Callers == nil || slices.Contains(p.Callers, users) }

// sentence describes the policy.
func (p policy) sentence() string {
	if p.Public {
		return "**Access:** public. If a token is sent, it must be valid."
	}
	words := []string{"a valid token"}
	switch {
	case !p.usersToo():
		words[0] += " of a machine, not of a user"
	case p.Callers != nil:
		words[0] += " of a user or a machine"
	}
	add := func(one, many string, values []string) {
		switch len(values) {
		case 0:
		case 1:
			words = append(words, "the "+one+" `"+values[0]+"`")
		default:
			words = append(words, "the "+many+" `"+strings.Join(values, "`, `")+"`")
		}
	}
	add("scope", "scopes", p.Scopes)
	add("permission", "permissions", p.Permissions)
	add("authentication context", "authentication context one of", p.ACRValues)
	if p.MaxAge > 0 {
		words = append(words, fmt.Sprintf("a sign-in within the last %v", time.Duration(p.MaxAge)*time.Second))
	}
	return "**Access:** requires " + strings.Join(words, ", and ") + "."
}

// security returns the security requirements. A public method also has the empty
// one. A method for machines does not have the session, which is a user's.
func (b *builder) security(p policy) []map[string][]string {
	scopes := p.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	var requirements []map[string][]string
	if p.Public {
		requirements = append(requirements, map[string][]string{})
	}
	for _, scheme := range b.securitySchemes() {
		if scheme.name == "session" && !p.usersToo() {
			continue
		}
		requirements = append(requirements, map[string][]string{scheme.name: scopes})
	}
	return requirements
}

// securitySchemes returns the ways to send an access token.
func (b *builder) securitySchemes() object {
	schemes := object{{"bearer", object{
		{"type", "http"}, {"scheme", "bearer"}, {"bearerFormat", "JWT"},
		{"description", "An access token of the OpenID provider for this API, in the Authorization header only (RFC 6750)."},
	}}}
	if b.Issuer != "" {
		schemes.set("openid", object{
			{"type", "openIdConnect"}, {"openIdConnectUrl", strings.TrimSuffix(b.Issuer, "/") + "/.well-known/openid-configuration"},
			{"description", "The same access token, and the provider that issues it."},
		})
	}
	if b.Cookie != "" {
		schemes.set("session", object{
			{"type", "apiKey"}, {"in", "cookie"}, {"name", b.Cookie},
			{"description", "The session of a browser that has signed in at the bff, for requests to the bff's address. " +
				"The bff replaces the cookie by the access token, and refuses requests from other origins with 403."},
		})
	}
	return schemes
}

// components returns what operations refer to. It is called after all operations
// have been made, because they make the schemas.
func (b *builder) components() object {
	var schemas object
	for _, name := range slices.Sorted(maps.Keys(b.made)) {
		schemas.set(name, b.made[name])
	}
	for _, s := range errorSchemas() {
		schemas.set(s.name, s.value)
	}
	return object{
		{"schemas", schemas},
		{"responses", errorResponses()},
		{"parameters", sharedParameters()},
		{"headers", headers()},
		{"securitySchemes", b.securitySchemes()},
	}
}
