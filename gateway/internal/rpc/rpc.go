// Package rpc owns what generated clients speak over HTTP: Connect and gRPC-Web,
// at /api/SERVICE/METHOD. It leaves reading and writing both protocols to
// connect-go, whose handlers it makes from descriptors, so that there is no
// second generated code, and calls the server over the same connection as REST.
package rpc

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/condition"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
)

const (
	typeConnectStream = "application/connect+"
	typeGRPCWeb       = "application/grpc-web"
	typeGRPC          = "application/grpc"
	typeProto         = "application/proto"

	protocolVersion = "Connect-Protocol-Version"
	// envelopeBytes is the length of the prefix of each message of a stream, and of
	// gRPC-Web.
	envelopeBytes = 5
)

// Config configures a Handler. All fields are required.
type Config struct {
	Conn         *upstream.Conn
	Flows        *flow.Flows
	Services     []protoreflect.ServiceDescriptor
	MaxBodyBytes int64 // longest message of a request, decompressed
	// RequestHeaders are those of transcode.Config.
	RequestHeaders []string
}

// Handler serves the methods of services. It is safe for concurrent use.
type Handler struct {
	cfg      Config
	methods  map[string]*method // by path
	services map[string]bool    // by "/api/SERVICE"
	errors   *connecthttp.ErrorWriter
}

// method is one method of a service.
type method struct {
	route   *route.Route // for the log
	input   protoreflect.MessageType
	output  protoreflect.MessageType
	safe    bool // without side effects: Connect's GET is served
	handler http.Handler
}

// New returns a handler of every method of the services.
func New(cfg Config) *Handler {
	options := []connecthttp.Option{
		// A page of another site cannot send this header without a preflight
		// request. A request without it may be meant for a REST route.
		connecthttp.WithRequireConnectProtocolHeader(),
		connecthttp.WithReadMaxBytes(int(cfg.MaxBodyBytes)), // after decompression
		connecthttp.WithCompressMinBytes(exchange.CompressFrom),
	}
	h := &Handler{cfg: cfg, methods: map[string]*method{}, services: map[string]bool{}, errors: connecthttp.NewErrorWriter(options...)}
	server := connect.NewServer()
	for _, service := range cfg.Services {
		h.services[route.APIPrefix+"/"+string(service.FullName())] = true
		for i := range service.Methods().Len() {
			desc := service.Methods().Get(i)
			procedure := route.FullMethod(desc)
			idempotency := desc.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel()
			m := &method{
				route: &route.Route{
					Method: http.MethodPost, Pattern: route.APIPrefix + procedure, RPC: procedure,
					Descriptor: desc, Stream: desc.IsStreamingServer(), Uploads: desc.IsStreamingClient(),
				},
				input:  route.MessageType(desc.Input()),
				output: route.MessageType(desc.Output()),
				safe:   idempotency == descriptorpb.MethodOptions_NO_SIDE_EFFECTS && !desc.IsStreamingServer(),
			}
			h.methods[route.APIPrefix+procedure] = m
			spec := connect.Spec{
				Procedure:        procedure,
				Schema:           desc,
				IdempotencyLevel: connect.IdempotencyLevel(idempotency),
			}
			serve := h.callUnary(m)
			if m.route.Stream {
				spec.StreamType, serve = connect.StreamTypeServer, h.callStream(m)
			}
			server.Register(connect.Method{Spec: spec, Handler: serve})
		}
	}
	connecthttp.Mount(h, server, options...)
	return h
}

// Handle implements connecthttp.ServeMux. It ignores the handlers for unknown
// methods, which are answered with 404.
func (h *Handler) Handle(procedure string, handler http.Handler) {
	if m := h.methods[route.APIPrefix+procedure]; m != nil {
		m.handler = handler
	}
}

// Owns reports whether a path belongs to a service. Such a path has no REST route,
// not even by a wildcard: the meaning of a request must not depend on a header.
func (h *Handler) Owns(path string) bool {
	service, ok := strings.CutPrefix(path, route.APIPrefix+"/")
	service, _, _ = strings.Cut(service, "/")
	return ok && h.services[route.APIPrefix+"/"+service]
}

// Hides reports whether a route lies among the paths of a service.
func (h *Handler) Hides(rt *route.Route) bool {
	for service := range h.services {
		if rt.Template.Under(service) {
			return true
		}
	}
	return false
}

// allow returns the HTTP methods of a method, for Allow.
func (m *method) allow() string {
	if m.safe {
		return "GET, HEAD, POST, OPTIONS"
	}
	return "POST, OPTIONS"
}

// accept returns the content types of a method.
func (m *method) accept() []string {
	types := []string{httpheader.JSON, typeProto}
	if m.route.Stream || m.route.Uploads {
		types = []string{typeConnectStream + "json", typeConnectStream + "proto"}
	}
	return append(types, typeGRPCWeb, typeGRPCWeb+"+json", typeGRPCWeb+"+proto")
}

