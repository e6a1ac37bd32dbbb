package notes

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	_ "google.golang.org/genproto/googleapis/api/annotations" // google.api.http
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1" // the policy option
)

// ServiceName is the full name of the service.
const ServiceName = "notes.v1.NotesService"

// file is the descriptor of notes/v1/notes.proto.
const file = `
name: "notes/v1/notes.proto" package: "notes.v1" syntax: "proto3"
dependency: ["gatehouse/auth/v1/policy.proto", "google/api/annotations.proto", "google/protobuf/duration.proto",
	"google/protobuf/empty.proto", "google/protobuf/struct.proto", "google/protobuf/wrappers.proto"]
service { name: "NotesService"
	method { name: "Motto" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.StringValue"
		options { [google.api.http] { get: "/api/motto" } [gatehouse.auth.v1.policy] { public: true } } }
	method { name: "Time" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.StringValue"
		options { [google.api.http] { get: "/api/time" } [gatehouse.auth.v1.policy] { public: true } } }
	method { name: "ListNotes" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.ListValue"
		options { [google.api.http] { get: "/api/notes" } } }
	method { name: "ExportNotes" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.ListValue"
		options { [google.api.http] { get: "/api/notes:export" } [gatehouse.auth.v1.policy] { acr_values: "mfa" } } }
	method { name: "CreateNote" input_type: ".google.protobuf.StringValue" output_type: ".google.protobuf.StringValue"
		options { [google.api.http] { post: "/api/notes" body: "*" } [gatehouse.auth.v1.policy] { permissions: "notes:write" } } }
	method { name: "ImportNote" input_type: ".google.protobuf.StringValue" output_type: ".google.protobuf.StringValue"
		options { [google.api.http] { post: "/api/notes:import" body: "*" } [gatehouse.auth.v1.policy] { callers: CALLERS_MACHINES permissions: "notes:write" } } }
	method { name: "DeleteNotes" input_type: ".google.protobuf.Empty" output_type: ".google.protobuf.Empty"
		options { [google.api.http] { delete: "/api/notes" } [gatehouse.auth.v1.policy] { permissions: "notes:write" max_age { seconds: 300 } } } }
}`

var routes = []struct {
	name, method, path string
	in, out            func() proto.Message
}{
	{"Motto", http.MethodGet, "/api/motto", empty, text},
	{"Time", http.MethodGet, "/api/time", empty, text},
	{"ListNotes", http.MethodGet, "/api/notes", empty, func() proto.Message { return new(structpb.ListValue) }},
	{"ExportNotes", http.MethodGet, "/api/notes:export", empty, func() proto.Message { return new(structpb.ListValue) }},
	{"CreateNote", http.MethodPost, "/api/notes", text, text},
	{"ImportNote", http.MethodPost, "/api/notes:import", text, text},
	{"DeleteNotes", http.MethodDelete, "/api/notes", empty, empty},
}

func empty() proto.Message { return new(emptypb.Empty) }
func text() proto.Message  { return new(wrapperspb.StringValue) }

func init() {
	parsed := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(file), parsed); err != nil {
		panic(err)
	}
	described, err := protodesc.NewFile(parsed, protoregistry.GlobalFiles)
	if err == nil {
		err = protoregistry.GlobalFiles.RegisterFile(described)
	}
	if err != nil {
		panic(err)
	}
}

type server interface {
	Motto(context.Context, *emptypb.Empty) (*wrapperspb.StringValue, error)
	Time(context.Context, *emptypb.Empty) (*wrapperspb.StringValue, error)
	ListNotes(context.Context, *emptypb.Empty) (*structpb.ListValue, error)
	ExportNotes(context.Context, *emptypb.Empty) (*structpb.ListValue, error)
	CreateNote(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)
	ImportNote(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)
	DeleteNotes(context.Context, *emptypb.Empty) (*emptypb.Empty, error)
}

var serviceDesc = grpc.ServiceDesc{
	ServiceName: ServiceName, HandlerType: (*server)(nil),
	Methods: []grpc.MethodDesc{
		method("Motto", server.Motto), method("Time", server.Time), method("ListNotes", server.ListNotes),
		method("ExportNotes", server.ExportNotes), method("CreateNote", server.CreateNote), method("ImportNote", server.ImportNote),
		method("DeleteNotes", server.DeleteNotes),
	},
}

func method[In, Out any](name string, call func(server, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + ServiceName + "/" + name}
		handler := func(ctx context.Context, req any) (any, error) { return call(srv.(server), ctx, req.(*In)) }
		if interceptor == nil {
			return handler(ctx, in)
		}
		return interceptor(ctx, in, info, handler)
	}}
}

// A Client calls the service over a connection.
type Client struct{ conn grpc.ClientConnInterface }

func newClient(conn grpc.ClientConnInterface) *Client { return &Client{conn} }

// NewClient returns a client of the service.
func NewClient(conn grpc.ClientConnInterface) *Client { return newClient(conn) }

// CreateNote calls the method CreateNote.
func (c *Client) CreateNote(ctx context.Context, note *wrapperspb.StringValue, opts ...grpc.CallOption) (*wrapperspb.StringValue, error) {
	out := new(wrapperspb.StringValue)
	return out, c.conn.Invoke(ctx, "/"+ServiceName+"/CreateNote", note, out, opts...)
}

func registerHandlerClient(_ context.Context, mux *runtime.ServeMux, client *Client) error {
	for _, r := range routes {
		err := mux.HandlePath(r.method, r.path, func(w http.ResponseWriter, req *http.Request, _ map[string]string) {
			full := "/" + ServiceName + "/" + r.name
			in, out := runtime.MarshalerForRequest(mux, req)
			ctx, err := runtime.AnnotateContext(req.Context(), mux, req, full, runtime.WithHTTPPathPattern(r.path))
			request, response := r.in(), r.out()
			if err == nil && r.method == http.MethodPost {
				if decoded := in.NewDecoder(req.Body).Decode(request); decoded != nil && !errors.Is(decoded, io.EOF) {
					err = status.Error(codes.InvalidArgument, decoded.Error())
				}
			}
			if err != nil {
				runtime.HTTPError(req.Context(), mux, out, w, req, err)
				return
			}
			var md runtime.ServerMetadata
			err = client.conn.Invoke(ctx, full, request, response, grpc.Header(&md.HeaderMD), grpc.Trailer(&md.TrailerMD))
			ctx = runtime.NewServerMetadataContext(ctx, md)
			if err != nil {
				runtime.HTTPError(ctx, mux, out, w, req, err)
				return
			}
			runtime.ForwardResponseMessage(ctx, mux, out, w, req, response, mux.GetForwardResponseOptions()...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
