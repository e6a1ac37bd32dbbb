package openapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	// What a test's .proto may name.
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
	_ "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

var declared atomic.Int64

// declare makes a file descriptor of a text, in a package of its own, which
// stands for PKG in it.
func declare(t *testing.T, text string) (protoreflect.FileDescriptor, *descriptorpb.FileDescriptorProto) {
	t.Helper()
	pkg := fmt.Sprintf("openapitest.v%d", declared.Add(1))
	file := new(descriptorpb.FileDescriptorProto)
	head := fmt.Sprintf("name: %q package: %q syntax: \"proto3\"\n", pkg+".proto", pkg)
	for _, imported := range []string{
		"buf/validate/validate.proto", "gatehouse/auth/v1/policy.proto", "google/api/annotations.proto", "google/api/field_behavior.proto",
		"google/api/httpbody.proto", "google/api/resource.proto", "google/protobuf/any.proto", "google/protobuf/duration.proto",
		"google/protobuf/empty.proto", "google/protobuf/field_mask.proto", "google/protobuf/struct.proto", "google/protobuf/timestamp.proto",
		"google/protobuf/wrappers.proto",
	} {
		head += fmt.Sprintf("dependency: %q\n", imported)
	}
	if err := prototext.Unmarshal([]byte(head+strings.ReplaceAll(text, "PKG", pkg)), file); err != nil {
		t.Fatal(err)
	}
	desc, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return desc, file
}

// routes are those of every method of a file.
func routes(file protoreflect.FileDescriptor) (all []openapi.Route) {
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

// A document is one that was made, as JSON.
type document map[string]any

func made(t *testing.T, cfg openapi.Config) document {
	t.Helper()
	content, err := openapi.Document(cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openapi.Document(cfg)
	if err != nil || !bytes.Equal(content, again) {
		t.Errorf("made twice, the document differs (%v)", err)
	}
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// at is what stands at a path of members; it fails the test if there is
// nothing.
func at[T any](t *testing.T, v any, path ...string) T {
	t.Helper()
	if d, ok := v.(document); ok {
		v = map[string]any(d)
	}
	for _, name := range path {
		switch of := v.(type) {
		case map[string]any:
			v = of[name]
		default:
			v = nil
		}
	}
	found, ok := v.(T)
	if !ok {
		t.Fatalf("%s is %v, want a %T", strings.Join(path, " "), v, found)
	}
	return found
}