// Serve answers a request for a path that belongs to a service.
func (h *Handler) Serve(x *exchange.Exchange, path *url.URL) {
	m := h.methods[path.Path]
	if m == nil {
		// Clients of both protocols take it for UNIMPLEMENTED.
		x.Refuse(refusal.New(http.StatusNotFound, codes.NotFound, "there is no such method"))
		return
	}
	x.Route = m.route
	r := x.Request.WithContext(x.Context())
	r.URL, r.Header = path, http.Header{}
	refused := m.read(x.Request, r)
	if refused != nil {
		x.Refuse(refused)
		return
	}
	if r.Method == http.MethodOptions {
		x.Options(m.allow())
		return
	}
	// From here on the client's protocol is known, and errors are sent in it.
	md, refused := sanitize.Metadata(x.Request.Header, x.IDs, h.cfg.RequestHeaders)
	if refused == nil && m.route.Uploads { // a client stream is not served here
		refused = refusal.New(http.StatusNotImplemented, codes.Unimplemented,
			"a stream of requests is served over gRPC only, at the server's own address")
	}
	if refused == nil && x.Request.Header["If-Match"] != nil {
		refused = condition.Unsupported("If-Match") // the message has a field for it
	}
	call := &call{Exchange: x, header: md}
	if refused == nil {
		refused = call.readBody(r)
	}
	if refused != nil {
		call.refuse(h.errors, r, refused)
		return
	}
	var ctx context.Context
	if m.route.Stream {
		stream := h.cfg.Flows.Begin(r.Context(), x, flow.Lines)
		defer stream.Close()
		ctx = stream.Context()
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(r.Context(), x.Deadline())
		defer cancel()
	}
	// connect-go derives a context from this one for the client's own deadline,
	// which can only be earlier.
	m.handler.ServeHTTP(call, r.WithContext(context.WithValue(ctx, callKey{}, call)))
}

// protocolHeaders are the header fields that the protocols themselves read.
// sanitize.Metadata makes metadata of others.
var protocolHeaders = []string{
	"Accept-Encoding", "Content-Encoding",
	"Connect-Accept-Encoding", "Connect-Content-Encoding", protocolVersion, "Connect-Timeout-Ms",
	"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Timeout", "X-Grpc-Web",
}

// read prepares a request for connect-go. It refuses requests in neither protocol,
// which are answered like those of REST clients.
func (m *method) read(from, to *http.Request) *refusal.Refusal {
	for _, name := range protocolHeaders {
		switch values := from.Header[name]; len(values) {
		case 0:
		case 1:
			to.Header[name] = values
		default:
			if name != "Accept-Encoding" {
				return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the header "+name+" must have one value")
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
		to.Method = http.MethodGet // the exchange discards the body of an answer to HEAD
		// A page of a sibling subdomain can cause a GET with the user's cookie and
		// choose its input. The length of a compressed answer would reveal the rest
		// of its content (BREACH, CVE-2013-3587).
		delete(to.Header, "Accept-Encoding")
		if versions := from.URL.Query()["connect"]; !slices.Equal(versions, []string{"v1"}) {
			return refusal.New(http.StatusBadRequest, codes.InvalidArgument,
				"this is the path of a method for Connect clients, whose GET has the query parameter connect=v1")
		}
		return nil
	}
	refused := refusal.New(http.StatusMethodNotAllowed, codes.Unimplemented, "this method is served for "+m.allow()+" only")
	refused.Allow = m.allow()
	return refused
}

// contentType checks the Content-Type, which is that of one of the protocols.
func (m *method) contentType(from, to http.Header) *refusal.Refusal {
	unsupported := func(message string) *refusal.Refusal {
		refused := refusal.New(http.StatusUnsupportedMediaType, codes.InvalidArgument, message)
		refused.AcceptPost = strings.Join(m.accept(), ", ")
		return refused
	}
	mediaType, ok := sanitize.MediaType(from)
	if mediaType == typeGRPC || strings.HasPrefix(mediaType, typeGRPC+"+") {
		return unsupported("gRPC is served at the server's own address; this path serves gRPC-Web and Connect")
	}
	if !ok || !slices.Contains(m.accept(), mediaType) {
		return unsupported("the Content-Type must be one of " + strings.Join(m.accept(), ", "))
	}
	if (mediaType == httpheader.JSON || mediaType == typeProto) && !slices.Equal(from[protocolVersion], []string{"1"}) {
		return refusal.New(http.StatusBadRequest, codes.InvalidArgument,
			"this is the path of a method for Connect clients, which send the header "+protocolVersion+": 1")
	}
	to["Content-Type"] = []string{mediaType}
	return nil
}

// readBody reads the body. The request is one message, also of a stream.
func (c *call) readBody(to *http.Request) *refusal.Refusal {
	if to.Method == http.MethodGet {
		to.Body, to.ContentLength = http.NoBody, 0
		return c.NoBody()
	}
	content, refused := c.ReadBody()
	if refused != nil && refused.HTTP == http.StatusRequestEntityTooLarge {
		refused.Status = status.New(codes.ResourceExhausted, refused.Status.Message()) // gRPC's code
	}
	to.Body, to.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	switch mediaType := to.Header.Get("Content-Type"); {
	case mediaType == httpheader.JSON:
		c.body = content
	case strings.HasSuffix(mediaType, "+json") && len(content) > envelopeBytes && content[0] == 0: // not compressed
		c.body = content[envelopeBytes:]
	}
	return refused
}
