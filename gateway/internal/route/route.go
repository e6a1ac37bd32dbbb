// Package route owns what the google.api.http annotations of a service declare:
// which HTTP method and path calls which gRPC method, and what fills its
// messages. It leaves serving the routes to package transcode.
package route

import (
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// Prefixes of paths.
const (
	APIPrefix  = "/api"      // of every route
	authPrefix = "/api/auth" // belongs to the bff
)

// Names of fields with a meaning for HTTP.
const (
	// ETagField holds a resource's entity tag (AIP-154).
	ETagField = "etag"
	// ResumeField holds the position of a message in a stream; in a request, the
	// position after which to resume.
	ResumeField = "resume_token"
)

const httpBodyName = "google.api.HttpBody"

// A Route is one HTTP method and path, and the gRPC method that it calls.
type Route struct {
	Method   string // HTTP method, GET
	Pattern  string // path template as in the .proto, /api/things/{id}
	RPC      string // full gRPC method, /things.v1.ThingService/GetThing
	Template Template

	Descriptor protoreflect.MethodDescriptor
	Scopes     []string // of the method's policy

	Body    string // the field that the body fills, "*" for the whole message, "" for no body
	RawBody bool   // the body is a google.api.HttpBody: any content type
	Uploads bool   // the body is a client stream, of google.api.HttpBody
	// BodyField is the field that a raw body fills, nil if it is the message.
	BodyField protoreflect.FieldDescriptor

	Stream bool // answers with a server stream
	Raw    bool // answers with google.api.HttpBody: any content type
	// Part is the only field that is answered (response_body), nil for the whole
	// message.
	Part protoreflect.FieldDescriptor

	ETag      []protoreflect.Name // path of the field that If-Match fills, nil for none
	Tagged    bool                // answers with a message that has an etag
	Resumable bool                // takes Last-Event-ID
}

func (rt *Route) String() string { return rt.Method + " " + rt.Pattern }

// MediaTypes returns the media types of the route's answers, nil for any.
func (rt *Route) MediaTypes() []string {
	switch {
	case rt.Raw:
		return nil
	case rt.Stream:
		return []string{httpheader.NDJSON, httpheader.Events}
	}
	return []string{httpheader.JSON}
}

// Service returns the descriptor of the linked service with a full name.
func Service(service string) (protoreflect.ServiceDescriptor, error) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("service %q is not linked into this program: import its generated package, or correct the name", service)
	}
	desc, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%q is not a service: name the service, for example \"things.v1.ThingService\"", service)
	}
	return desc, nil
}

// Of returns the routes of a service, in the order of its methods.
func Of(desc protoreflect.ServiceDescriptor) ([]*Route, error) {
	var routes []*Route
	for i := range desc.Methods().Len() {
		method := desc.Methods().Get(i)
		rule, ok := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || rule == nil {
			continue
		}
		for _, rule := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			rt, err := parse(method, rule)
			if err != nil {
				return nil, fmt.Errorf("method %s: %w", method.FullName(), err)
			}
			routes = append(routes, rt)
		}
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("service %q has no google.api.http annotation, so nothing of it would be served as REST: annotate a method, or do not expose it", desc.FullName())
	}
	return routes, nil
}

func parse(method protoreflect.MethodDescriptor, rule *annotations.HttpRule) (*Route, error) {
	httpMethod, path := methodAndPath(rule)
	switch httpMethod {
	case "", "*":
		return nil, fmt.Errorf("a google.api.http rule for %q names no HTTP method", path)
	case http.MethodHead, http.MethodOptions:
		return nil, fmt.Errorf("%s %s: the gateway itself answers %s for every route", httpMethod, path, httpMethod)
	}
	bodyField, rawBody := httpBodyField(method.Input(), rule.GetBody())
	if method.IsStreamingClient() && !rawBody {
		return nil, fmt.Errorf("%s %s: a client stream has no REST form here unless its body is a google.api.HttpBody, since any other is exactly one JSON value: remove the annotation", httpMethod, path)
	}
	t, err := parseTemplate(path)
	if err != nil {
		return nil, err
	}
	if t.Under(authPrefix) {
		return nil, fmt.Errorf("%s %s lies under %s/, which belongs to the bff: choose another path", httpMethod, path, authPrefix)
	}
	if !t.Under(APIPrefix) {
		return nil, fmt.Errorf("%s %s lies outside %s, and only what lies below it reaches the gateway: choose a path that begins with %s/", httpMethod, path, APIPrefix, APIPrefix)
	}
	policy, _ := proto.GetExtension(method.Options(), authv1.E_Policy).(*authv1.Policy) // nil has no scopes
	return &Route{
		Method:   httpMethod,
		Pattern:  path,
		RPC:      FullMethod(method),
		Template: t,

		Descriptor: method,
		Scopes:     policy.GetScopes(),

		Body:      rule.GetBody(),
		RawBody:   rawBody,
		Uploads:   method.IsStreamingClient(),
		BodyField: bodyField,

		Stream: method.IsStreamingServer(),
		Raw:    method.Output().FullName() == httpBodyName,
		Part:   method.Output().Fields().ByName(protoreflect.Name(rule.GetResponseBody())),

		ETag:      etagPath(method, httpMethod, t, rule.GetBody()),
		Tagged:    !method.IsStreamingServer() && StringField(method.Output(), ETagField) != nil,
		Resumable: method.IsStreamingServer() && StringField(method.Input(), ResumeField) != nil,
	}, nil
}

func methodAndPath(rule *annotations.HttpRule) (method, path string) {
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

// CheckDuplicates returns an error if two routes match the same requests.
// grpc-gateway would silently serve the one registered last.
func CheckDuplicates(routes []*Route) error {
	seen := make(map[string]*Route, len(routes))
	for _, rt := range routes {
		key := rt.Method + " " + rt.Template.Shape
		if first, ok := seen[key]; ok {
			return fmt.Errorf("two methods for one path: %s is %s, and %s is %s: change one of them", first, first.RPC, rt, rt.RPC)
		}
		seen[key] = rt
	}
	return nil
}

// Served reports whether the gateway serves a request path: below APIPrefix and
// not below the bff's prefix, where a wildcard route must not answer either.
func Served(path string) bool { return Within(path, APIPrefix) && !Within(path, authPrefix) }

// Within reports whether a path is prefix or lies below it.
func Within(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
