package gateway

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What generated clients speak: Connect, and gRPC-Web, at /api/SERVICE/METHOD.
// connect-go reads and writes both protocols; its handlers are made from the
// descriptors and call the same channel as the REST routes, so that there is no
// second generated code, and no second way into the server (rpccall.go).
const (
	typeConnectStream = "application/connect+"
	typeGRPCWeb       = "application/grpc-web"
	typeGRPC          = "application/grpc"
	typeProto         = "application/proto"

	protocolVersion = "Connect-Protocol-Version"
	// envelopeBytes is the length of what stands before each message of a
	// stream, and of gRPC-Web.
	envelopeBytes = 5
	// compressFrom is the length, in bytes, from which an answer is worth
	// compressing.
	compressFrom = 1 << 10
)

// rpcs are the methods that generated clients can call.
type rpcs struct {
	methods  map[string]*rpc // by path
	services map[string]bool // by "/api/SERVICE"
	errors   *connecthttp.ErrorWriter
}

// rpc is one of them.
type rpc struct {
	route   *route // what the log says
	input   protoreflect.MessageType
	output  protoreflect.MessageType
	safe    bool // without side effects: Connect's GET is served
	streams bool // the client's side is a stream, which is not served here
	handler http.Handler
}

// newRPCs makes the handlers of every method of the services.
func newRPCs(g *Gateway, conn grpc.ClientConnInterface, services []protoreflect.ServiceDescriptor) *rpcs {
	options := []connecthttp.Option{
		// A page elsewhere cannot send this header without asking first, and
		// what lacks it was perhaps meant for a REST route.
		connecthttp.WithRequireConnectProtocolHeader(),
		// Of a message, when it has been decompressed.
		connecthttp.WithReadMaxBytes(int(g.maxBody)),
		connecthttp.WithCompressMinBytes(compressFrom),
	}
	all := &rpcs{methods: map[string]*rpc{}, services: map[string]bool{}, errors: connecthttp.NewErrorWriter(options...)}
	server := connect.NewServer()
	for _, service := range services {
		all.services[apiPrefix+"/"+string(service.FullName())] = true
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			procedure := "/" + string(service.FullName()) + "/" + string(method.Name())
			idempotency := method.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel()
			m := &rpc{
				route: &route{
					Route:  Route{Method: http.MethodPost, Pattern: apiPrefix + procedure, RPC: procedure},
					input:  method.Input(),
					output: method.Output(),
					stream: method.IsStreamingServer(),
				},
				input:   messageType(method.Input()),
				output:  messageType(method.Output()),
				safe:    idempotency == descriptorpb.MethodOptions_NO_SIDE_EFFECTS && !method.IsStreamingServer(),
				streams: method.IsStreamingClient(),
			}
			all.methods[apiPrefix+procedure] = m
			spec := connect.Spec{
				Procedure:        procedure,
				Schema:           method,
				IdempotencyLevel: connect.IdempotencyLevel(idempotency),
			}
			serve := g.callUnary(conn, m)
			if m.route.stream {
				spec.StreamType, serve = connect.StreamTypeServer, g.callStream(conn, m)
			}
			server.Register(connect.Method{Spec: spec, Handler: serve})
		}
	}
	connecthttp.Mount(all, server, options...)
	return all
}

// Handle implements connecthttp.ServeMux: it takes the handlers of methods, and
// leaves out those for what a service does not have, which is a 404 here.
func (all *rpcs) Handle(procedure string, handler http.Handler) {
	if m := all.methods[apiPrefix+procedure]; m != nil {
		m.handler = handler
	}
}

// own reports whether a path belongs to a service, whatever comes below. Such
// paths are no REST route's, not even a wildcard's: what a request means must
// not depend on a header.
func (all *rpcs) own(path string) bool {
	service, ok := strings.CutPrefix(path, apiPrefix+"/")
	service, _, _ = strings.Cut(service, "/")
	return ok && all.services[apiPrefix+"/"+service]
}

// hides reports whether a route lies among the paths of a service.
func (all *rpcs) hides(rt *route) bool {
	for service := range all.services {
		if rt.template.under(service) {
			return true
		}
	}
	return false
}

// allow lists the HTTP methods of an RPC.
func (m *rpc) allow() string {
	if m.safe {
		return "GET, HEAD, POST, OPTIONS"
	}
	return "POST, OPTIONS"
}

// accept lists the content types of an RPC.
func (m *rpc) accept() []string {
	types := []string{typeJSON, typeProto}
	if m.route.stream || m.streams {
		types = []string{typeConnectStream + "json", typeConnectStream + "proto"}
	}
	return append(types, typeGRPCWeb, typeGRPCWeb+"+json", typeGRPCWeb+"+proto")
}

