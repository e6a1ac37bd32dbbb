package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// Service is one gRPC service to be served as REST and to generated clients.
// Expose makes it.
type Service struct {
	name     string
	register func(context.Context, *runtime.ServeMux, grpc.ClientConnInterface) error
}

// Expose says that a service is to be served at the paths of its
// google.api.http annotations, and that each of its methods, annotated or not,
// answers gRPC-Web and Connect at /api/SERVICE/METHOD:
//
//	gateway.Expose(pb.NewThingServiceClient, pb.RegisterThingServiceHandlerClient, "things.v1.ThingService")
//
// client and register are generated functions; name is the service's full
// Protobuf name, by which its descriptor is found. RegisterXHandlerServer does
// not fit here, and must not: it calls the implementation past every
// interceptor, authentication included.
func Expose[C any](
	client func(grpc.ClientConnInterface) C,
	register func(context.Context, *runtime.ServeMux, C) error,
	name string,
) Service {
	return Service{name: name, register: func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return register(ctx, mux, client(conn))
	}}
}

// Route is one HTTP method and path, and the gRPC method it calls.
type Route struct {
	Method  string // HTTP method, GET
	Pattern string // path template as in the .proto, /api/things/{id}
	RPC     string // full gRPC method, /things.v1.ThingService/GetThing
}

// route is a Route with what is needed to serve it.
type route struct {
	Route
	template template
	method   protoreflect.MethodDescriptor
	input    protoreflect.MessageDescriptor
	output   protoreflect.MessageDescriptor
	body     string   // the field that the body fills, "*" for the whole message, "" for no body
	stream   bool     // answers with a server stream
	scopes   []string // that the method's policy asks for
	raw      bool     // answers with google.api.HttpBody: any content type
	takesRaw bool     // the body is a google.api.HttpBody: any content type
	uploads  bool     // the body is a stream of those

	file protoreflect.FieldDescriptor // that the raw body fills; nil where it is the message
	part protoreflect.FieldDescriptor // that alone is answered (response_body); nil for the whole message

	etag      []protoreflect.Name // where If-Match goes, nil for nowhere
	tagged    bool                // answers with a message that has an etag
	resumable bool                // takes Last-Event-ID
}

func (rt *route) String() string { return rt.Method + " " + rt.Pattern }

