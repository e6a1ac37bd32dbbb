package typescript

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
)

const adminFile = "gatehouse/sessionadmin/v1/session_admin.proto"

// commented returns a FileDescriptorSet with the service's file, as buf build writes it.
func commented(t *testing.T, change func(*descriptorpb.FileDescriptorProto)) []byte {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(sessionadminv1.File_gatehouse_sessionadmin_v1_session_admin_proto)
	file.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{
		Path: []int32{6, 0}, Span: []int32{0, 0, 0},
		LeadingComments: proto.String(" Sessions.\n buf:lint:ignore X\n"),
	}}}
	change(file)
	content, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestPluginRequest checks that the request is complete, and has nothing that is for servers.
func TestPluginRequest(t *testing.T) {
	t.Parallel()
	request, stale, err := pluginRequest([]string{"gatehouse.sessionadmin.v1.SessionAdminService"}, commented(t, func(*descriptorpb.FileDescriptorProto) {}))
	if err != nil || len(stale) > 0 {
		t.Fatal(err, stale)
	}
	if want := []string{adminFile, "google/rpc/error_details.proto"}; !slices.Equal(slices.Sorted(slices.Values(request.GetFileToGenerate())), want) {
		t.Errorf("files %q, want %q", request.GetFileToGenerate(), want)
	}
	seen := map[string]bool{}
	for _, file := range request.GetProtoFile() {
		for _, imported := range file.GetDependency() {
			if !seen[imported] {
				t.Errorf("%s comes before %s, which it imports", file.GetName(), imported)
			}
		}
		seen[file.GetName()] = true
		if file.GetName() == adminFile {
			if got := file.GetSourceCodeInfo().GetLocation()[0].GetLeadingComments(); got != " Sessions.\n" {
				t.Errorf("comment %q", got)
			}
		}
	}
	if _, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: request.GetProtoFile()}); err != nil {
		t.Error(err)
	}
	content, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"buf/validate", "google/api", "gatehouse/auth", "go_package", "github.com/gatehouse-dev"} {
		if bytes.Contains(content, []byte(unwanted)) {
			t.Errorf("the request has %s", unwanted)
		}
	}
}

// TestPluginRequestFails checks the errors about services and comments.
func TestPluginRequestFails(t *testing.T) {
	t.Parallel()
	if _, _, err := pluginRequest([]string{"shop.v1.None"}, nil); err == nil || !strings.Contains(err.Error(), "service shop.v1.None") {
		t.Errorf("an unknown service: %v", err)
	}
	if _, _, err := pluginRequest(nil, []byte("text")); err == nil || !strings.Contains(err.Error(), "buf build -o") {
		t.Errorf("comments that are none: %v", err)
	}
}

// TestStaleComments checks that comments of another version of a file are not used: they would be
// at the wrong places.
func TestStaleComments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*descriptorpb.FileDescriptorProto)
		stale  bool
	}{
		"another method": {func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Method = f.Service[0].Method[1:] }, true},
		"another field":  {func(f *descriptorpb.FileDescriptorProto) { f.MessageType[0].Field[0].Name = proto.String("other") }, true},
		"other options":  {func(f *descriptorpb.FileDescriptorProto) { f.Options = nil; f.Service[0].Method[0].Options = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, stale, err := pluginRequest([]string{"gatehouse.sessionadmin.v1.SessionAdminService"}, commented(t, c.change))
			if err != nil || (len(stale) > 0) != c.stale {
				t.Fatalf("stale %q, %v", stale, err)
			}
			for _, file := range request.GetProtoFile() {
				if used := file.SourceCodeInfo != nil; file.GetName() == adminFile && used == c.stale {
					t.Errorf("comments used: %v", used)
				}
			}
		})
	}
}

// TestNotLinked checks that services are named that the program does not have.
func TestNotLinked(t *testing.T) {
	t.Parallel()
	comments := commented(t, func(f *descriptorpb.FileDescriptorProto) {
		f.Service = append(f.Service, &descriptorpb.ServiceDescriptorProto{Name: proto.String("OrderService")})
	})
	if got := notLinked(comments); !slices.Equal(got, []string{"gatehouse.sessionadmin.v1.OrderService"}) {
		t.Errorf("got %q, want the OrderService", got)
	}
}

// TestKeptOptions checks that custom options of the application stay, with the file that declares
// them, and that an import that only others needed goes. A type of a public import is found.
func TestKeptOptions(t *testing.T) {
	t.Parallel()
	files := new(protoregistry.Files)
	register := func(file *descriptorpb.FileDescriptorProto) protoreflect.FileDescriptor {
		file.Syntax = proto.String("proto3")
		fd, err := protodesc.NewFile(file, resolver{files})
		if err == nil {
			err = files.RegisterFile(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	option := func(pkg, path string) protoreflect.ExtensionType {
		fd := register(&descriptorpb.FileDescriptorProto{
			Name: &path, Package: &pkg, Dependency: []string{"google/protobuf/descriptor.proto"},
			Extension: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("text"), Number: proto.Int32(50000), Extendee: proto.String(".google.protobuf.MessageOptions"),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			}},
		})
		return dynamicpb.NewExtensionType(fd.Extensions().Get(0))
	}
	labels, rules := option("shop.labels", "shop/labels.proto"), option("buf.validate", "rules.proto")
	message := func(name string) []*descriptorpb.DescriptorProto {
		return []*descriptorpb.DescriptorProto{{Name: &name}}
	}
	register(&descriptorpb.FileDescriptorProto{Name: proto.String("price.proto"), MessageType: message("Price")})
	register(&descriptorpb.FileDescriptorProto{Name: proto.String("all.proto"), Dependency: []string{"price.proto"}, PublicDependency: []int32{0}})
	described := new(descriptorpb.MessageOptions)
	proto.SetExtension(described, labels, "Item")
	ruled := new(descriptorpb.MessageOptions)
	proto.SetExtension(ruled, rules, "required")
	item := register(&descriptorpb.FileDescriptorProto{
		Name: proto.String("item.proto"), Dependency: []string{"rules.proto", "shop/labels.proto", "all.proto"},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Item"), Options: described, Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("price"), Number: proto.Int32(1), TypeName: proto.String(".Price"),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(),
			}}},
			{Name: proto.String("Ruled"), Options: ruled},
		},
	})

	c := closure{files: map[string]*descriptorpb.FileDescriptorProto{}}
	c.add(item)
	got := c.files["item.proto"]
	if want := []string{"shop/labels.proto", "price.proto"}; !slices.Equal(got.GetDependency(), want) {
		t.Errorf("imports %q, want %q", got.GetDependency(), want)
	}
	if label := proto.GetExtension(got.GetMessageType()[0].GetOptions(), labels); label != "Item" {
		t.Errorf("label %v, want Item", label)
	}
	if options := got.GetMessageType()[1].Options; options != nil {
		t.Errorf("options of the server: %v", options)
	}
	if c.files["rules.proto"] != nil || c.files["all.proto"] != nil || c.files["google/protobuf/descriptor.proto"] == nil {
		t.Errorf("files %v", c.sorted)
	}
}

// A resolver finds files of the test, and those of google.protobuf.
type resolver struct{ own *protoregistry.Files }

func (r resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if fd, err := r.own.FindFileByPath(path); err == nil {
		return fd, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

func (r resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := r.own.FindDescriptorByName(name); err == nil {
		return d, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}
