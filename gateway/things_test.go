package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// thingService has a route of every kind that [statusService] does not have. It is a
// descriptor without generated code.
const thingService = "gatewaytest.things.v1.ThingService"

const thingsFile = `
name: "gatewaytest/things/v1/things.proto"
package: "gatewaytest.things.v1"
syntax: "proto3"
dependency: ["google/api/annotations.proto", "google/api/httpbody.proto", "google/protobuf/any.proto", "google/protobuf/duration.proto", "google/protobuf/empty.proto", "google/protobuf/field_mask.proto", "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"]
message_type { name: "Thing"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "title" json_name: "title" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "price_cents" json_name: "priceCents" number: 3 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "tags" json_name: "tags" number: 4 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "create_time" json_name: "createTime" number: 5 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Timestamp" }
  field { name: "parent" json_name: "parent" number: 6 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Thing" }
}
message_type { name: "GetThingRequest"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "CreateThingRequest"
  field { name: "thing" json_name: "thing" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Thing" }
  field { name: "dry_run" json_name: "dryRun" number: 2 type: TYPE_BOOL label: LABEL_OPTIONAL }
}
message_type { name: "UpdateThingRequest"
  field { name: "thing" json_name: "thing" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Thing" }
  field { name: "update_mask" json_name: "updateMask" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.FieldMask" }
}
message_type { name: "ListThingsRequest"
  field { name: "page_size" json_name: "pageSize" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "tags" json_name: "tags" number: 2 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "like" json_name: "like" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Thing" }
  field { name: "labels" json_name: "labels" number: 4 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".gatewaytest.things.v1.ListThingsRequest.LabelsEntry" }
  nested_type { name: "LabelsEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  }
}
message_type { name: "ListThingsResponse"
  field { name: "things" json_name: "things" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".gatewaytest.things.v1.Thing" }
}
message_type { name: "ReadFileRequest"
  field { name: "path" json_name: "path" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "FileRequest"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "number" json_name: "number" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "file" json_name: "file" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.api.HttpBody" }
  field { name: "etag" json_name: "etag" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "Detailed"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "detail" json_name: "detail" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Any" }
}
message_type { name: "AllKinds"
  field { name: "i32" json_name: "i32" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "u32" json_name: "u32" number: 2 type: TYPE_UINT32 label: LABEL_OPTIONAL }
  field { name: "i64" json_name: "i64" number: 3 type: TYPE_SINT64 label: LABEL_OPTIONAL }
  field { name: "u64" json_name: "u64" number: 4 type: TYPE_FIXED64 label: LABEL_OPTIONAL }
  field { name: "float" json_name: "float" number: 5 type: TYPE_FLOAT label: LABEL_OPTIONAL }
  field { name: "double" json_name: "double" number: 6 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
  field { name: "bool" json_name: "bool" number: 7 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "text" json_name: "text" number: 8 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "bytes" json_name: "bytes" number: 9 type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { name: "color" json_name: "color" number: 10 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Color" }
  field { name: "time" json_name: "time" number: 11 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Timestamp" }
  field { name: "duration" json_name: "duration" number: 12 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Duration" }
  field { name: "mask" json_name: "mask" number: 13 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.FieldMask" }
  field { name: "count" json_name: "count" number: 14 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Int64Value" }
  field { name: "flag" json_name: "flag" number: 15 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.BoolValue" }
  field { name: "numbers" json_name: "numbers" number: 16 type: TYPE_INT32 label: LABEL_REPEATED }
  field { name: "colors" json_name: "colors" number: 17 type: TYPE_ENUM label: LABEL_REPEATED type_name: ".gatewaytest.things.v1.Color" }
  field { name: "by_number" json_name: "byNumber" number: 18 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".gatewaytest.things.v1.AllKinds.ByNumberEntry" }
  field { name: "nested" json_name: "nested" number: 19 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.AllKinds" }
  field { name: "list" json_name: "list" number: 20 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".gatewaytest.things.v1.AllKinds" }
  field { name: "left" json_name: "left" number: 21 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "right" json_name: "right" number: 22 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "any" json_name: "any" number: 23 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Any" }
  oneof_decl { name: "side" }
  nested_type { name: "ByNumberEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_BOOL label: LABEL_OPTIONAL }
  }
}
message_type { name: "Setting"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "etag" json_name: "etag" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "SettingRequest"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "etag" json_name: "etag" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "CreateSettingRequest"
  field { name: "setting" json_name: "setting" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Setting" }
  field { name: "owner" json_name: "owner" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "UpdateSettingRequest"
  field { name: "setting" json_name: "setting" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Setting" }
}
message_type { name: "WatchSettingsRequest"
  field { name: "resume_token" json_name: "resumeToken" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "WatchSettingsResponse"
  field { name: "id" json_name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "resume_token" json_name: "resumeToken" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type { name: "Kinds"
  field { name: "int64" json_name: "int64" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "uint64" json_name: "uint64" number: 2 type: TYPE_UINT64 label: LABEL_OPTIONAL }
  field { name: "int32" json_name: "int32" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "double" json_name: "double" number: 4 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
  field { name: "bool" json_name: "bool" number: 5 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "bytes" json_name: "bytes" number: 6 type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { name: "color" json_name: "color" number: 7 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".gatewaytest.things.v1.Color" }
  field { name: "time" json_name: "time" number: 8 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Timestamp" }
  field { name: "duration" json_name: "duration" number: 9 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Duration" }
  field { name: "mask" json_name: "mask" number: 10 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.FieldMask" }
  field { name: "text" json_name: "text" number: 11 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.StringValue" }
  field { name: "count" json_name: "count" number: 12 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Int64Value" }
}
enum_type { name: "Color" value { name: "COLOR_UNSPECIFIED" number: 0 } value { name: "COLOR_RED" number: 1 } }
service { name: "ThingService"
  method { name: "GetThing" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Thing"
    options { idempotency_level: NO_SIDE_EFFECTS [google.api.http] { get: "/api/things/{id}" additional_bindings { get: "/api/old-things/{id}" } } } }
  method { name: "ListThings" input_type: ".gatewaytest.things.v1.ListThingsRequest" output_type: ".gatewaytest.things.v1.ListThingsResponse"
    options { [google.api.http] { get: "/api/things" } } }
  method { name: "CreateThing" input_type: ".gatewaytest.things.v1.CreateThingRequest" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { post: "/api/things" body: "thing" } } }
  method { name: "UpdateThing" input_type: ".gatewaytest.things.v1.UpdateThingRequest" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { patch: "/api/things/{thing.id}" body: "thing" } } }
  method { name: "ReplaceThing" input_type: ".gatewaytest.things.v1.Thing" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { put: "/api/things/{id}" body: "*" } } }
  method { name: "DeleteThing" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".google.protobuf.Empty"
    options { [google.api.http] { delete: "/api/things/{id}" } } }
  method { name: "ArchiveThing" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { post: "/api/things/{id}:archive" } } }
  method { name: "ImportThing" input_type: ".gatewaytest.things.v1.Thing" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { post: "/api/things:import" body: "*" } } }
  method { name: "ReadFile" input_type: ".gatewaytest.things.v1.ReadFileRequest" output_type: ".google.api.HttpBody"
    options { [google.api.http] { get: "/api/files/{path=**}" } } }
  method { name: "WatchThings" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Thing" server_streaming: true
    options { [google.api.http] { get: "/api/things:watch" } } }
  method { name: "UploadThings" input_type: ".gatewaytest.things.v1.Thing" output_type: ".google.protobuf.Empty" client_streaming: true }
  method { name: "TradeThings" input_type: ".gatewaytest.things.v1.Thing" output_type: ".gatewaytest.things.v1.Thing" client_streaming: true server_streaming: true }
  method { name: "GetSetting" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { get: "/api/settings/{id}" } } }
  method { name: "ReplaceSetting" input_type: ".gatewaytest.things.v1.Setting" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { put: "/api/settings/{id}" body: "*" } } }
  method { name: "UpdateSetting" input_type: ".gatewaytest.things.v1.UpdateSettingRequest" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { patch: "/api/settings/{setting.id}" body: "setting" } } }
  method { name: "DeleteSetting" input_type: ".gatewaytest.things.v1.SettingRequest" output_type: ".google.protobuf.Empty"
    options { [google.api.http] { delete: "/api/settings/{id}" } } }
  method { name: "CreateSetting" input_type: ".gatewaytest.things.v1.CreateSettingRequest" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { post: "/api/settings" body: "setting" additional_bindings { post: "/api/owners/{owner}/settings" body: "setting" } } } }
  method { name: "ImportSetting" input_type: ".gatewaytest.things.v1.Setting" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { post: "/api/settings:import" body: "*" } } }
  method { name: "ResetSetting" input_type: ".gatewaytest.things.v1.SettingRequest" output_type: ".gatewaytest.things.v1.Setting"
    options { [google.api.http] { post: "/api/settings/{id}:reset" body: "*" } } }
  method { name: "DownloadFile" input_type: ".gatewaytest.things.v1.ReadFileRequest" output_type: ".google.api.HttpBody" server_streaming: true
    options { [google.api.http] { get: "/api/downloads/{path=**}" } } }
  method { name: "PutFile" input_type: ".gatewaytest.things.v1.FileRequest" output_type: ".gatewaytest.things.v1.Thing"
    options { [google.api.http] { put: "/api/things/{id}/file" body: "file" } } }
  method { name: "UploadFile" input_type: ".gatewaytest.things.v1.FileRequest" output_type: ".gatewaytest.things.v1.Setting" client_streaming: true
    options { [google.api.http] { post: "/api/things/{id}/files/{number}" body: "file" } } }
  method { name: "ConvertFile" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody"
    options { [google.api.http] { post: "/api/files:convert" body: "*" } } }
  method { name: "StreamFile" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody" client_streaming: true server_streaming: true
    options { [google.api.http] { post: "/api/files:stream" body: "*" } } }
  method { name: "GetDetailed" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Detailed"
    options { [google.api.http] { get: "/api/detailed/{id}" } } }
  method { name: "WatchDetailed" input_type: ".gatewaytest.things.v1.GetThingRequest" output_type: ".gatewaytest.things.v1.Detailed" server_streaming: true
    options { [google.api.http] { get: "/api/detailed:watch" } } }
  method { name: "EchoAllKinds" input_type: ".gatewaytest.things.v1.AllKinds" output_type: ".google.protobuf.Empty"
    options { [google.api.http] { get: "/api/allkinds" additional_bindings { post: "/api/allkinds" body: "*" }
      additional_bindings { get: "/api/allkinds/i32/{i32}" } additional_bindings { get: "/api/allkinds/bool/{nested.bool}" } additional_bindings { get: "/api/allkinds/color/{color}" } additional_bindings { get: "/api/allkinds/time/{time}" }
      additional_bindings { post: "/api/allkinds:nested" body: "nested" } } } }
  method { name: "WatchSettings" input_type: ".gatewaytest.things.v1.WatchSettingsRequest" output_type: ".gatewaytest.things.v1.WatchSettingsResponse" server_streaming: true
    options { [google.api.http] { get: "/api/settings:watch" additional_bindings { post: "/api/settings:watch" body: "*" } } } }
  method { name: "EchoKinds" input_type: ".gatewaytest.things.v1.Kinds" output_type: ".gatewaytest.things.v1.Kinds"
    options { [google.api.http] { get: "/api/kinds" additional_bindings { post: "/api/kinds" body: "*" } } } }
}
`

