package openapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// comments are the comments of .proto files, by the full name of what they
// describe. Linked descriptors have none.
type comments map[protoreflect.FullName]comment

type comment struct {
	text     string            // CommonMark
	examples []json.RawMessage // lines that begin with "Example:"
}

// readComments parses a FileDescriptorSet with source info. Empty content has no
// comments.
func readComments(content []byte) (comments, error) {
	if len(content) == 0 {
		return nil, nil
	}
	set := new(descriptorpb.FileDescriptorSet)
	// Options come from the linked descriptors.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(content, set); err != nil || len(set.GetFile()) == 0 {
		return nil, fmt.Errorf("the comments are not a FileDescriptorSet: give the output of `buf build -o FILE.binpb` (%w)", err)
	}
	c := comments{}
	for _, file := range set.GetFile() {
		if err := c.addFile(file); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c comments) addFile(file *descriptorpb.FileDescriptorProto) error {
	written := map[string]string{} // by path in the descriptor
	for _, l := range file.GetSourceCodeInfo().GetLocation() {
		text := l.GetLeadingComments()
		if text == "" {
			text = l.GetTrailingComments()
		}
		if text != "" {
			written[fmt.Sprint(l.GetPath())] = text
		}
	}
	// The numbers are field numbers of descriptor.proto.
	var failed error
	add := func(name protoreflect.FullName, path []int32) {
		text, ok := written[fmt.Sprint(path)]
		if !ok {
			return
		}
		found, err := parseComment(text)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: comment on %s: %w", file.GetName(), name, err)
		}
		c[name] = found
	}
	at := func(path []int32, more ...int) []int32 {
		path = path[:len(path):len(path)]
		for _, n := range more {
			path = append(path, int32(n)) //nolint:gosec // indices of a descriptor
		}
		return path
	}
	addEnum := func(scope protoreflect.FullName, e *descriptorpb.EnumDescriptorProto, path []int32) {
		add(scope.Append(protoreflect.Name(e.GetName())), path)
		for i, v := range e.GetValue() { // values are siblings of their enum
			add(scope.Append(protoreflect.Name(v.GetName())), at(path, 2, i))
		}
	}
	var addMessage func(protoreflect.FullName, *descriptorpb.DescriptorProto, []int32)
	addMessage = func(scope protoreflect.FullName, m *descriptorpb.DescriptorProto, path []int32) {
		name := scope.Append(protoreflect.Name(m.GetName()))
		add(name, path)
		for i, f := range m.GetField() {
			add(name.Append(protoreflect.Name(f.GetName())), at(path, 2, i))
		}
		for i, nested := range m.GetNestedType() {
			addMessage(name, nested, at(path, 3, i))
		}
		for i, e := range m.GetEnumType() {
			addEnum(name, e, at(path, 4, i))
		}
	}
	scope := protoreflect.FullName(file.GetPackage())
	for i, m := range file.GetMessageType() {
		addMessage(scope, m, at(nil, 4, i))
	}
	for i, e := range file.GetEnumType() {
		addEnum(scope, e, at(nil, 5, i))
	}
	for i, s := range file.GetService() {
		name := scope.Append(protoreflect.Name(s.GetName()))
		add(name, at(nil, 6, i))
		for j, m := range s.GetMethod() {
			add(name.Append(protoreflect.Name(m.GetName())), at(nil, 6, i, 2, j))
		}
	}
	return failed
}

// parseComment separates a comment from its lines for tools: directives of the
// linter and examples in JSON.
func parseComment(text string) (comment, error) {
	var c comment
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(strings.TrimPrefix(line, " "), " \t\r\n")
		if strings.HasPrefix(line, "buf:lint:") {
			continue
		}
		if value, ok := strings.CutPrefix(line, "Example:"); ok {
			value = strings.TrimSpace(value)
			if !json.Valid([]byte(value)) {
				return c, fmt.Errorf("%q is not JSON: write the value as in a request, on one line, a string in quotation marks", line)
			}
			c.examples = append(c.examples, json.RawMessage(value))
			continue
		}
		kept = append(kept, line)
	}
	c.text = strings.TrimSpace(strings.Join(kept, "\n"))
	return c, nil
}

// summary returns the first sentence, on one line, without its full stop.
func (c comment) summary() string {
	first, _, _ := strings.Cut(c.text, "\n\n")
	first = strings.Join(strings.Fields(first), " ")
	if i := strings.Index(first, ". "); i >= 0 {
		first = first[:i]
	}
	return strings.TrimSuffix(first, ".")
}