// serveRPC answers a request at a service's own paths.
func (g *Gateway) serveRPC(x *exchange, path *url.URL) {
	m := g.rpcs.methods[path.Path]
	if m == nil {
		// Clients of both protocols make UNIMPLEMENTED of it.
		x.refuse(refuse(http.StatusNotFound, codes.NotFound, "there is no such method"))
		return
	}
	x.route = m.route
	r := x.request.WithContext(x.request.Context())
	r.URL, r.Header = path, http.Header{}
	refused := m.read(x.request, r)
	if refused != nil {
		x.refuse(refused)
		return
	}
	if r.Method == http.MethodOptions {
		x.Header().Set("Allow", m.allow())
		x.WriteHeader(http.StatusNoContent)
		return
	}
	// From here on it is known what the client speaks, and so how to refuse.
	md, refused := forwarded(x.request.Header, x.id)
	if refused == nil && m.streams {
		refused = refuse(http.StatusNotImplemented, codes.Unimplemented,
			"a stream of requests is served over gRPC alone, at the server's own address")
	}
	if refused == nil && x.request.Header["If-Match"] != nil {
		refused = unsupported("If-Match") // the message has its own place for it
	}
	deadline := x.start.Add(g.timeout)
	if refused == nil {
		refused = g.rpcBody(x, r, deadline)
	}
	call := &call{exchange: x, header: md}
	if refused != nil {
		call.refuse(g.rpcs.errors, r, refused)
		return
	}
	var ctx context.Context
	if m.route.stream {
		x.flow = g.newFlow(x, r, lines{})
		defer x.flow.close()
		ctx = x.flow.ctx
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(r.Context(), deadline)
		defer cancel()
	}
	// Of a client's own deadline connect-go makes another context within this
	// one: it can only be earlier.
	m.handler.ServeHTTP(call, r.WithContext(context.WithValue(ctx, callKey{}, call)))
}

// rpcHeaders are what the protocols themselves read of a request. What of the
// others reaches the server is said by forwarded.
var rpcHeaders = []string{
	"Accept-Encoding", "Content-Encoding",
	"Connect-Accept-Encoding", "Connect-Content-Encoding", protocolVersion, "Connect-Timeout-Ms",
	"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Timeout", "X-Grpc-Web",
}

// read prepares a request for connect-go, or says why it is none for it: then
// the client speaks neither protocol, and is answered as a REST client is.
func (m *rpc) read(from, to *http.Request) *refusal {
	for _, name := range rpcHeaders {
		switch values := from.Header[name]; len(values) {
		case 0:
		case 1:
			to.Header[name] = values
		default:
			if name != "Accept-Encoding" {
				return refuse(http.StatusBadRequest, codes.InvalidArgument, "the header "+name+" must have one value")
			}
			to.Header[name] = []string{strings.Join(values, ", ")}
		}
	}
	switch {
	case from.Method == http.MethodOptions:
		return nil
	case from.Method == http.MethodPost:
		return m.contentType(from.Header, to.Header)
	case m.safe && (from.Method == http.MethodGet || from.Method == http.MethodHead):
		to.Method = http.MethodGet // the exchange leaves out the body of an answer to HEAD
		// A page of a sibling subdomain can cause a GET, with the person's
		// cookie, and choose what it asks for: the answer's length is not to
		// tell what else is in it (BREACH, CVE-2013-3587).
		delete(to.Header, "Accept-Encoding")
		if versions := from.URL.Query()["connect"]; !slices.Equal(versions, []string{"v1"}) {
			return refuse(http.StatusBadRequest, codes.InvalidArgument,
				"this is the address of a method, for Connect clients: a GET says so with the query parameter connect=v1")
		}
		return nil
	}
	refused := refuse(http.StatusMethodNotAllowed, codes.Unimplemented, "this method is served for "+m.allow()+" only")
	refused.allow = m.allow()
	return refused
}

// contentType tells by the Content-Type what the client speaks.
func (m *rpc) contentType(from, to http.Header) *refusal {
	unsupported := func(message string) *refusal {
		refused := refuse(http.StatusUnsupportedMediaType, codes.InvalidArgument, message)
		refused.acceptPost = strings.Join(m.accept(), ", ")
		return refused
	}
	wanted := "the Content-Type must be one of " + strings.Join(m.accept(), ", ")
	values := from["Content-Type"]
	if len(values) != 1 {
		return unsupported(wanted)
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err == nil && (mediaType == typeGRPC || strings.HasPrefix(mediaType, typeGRPC+"+")) {
		return unsupported("gRPC is served at the server's own address; here are gRPC-Web and Connect")
	}
	if err != nil || !slices.Contains(m.accept(), mediaType) {
		return unsupported(wanted)
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return unsupported(wanted)
		}
	}
	if (mediaType == typeJSON || mediaType == typeProto) && !slices.Equal(from[protocolVersion], []string{"1"}) {
		return refuse(http.StatusBadRequest, codes.InvalidArgument,
			"this is the address of a method, for Connect clients: they say so with the header "+protocolVersion+": 1")
	}
	to["Content-Type"] = []string{mediaType}
	return nil
}

// rpcBody reads the body: of a stream, too, the request is one message.
func (g *Gateway) rpcBody(x *exchange, to *http.Request, deadline time.Time) *refusal {
	if to.Method == http.MethodGet {
		to.Body, to.ContentLength = http.NoBody, 0
		return refuseBody(x, deadline)
	}
	content, refused := g.readBody(x, deadline)
	if refused != nil && refused.http == http.StatusRequestEntityTooLarge {
		refused.status = status.New(codes.ResourceExhausted, refused.status.Message()) // as gRPC says it
	}
	to.Body, to.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	switch mediaType := to.Header.Get("Content-Type"); {
	case mediaType == typeJSON:
		x.body = content
	case strings.HasSuffix(mediaType, "+json") && len(content) > envelopeBytes && content[0] == 0: // not compressed
		x.body = content[envelopeBytes:]
	}
	return refused
}