func init() {
	if err := declare(thingsFile); err != nil {
		panic(err)
	}
}

// declare registers a file descriptor, like linked generated code.
func declare(text string) error {
	file := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(text), file); err != nil {
		return err
	}
	desc, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	for i := range desc.Enums().Len() { // the runtime looks them up for queries
		if err := protoregistry.GlobalTypes.RegisterEnum(dynamicpb.NewEnumType(desc.Enums().Get(i))); err != nil {
			return err
		}
	}
	return protoregistry.GlobalFiles.RegisterFile(desc)
}

var declared atomic.Int64

// declareService registers a new service whose methods have the given rules, each
// in text format, and returns its name.
func declareService(t *testing.T, rules ...string) string {
	t.Helper()
	pkg := fmt.Sprintf("gatewaytest.generated%d", declared.Add(1))
	var methods strings.Builder
	for i, rule := range rules {
		options := ""
		if rule != "" {
			options = "options { [google.api.http] { " + rule + " } }"
		}
		streaming := ""
		if strings.Contains(rule, "# client stream") {
			streaming, options = "client_streaming: true", strings.Replace(options, "# client stream", "", 1)
		}
		fmt.Fprintf(&methods, `method { name: "M%d" input_type: ".gatewaytest.things.v1.Thing" output_type: ".gatewaytest.things.v1.Thing" %s %s }`+"\n", i, streaming, options)
	}
	err := declare(fmt.Sprintf(`name: "%s.proto" package: %q syntax: "proto3"
		dependency: ["google/api/annotations.proto", "gatewaytest/things/v1/things.proto"]
		service { name: "S" %s }`, pkg, pkg, methods.String()))
	if err != nil {
		t.Fatal(err)
	}
	return pkg + ".S"
}

