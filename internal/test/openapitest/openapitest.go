// Package openapitest owns what tests of OpenAPI documents share: file descriptors made of text,
// and the routes of their methods. It leaves the documents to the tests.
package openapitest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	// The files that a declared file imports.
	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	_ "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1" // registers policy.proto
)

var declared atomic.Int64

// Declare makes a file descriptor from text in the format of a FileDescriptorProto. The file gets a
// package of its own, whose name replaces PKG in the text, and imports what rules, routes and
// policies need.
func Declare(t *testing.T, text string) (protoreflect.FileDescriptor, *descriptorpb.FileDescriptorProto) {
	t.Helper()
	pkg := fmt.Sprintf("openapitest.v%d", declared.Add(1))
	file := new(descriptorpb.FileDescriptorProto)
	var source strings.Builder
	fmt.Fprintf(&source, "name: %q package: %q syntax: \"proto3\"\n", pkg+".proto", pkg)
	for _, imported := range []string{
		"buf/validate/validate.proto", "gatehouse/auth/v1/policy.proto", "google/api/annotations.proto", "google/api/field_behavior.proto",
		"google/api/httpbody.proto", "google/api/resource.proto", "google/protobuf/any.proto", "google/protobuf/duration.proto",
		"google/protobuf/empty.proto", "google/protobuf/field_mask.proto", "google/protobuf/struct.proto", "google/protobuf/timestamp.proto",
		"google/protobuf/wrappers.proto",
	} {
		fmt.Fprintf(&source, "dependency: %q\n", imported)
	}
	source.WriteString(strings.ReplaceAll(text, "PKG", pkg))
	if err := prototext.Unmarshal([]byte(source.String()), file); err != nil {
		t.Fatal(err)
	}
	desc, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return desc, file
}

// Routes returns the routes of all methods in a file, as their google.api.http options say.
func Routes(file protoreflect.FileDescriptor) (all []openapi.Route) {
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			rule := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
			for _, rule := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
				r := openapi.Route{Body: rule.GetBody(), RPC: methods.Get(j)}
				switch p := rule.GetPattern().(type) {
				case *annotations.HttpRule_Get:
					r.Method, r.Pattern = "GET", p.Get
				case *annotations.HttpRule_Post:
					r.Method, r.Pattern = "POST", p.Post
				case *annotations.HttpRule_Put:
					r.Method, r.Pattern = "PUT", p.Put
				case *annotations.HttpRule_Patch:
					r.Method, r.Pattern = "PATCH", p.Patch
				case *annotations.HttpRule_Delete:
					r.Method, r.Pattern = "DELETE", p.Delete
				}
				all = append(all, r)
			}
		}
	}
	return all
}
