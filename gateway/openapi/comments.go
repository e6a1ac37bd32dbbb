package openapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// comments are the comments of .proto files, by the full name of what they
// describe. Linked descriptors have none.
type comments map[protoreflect.FullName]comment

// A comment is a comment without its lines for tools.
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
		for _, l := range file.GetSourceCodeInfo().GetLocation() {
			text := cmp.Or(l.GetLeadingComments(), l.GetTrailingComments())
			name, ok := nameAt(file, l.GetPath())
			if text == "" || !ok {
				continue
			}
			found, err := parseComment(text)
			if err != nil {
				return nil, fmt.Errorf("%s: comment on %s: %w", file.GetName(), name, err)
			}
			c[name] = found
		}
	}
	return c, nil
}

// nameAt returns the full name of the message, field, enum, value, service or method
// at a path of SourceCodeInfo: pairs of a field number of descriptor.proto and an
// index. ok is false for every other path.
func nameAt(file *descriptorpb.FileDescriptorProto, path []int32) (name protoreflect.FullName, ok bool) {
	if len(path) == 0 || len(path)%2 != 0 {
		return "", false
	}
	name = protoreflect.FullName(file.GetPackage())
	m := file.ProtoReflect()
	for step := range slices.Chunk(path, 2) {
		field := m.Descriptor().Fields().ByNumber(protowire.Number(step[0]))
		if field == nil || !field.IsList() || field.Message() == nil {
			return "", false
		}
		list, index := m.Get(field).List(), int(step[1])
		if index < 0 || index >= list.Len() {
			return "", false
		}
		m = list.Get(index).Message()
		switch described := m.Interface().(type) {
		case *descriptorpb.EnumValueDescriptorProto: // values are siblings of their enum
			name = name.Parent().Append(protoreflect.Name(described.GetName()))
		case interface{ GetName() string }:
			name = name.Append(protoreflect.Name(described.GetName()))
		default:
			return "", false
		}
	}
	return name, true
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