// descriptorOf finds the descriptor of a service by its name.
func descriptorOf(service string) (protoreflect.ServiceDescriptor, error) {
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

// routesOf reads the routes of a service from its descriptor.
func routesOf(desc protoreflect.ServiceDescriptor) ([]*route, error) {
	var routes []*route
	for i := range desc.Methods().Len() {
		method := desc.Methods().Get(i)
		rule, ok := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || rule == nil {
			continue
		}
		for _, rule := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			rt, err := newRoute(method, rule)
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

func newRoute(method protoreflect.MethodDescriptor, rule *annotations.HttpRule) (*route, error) {
	httpMethod, path := methodAndPath(rule)
	switch httpMethod {
	case "", "*":
		return nil, fmt.Errorf("a google.api.http rule for %q names no HTTP method", path)
	case http.MethodHead, http.MethodOptions:
		return nil, fmt.Errorf("%s %s: the gateway itself answers %s for every route", httpMethod, path, httpMethod)
	}
	file, takesRaw := rawField(method.Input(), rule.GetBody())
	if method.IsStreamingClient() && !takesRaw {
		return nil, fmt.Errorf("%s %s: a client stream has no REST form here unless its body is a google.api.HttpBody, since any other is exactly one JSON value: remove the annotation", httpMethod, path)
	}
	t, err := parseTemplate(path)
	if err != nil {
		return nil, err
	}
	if t.under(authPrefix) {
		return nil, fmt.Errorf("%s %s lies under %s/, which belongs to the bff: choose another path", httpMethod, path, authPrefix)
	}
	if !t.under(apiPrefix) {
		return nil, fmt.Errorf("%s %s lies outside %s, and only what lies below it reaches the gateway: choose a path that begins with %s/", httpMethod, path, apiPrefix, apiPrefix)
	}
	policy, _ := proto.GetExtension(method.Options(), authv1.E_Policy).(*authv1.Policy) // nil has no scopes
	return &route{
		scopes: policy.GetScopes(),
		Route: Route{
			Method:  httpMethod,
			Pattern: path,
			RPC:     fullMethod(method),
		},
		template: t,
		method:   method,
		input:    method.Input(),
		output:   method.Output(),
		body:     rule.GetBody(),
		stream:   method.IsStreamingServer(),
		raw:      method.Output().FullName() == httpBodyName,
		takesRaw: takesRaw,
		uploads:  method.IsStreamingClient(),
		file:     file,
		part:     method.Output().Fields().ByName(protoreflect.Name(rule.GetResponseBody())),

		etag:      etagPath(method, httpMethod, t, rule.GetBody()),
		tagged:    !method.IsStreamingServer() && stringField(method.Output(), etagField) != nil,
		resumable: method.IsStreamingServer() && stringField(method.Input(), resumeField) != nil,
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

// refuseDuplicates finds two routes that match the same requests. grpc-gateway
// would serve the one registered last, and say nothing.
func refuseDuplicates(routes []*route) error {
	seen := make(map[string]*route, len(routes))
	for _, rt := range routes {
		key := rt.Method + " " + rt.template.shape
		if first, ok := seen[key]; ok {
			return fmt.Errorf("two methods for one path: %s is %s, and %s is %s: change one of them", first, first.RPC, rt, rt.RPC)
		}
		seen[key] = rt
	}
	return nil
}

// handler is one handler that generated code has registered with the mux. The
// mux tells no pattern at registration, so bindRoutes finds the route of each
// by asking for it.
type handler struct {
	next  runtime.HandlerFunc
	route *route
}

// middleware is what stands in the mux between matching and generated code.
func (g *Gateway) middleware(next runtime.HandlerFunc) runtime.HandlerFunc {
	h := &handler{next: next}
	g.handlers = append(g.handlers, h)
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		switch w := w.(type) {
		case *probe:
			w.found = h
			if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
				w.pattern = pattern.String()
			}
		case *exchange:
			g.serve(w, r, h, params)
		}
	}
}

// probe is a ResponseWriter that learns which handler a request would reach,
// without calling it.
type probe struct {
	found   *handler
	pattern string
	header  http.Header
}

func (p *probe) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}
func (p *probe) WriteHeader(int)             {}
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

func (g *Gateway) probe(method string, u *url.URL) *probe {
	p := &probe{}
	g.mux.ServeHTTP(p, &http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody})
	return p
}

// bindRoutes ties each registered handler to its route, and proves that what
// the descriptors promise and what generated code registers are the same.
func (g *Gateway) bindRoutes() error {
	for _, rt := range g.routes {
		p := g.probe(rt.Method, &url.URL{Path: rt.template.example()})
		switch {
		case p.found == nil:
			return fmt.Errorf("%s (%s) is annotated, but its generated handler is not registered: generate the code anew, or give Expose the functions of that service", rt, rt.RPC)
		case p.pattern != rt.template.canonical:
			return fmt.Errorf("%s (%s) can never be reached, because %s %s takes its requests: declare the more specific of the two later", rt, rt.RPC, rt.Method, p.pattern)
		}
		p.found.route = rt
	}
	for _, h := range g.handlers {
		if h.route == nil {
			return errors.New("generated code registers a route that no google.api.http annotation declares: generate it without generate_unbound_methods, and without a separate HTTP rules file")
		}
	}
	return nil
}

// allowed lists the methods that a path can be asked with, for Allow; none if
// there is no such path.
func (g *Gateway) allowed(u *url.URL) []string {
	var methods []string
	for _, method := range g.methods {
		if g.probe(method, u).found == nil {
			continue
		}
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	if methods != nil {
		methods = append(methods, http.MethodOptions)
	}
	return methods
}

// Routes lists what is served, in the order of the services and of the methods
// in their .proto files.
func (g *Gateway) Routes() []Route {
	routes := make([]Route, len(g.routes))
	for i, rt := range g.routes {
		routes[i] = rt.Route
	}
	return routes
}

// belongsToBFF reports whether a request path is the bff's, so that a wildcard
// route cannot answer there either.
func belongsToBFF(path string) bool {
	rest, ok := strings.CutPrefix(path, authPrefix)
	return ok && (rest == "" || rest[0] == '/')
}