func exposeDynamic(service string) gateway.Service {
	return gateway.Expose(
		func(conn grpc.ClientConnInterface) grpc.ClientConnInterface { return conn },
		func(_ context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
			return registerDynamic(mux, conn, service)
		}, service)
}

// registerDynamic registers handlers for a descriptor like the code that
// protoc-gen-grpc-gateway generates for types.
func registerDynamic(mux *runtime.ServeMux, conn grpc.ClientConnInterface, service string) error {
	methods := serviceDescriptor(service).Methods()
	for i := range methods.Len() {
		method := methods.Get(i)
		rule := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rule == nil {
			continue
		}
		for _, rule := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			b := &binding{mux: mux, conn: conn, method: method, body: rule.GetBody(), rpc: fmt.Sprintf("/%s/%s", service, method.Name())}
			var httpMethod string
			switch p := rule.GetPattern().(type) {
			case *annotations.HttpRule_Get:
				httpMethod, b.path = http.MethodGet, p.Get
			case *annotations.HttpRule_Put:
				httpMethod, b.path = http.MethodPut, p.Put
			case *annotations.HttpRule_Post:
				httpMethod, b.path = http.MethodPost, p.Post
			case *annotations.HttpRule_Patch:
				httpMethod, b.path = http.MethodPatch, p.Patch
			case *annotations.HttpRule_Delete:
				httpMethod, b.path = http.MethodDelete, p.Delete
			}
			var filter [][]string
			for _, part := range strings.Split(b.path, "{")[1:] {
				filter = append(filter, strings.Split(part[:strings.IndexAny(part, "=}")], "."))
			}
			if b.body != "" && b.body != "*" {
				filter = append(filter, []string{b.body})
			}
			b.filter = utilities.NewDoubleArray(filter)
			if err := mux.HandlePath(httpMethod, b.path, b.serve); err != nil {
				return err
			}
		}
	}
	return nil
}

