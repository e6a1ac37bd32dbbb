package typescript

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// serverOptions are the packages whose custom options concern server, gateway and Go alone. With
// them each page would load the rules of protovalidate.
var serverOptions = []string{"buf.validate", "gatehouse", "google.api", "grpc.gateway", "pb"}

// pluginRequest returns the request to protoc-gen-es for the files of services, for all files that
// these use, and for the messages that errors carry. comments is a serialized FileDescriptorSet
// with source info. Files in it that differ from the linked ones are stale, and are not used.
func pluginRequest(services []string, comments []byte) (request *pluginpb.CodeGeneratorRequest, stale []string, err error) {
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(comments, set); err != nil {
		return nil, nil, fmt.Errorf("the comments are not a FileDescriptorSet: give the output of `buf build -o FILE.binpb` (%w)", err)
	}
	c := closure{files: map[string]*descriptorpb.FileDescriptorProto{}, comments: map[string]*descriptorpb.FileDescriptorProto{}}
	for _, file := range set.GetFile() {
		c.comments[file.GetName()] = file
	}
	for _, name := range services {
		service, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return nil, nil, fmt.Errorf("service %s: %w", name, err)
		}
		c.add(service.ParentFile())
	}
	c.add(errdetails.File_google_rpc_error_details_proto)
	request = &pluginpb.CodeGeneratorRequest{ProtoFile: c.sorted, Parameter: proto.String("target=js+dts,import_extension=js")}
	for _, file := range c.sorted {
		if !strings.HasPrefix(file.GetName(), "google/protobuf/") { // these are in @bufbuild/protobuf
			request.FileToGenerate = append(request.FileToGenerate, file.GetName())
		}
	}
	return request, c.stale, nil
}

// notLinked returns the full names of services in comments that the program does not have: usually
// their code was just generated.
func notLinked(comments []byte) (services []string) {
	set := new(descriptorpb.FileDescriptorSet)
	_ = proto.Unmarshal(comments, set) // pluginRequest reports an error
	for _, file := range set.GetFile() {
		for _, s := range file.GetService() {
			name := protoreflect.FullName(file.GetPackage()).Append(protoreflect.Name(s.GetName()))
			if _, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err != nil {
				services = append(services, string(name))
			}
		}
	}
	return services
}

// A closure is a set of files with everything that they use.
type closure struct {
	files    map[string]*descriptorpb.FileDescriptorProto
	comments map[string]*descriptorpb.FileDescriptorProto
	sorted   []*descriptorpb.FileDescriptorProto // a file comes after those that it imports
	stale    []string
}

// add adds a file, without the options that no page needs, and without the imports for them.
func (c *closure) add(fd protoreflect.FileDescriptor) {
	if c.files[fd.Path()] != nil {
		return
	}
	file := protodesc.ToFileDescriptorProto(fd)
	c.files[fd.Path()] = file
	if with := c.comments[fd.Path()]; with != nil {
		if structure(with, file) {
			file.SourceCodeInfo = withoutDirectives(with.GetSourceCodeInfo())
		} else {
			c.stale = append(c.stale, fd.Path())
		}
	}
	used := map[string]protoreflect.FileDescriptor{}
	keepOptions(file.ProtoReflect(), used)
	usedByDeclarations(fd, used)
	delete(used, fd.Path())
	written := file.GetDependency()
	file.Dependency = slices.SortedFunc(maps.Keys(used), func(a, b string) int {
		return cmp.Or(cmp.Compare(position(written, a), position(written, b)), cmp.Compare(a, b))
	})
	file.PublicDependency, file.WeakDependency, file.OptionDependency = nil, nil, nil
	for _, path := range file.Dependency {
		c.add(used[path])
	}
	c.sorted = append(c.sorted, file)
}

// position returns the index of a path, behind all others if it is not there: a file can use types
// of files that its imports import publicly.
func position(paths []string, path string) int {
	if i := slices.Index(paths, path); i >= 0 {
		return i
	}
	return len(paths)
}