type binding struct {
	mux        *runtime.ServeMux
	conn       grpc.ClientConnInterface
	method     protoreflect.MethodDescriptor
	rpc        string
	path, body string
	filter     *utilities.DoubleArray
}

func (b *binding) serve(w http.ResponseWriter, r *http.Request, params map[string]string) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	in, out := runtime.MarshalerForRequest(b.mux, r)
	ctx, err := runtime.AnnotateContext(ctx, b.mux, r, b.rpc, runtime.WithHTTPPathPattern(b.path))
	if err != nil {
		runtime.HTTPError(r.Context(), b.mux, out, w, r, err)
		return
	}
	request, err := b.request(r, in, params)
	if err != nil {
		runtime.HTTPError(ctx, b.mux, out, w, r, status.Error(codes.InvalidArgument, err.Error()))
		return
	}
	var md runtime.ServerMetadata
	if b.method.IsStreamingServer() {
		recv, err := b.open(ctx, request, &md)
		if err != nil {
			runtime.HTTPError(ctx, b.mux, out, w, r, err)
			return
		}
		ctx = runtime.NewServerMetadataContext(ctx, md)
		runtime.ForwardResponseStream(ctx, b.mux, out, w, r, recv, b.mux.GetForwardResponseOptions()...)
		return
	}
	response := newMessage(b.method.Output())
	err = b.conn.Invoke(ctx, b.rpc, request, response, grpc.Header(&md.HeaderMD), grpc.Trailer(&md.TrailerMD))
	ctx = runtime.NewServerMetadataContext(ctx, md)
	if err != nil {
		runtime.HTTPError(ctx, b.mux, out, w, r, err)
		return
	}
	runtime.ForwardResponseMessage(ctx, b.mux, out, w, r, response, b.mux.GetForwardResponseOptions()...)
}

func (b *binding) request(r *http.Request, in runtime.Marshaler, params map[string]string) (proto.Message, error) {
	request := newMessage(b.method.Input())
	switch b.body {
	case "":
	case "*":
		if err := in.NewDecoder(r.Body).Decode(request); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	default:
		field := request.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(b.body))
		part := request.ProtoReflect().Mutable(field).Message().Interface()
		if err := in.NewDecoder(r.Body).Decode(part); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	for name, value := range params {
		if err := runtime.PopulateFieldFromPath(request, name, value); err != nil {
			return nil, fmt.Errorf("type mismatch, parameter: %s, error: %w", name, err)
		}
	}
	if b.body != "*" {
		if err := r.ParseForm(); err != nil {
			return nil, err
		}
		if err := runtime.PopulateQueryParameters(request, r.Form, b.filter); err != nil {
			return nil, err
		}
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return request, nil
}

func (b *binding) open(ctx context.Context, request proto.Message, md *runtime.ServerMetadata) (func() (proto.Message, error), error) {
	stream, err := b.conn.NewStream(ctx, &grpc.StreamDesc{StreamName: string(b.method.Name()), ServerStreams: true}, b.rpc)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	if md.HeaderMD, err = stream.Header(); err != nil {
		return nil, err
	}
	return func() (proto.Message, error) {
		m := newMessage(b.method.Output())
		return m, stream.RecvMsg(m)
	}, nil
}

func serviceDescriptor(service string) protoreflect.ServiceDescriptor {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		panic(err)
	}
	return d.(protoreflect.ServiceDescriptor)
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	if t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName()); err == nil {
		return t.New().Interface()
	}
	return dynamicpb.NewMessage(d)
}

// thing returns a Thing from text format.
func thing(text string) proto.Message { return answerOf("GetThing", text) }

// answerOf returns an answer of a method from text format.
func answerOf(method protoreflect.Name, text string) proto.Message {
	m := newMessage(serviceDescriptor(thingService).Methods().ByName(method).Output())
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		panic(err)
	}
	return m
}

func methodDescriptor(rpc string) protoreflect.MethodDescriptor {
	parts := strings.Split(strings.TrimPrefix(rpc, "/"), "/")
	if !slices.ContainsFunc(parts, func(s string) bool { return s == "" }) && len(parts) == 2 {
		return serviceDescriptor(parts[0]).Methods().ByName(protoreflect.Name(parts[1]))
	}
	panic("not a method: " + rpc)
}