// keepOptions removes the custom options of serverOptions from all options below m, and the options
// of a file that are for generators of other languages. It records the files of the custom options
// that it keeps.
func keepOptions(m protoreflect.Message, used map[string]protoreflect.FileDescriptor) {
	name := m.Descriptor().FullName()
	options := strings.HasPrefix(string(name), "google.protobuf.") && (strings.HasSuffix(string(name), "Options") || name.Name() == "FeatureSet")
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case options && field.IsExtension():
			file := field.ParentFile()
			if slices.ContainsFunc(serverOptions, func(p string) bool { return strings.HasPrefix(string(file.Package())+".", p+".") }) {
				m.Clear(field)
			} else {
				used[file.Path()] = file
			}
		case name == "google.protobuf.FileOptions" && field.Name() != "deprecated" && field.Name() != "features":
			m.Clear(field)
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				keepOptions(value.List().Get(i).Message(), used)
			}
		case field.Message() != nil && !field.IsMap():
			keepOptions(value.Message(), used)
			if field.Name() == "options" && proto.Size(value.Message().Interface()) == 0 {
				m.Clear(field)
			}
		}
		return true
	})
	if options {
		m.SetUnknown(nil) // custom options that this program does not know
	}
}

// usedByDeclarations records the files of the types in declarations of a file.
func usedByDeclarations(fd protoreflect.FileDescriptor, used map[string]protoreflect.FileDescriptor) {
	use := func(d protoreflect.Descriptor) { used[d.ParentFile().Path()] = d.ParentFile() }
	field := func(f protoreflect.FieldDescriptor) {
		use(f.ContainingMessage())
		if f.Message() != nil {
			use(f.Message())
		}
		if f.Enum() != nil {
			use(f.Enum())
		}
	}
	extensions := func(x protoreflect.ExtensionDescriptors) {
		for i := range x.Len() {
			field(x.Get(i))
		}
	}
	var messages func(protoreflect.MessageDescriptors)
	messages = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			m := list.Get(i)
			for j := range m.Fields().Len() {
				field(m.Fields().Get(j))
			}
			extensions(m.Extensions())
			messages(m.Messages())
		}
	}
	messages(fd.Messages())
	extensions(fd.Extensions())
	for i := range fd.Services().Len() {
		for j := range fd.Services().Get(i).Methods().Len() {
			method := fd.Services().Get(i).Methods().Get(j)
			use(method.Input())
			use(method.Output())
		}
	}
}

// structure reports whether two files declare the same, in the same order, so that the paths in
// the source info of one are those of the other.
func structure(a, b *descriptorpb.FileDescriptorProto) bool {
	bare := func(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
		return &descriptorpb.FileDescriptorProto{
			MessageType: file.MessageType, EnumType: file.EnumType, Service: file.Service, Extension: file.Extension,
		}
	}
	x, y := proto.CloneOf(bare(a)), proto.CloneOf(bare(b))
	clearOptions(x.ProtoReflect())
	clearOptions(y.ProtoReflect())
	return proto.Equal(x, y)
}

// clearOptions removes all options below m, which can be of other forms: known and unknown.
func clearOptions(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Name() == "options" || field.Name() == "json_name":
			m.Clear(field)
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				clearOptions(value.List().Get(i).Message())
			}
		}
		return true
	})
}

// withoutDirectives returns source info without the lines of comments that are for the linter.
func withoutDirectives(info *descriptorpb.SourceCodeInfo) *descriptorpb.SourceCodeInfo {
	info = proto.CloneOf(info)
	for _, l := range info.GetLocation() {
		for _, comment := range []*string{l.LeadingComments, l.TrailingComments} {
			if comment == nil {
				continue
			}
			var kept strings.Builder
			for line := range strings.Lines(*comment) {
				if !strings.HasPrefix(strings.TrimSpace(line), "buf:lint:") {
					kept.WriteString(line)
				}
			}
			*comment = kept.String()
		}
	}
	return info
}
