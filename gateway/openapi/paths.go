package openapi

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A wildcard is a part of a path that differs between requests: one segment or
// several.
type wildcard struct {
	variable string // the field that the wildcard fills, or a part of it
	position int    // among the segments of the variable
	segments []string
	name     string // of the parameter in the document
}

// variable matches a variable of a path template, with or without its segments.
var variable = regexp.MustCompile(`\{([^{}=]+)(?:=([^{}]*))?\}`)

// variables returns the fields that a path template fills.
func variables(pattern string) (fields []string) {
	for _, found := range variable.FindAllStringSubmatch(pattern, -1) {
		fields = append(fields, found[1])
	}
	return fields
}

// path returns the path of a route in OpenAPI, where a parameter is one segment:
// /api/{name=things/*} becomes /api/things/{thing}, with the name in the pattern
// of the resource.
func (b *builder) path(r Route) (string, []*parameter) {
	var wildcards []*wildcard
	shape := variable.ReplaceAllStringFunc(r.Pattern, func(text string) string {
		found := variable.FindStringSubmatch(text)
		segments := []string{"*"}
		if found[2] != "" {
			segments = strings.Split(found[2], "/")
		}
		names := b.names(r.RPC, found[1], segments)
		written := slices.Clone(segments)
		for i, segment := range segments {
			if segment != "*" && segment != "**" {
				continue
			}
			wildcards = append(wildcards, &wildcard{found[1], i, segments, unique(wildcards, names[i])})
			written[i] = "{}"
		}
		return strings.Join(written, "/")
	})
	// Two templates that differ only in names are one path (OpenAPI 3.1 §4.8.8),
	// with the names of the first.
	path, known := b.paths[shape]
	if known {
		for i, name := range variables(path) {
			wildcards[i].name = name
		}
	} else {
		path = shape
		for _, w := range wildcards {
			path = strings.Replace(path, "{}", "{"+w.name+"}", 1)
		}
		b.paths[shape] = path
	}
	parameters := make([]*parameter, len(wildcards))
	for i, w := range wildcards {
		parameters[i] = b.pathParameter(r.RPC, w)
	}
	return path, parameters
}

// unique returns a name that no wildcard has: the name itself, or with a number from
// 2 on.
func unique(wildcards []*wildcard, name string) string {
	for i := 2; slices.ContainsFunc(wildcards, func(w *wildcard) bool { return w.name == name }); i++ {
		name = fmt.Sprintf("%s%d", strings.TrimRight(name, "0123456789"), i)
	}
	return name
}

// pathParameter returns the parameter of a wildcard. Only a wildcard that is the
// whole field has the field's type and rules; a part of a resource name is a string.
func (b *builder) pathParameter(rpc protoreflect.MethodDescriptor, w *wildcard) *parameter {
	p := &parameter{Name: w.name, In: "path", Required: true, Schema: &schema{Type: "string", MinLength: new(uint64(1))}}
	fd := fieldAt(rpc.Input(), w.variable)
	if fd == nil {
		return p
	}
	whole := strings.Join(w.segments, "/")
	switch {
	case whole == "*" && fd.Message() == nil:
		p.Schema = b.typeOf(fd, requests)
		constrain(p.Schema, fd, rulesOf(fd))
		bounded(p.Schema, fd)
		if p.Schema.Type == "string" && p.Schema.MinLength == nil {
			p.Schema.MinLength = new(uint64(1))
		}
		p.Description = b.comments[fd.FullName()].text
	case whole == "**":
		p.Description = paragraphs(b.comments[fd.FullName()].text, "It may have several segments; the slashes between them are not encoded.")
	default:
		p.Description = fmt.Sprintf("Part of `%s`, which is `%s`. %s", fd.JSONName(), whole, b.comments[fd.FullName()].text)
	}
	p.Example = part(w, b.examples(rpc, fd))
	return p
}

// examples returns the examples of a field, or of the name of the resource that the
// field refers to.
func (b *builder) examples(rpc protoreflect.MethodDescriptor, fd protoreflect.FieldDescriptor) []json.RawMessage {
	if found := b.comments[fd.FullName()].examples; found != nil {
		return found
	}
	if md := resourceOf(rpc, fd); md != nil {
		return b.comments[md.FullName().Append("name")].examples
	}
	return nil
}

// part returns the part of an example of the whole field that a wildcard matches.
func part(w *wildcard, examples []json.RawMessage) any {
	if len(examples) == 0 {
		return nil
	}
	var text string
	if json.Unmarshal(examples[0], &text) != nil {
		return examples[0]
	}
	if segments := strings.Split(text, "/"); len(segments) == len(w.segments) {
		return segments[w.position]
	}
	return text
}

// names returns names for the segments of a variable: those in the pattern of the
// resource that the field refers to, or the name of the field.
func (b *builder) names(rpc protoreflect.MethodDescriptor, field string, segments []string) []string {
	names := make([]string, len(segments))
	for i := range names {
		names[i] = field[strings.LastIndexByte(field, '.')+1:]
	}
	md := resourceOf(rpc, fieldAt(rpc.Input(), field))
	if md == nil {
		return names
	}
	for _, pattern := range resource(md).GetPattern() {
		parts := strings.Split(pattern, "/")
		if len(parts) != len(segments) {
			continue
		}
		found := slices.Clone(names)
		fits := true
		for i, p := range parts {
			if name, ok := strings.CutPrefix(p, "{"); ok && segments[i] == "*" {
				found[i] = strings.TrimSuffix(name, "}")
			} else if p != segments[i] {
				fits = false
			}
		}
		if fits {
			return found
		}
	}
	return names
}

// resource returns the declaration that a message is a resource (AIP-123), nil if
// there is none.
func resource(md protoreflect.MessageDescriptor) *annotations.ResourceDescriptor {
	r, _ := proto.GetExtension(md.Options(), annotations.E_Resource).(*annotations.ResourceDescriptor)
	return r
}

// refersTo reports whether a field of a request, or of the resource that is its
// body, names another resource.
func refersTo(request protoreflect.MessageDescriptor, body string) bool {
	for fd := range each(request.Fields()) {
		if reference(fd) != "" || body == string(fd.Name()) && fd.Message() != nil && refersTo(fd.Message(), "") {
			return true
		}
	}
	return false
}

// reference returns the type of the resource that a field names, "" for none.
func reference(fd protoreflect.FieldDescriptor) string {
	r, _ := proto.GetExtension(fd.Options(), annotations.E_ResourceReference).(*annotations.ResourceReference)
	return r.GetType()
}

// resourceOf returns the message of the resource that a field names: the message
// that has the field, or the one that the field refers to.
func resourceOf(rpc protoreflect.MethodDescriptor, fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd == nil {
		return nil
	}
	if resource(fd.ContainingMessage()) != nil {
		return fd.ContainingMessage()
	}
	wanted := reference(fd)
	if wanted == "" {
		return nil
	}
	files := []protoreflect.FileDescriptor{rpc.ParentFile()}
	for imported := range each(rpc.ParentFile().Imports()) {
		files = append(files, imported.FileDescriptor)
	}
	for _, file := range files {
		for md := range each(file.Messages()) {
			if resource(md).GetType() == wanted {
				return md
			}
		}
	}
	return nil
}

// fieldAt returns the field with a path in proto names, nil if there is none.
func fieldAt(md protoreflect.MessageDescriptor, path string) (fd protoreflect.FieldDescriptor) {
	for name := range strings.SplitSeq(path, ".") {
		if md == nil {
			return nil
		}
		if fd = md.Fields().ByName(protoreflect.Name(name)); fd == nil {
			return nil
		}
		md = fd.Message()
	}
	return fd
}

// query returns the query parameters of a route: the fields that neither path nor
// body fills. The gateway refuses parameters that name any other field.
func (b *builder) query(r Route) []*parameter {
	if r.Body == "*" {
		return nil
	}
	filled := variables(r.Pattern)
	if r.Body != "" {
		filled = append(filled, r.Body)
	}
	return b.fields(nil, r.RPC.Input(), "", "", true, filled)
}

// fields returns the parameters for the fields of a message. within are the
// messages around it: the recursion ends at a message that contains itself. path is
// that of the message in proto names, prefix the same in JSON names, each with a dot at
// its end. must is false within a message that may be omitted; filled are the paths of
// fields that path and body fill. Lists of messages have no form in a query.
func (b *builder) fields(within []protoreflect.FullName, md protoreflect.MessageDescriptor, path, prefix string, must bool, filled []string) (parameters []*parameter) {
	for fd := range each(md.Fields()) {
		at := path + string(fd.Name())
		if slices.Contains(filled, at) {
			continue
		}
		name := prefix + fd.JSONName()
		if message := fd.Message(); message != nil && !fd.IsMap() && wellKnown(message.FullName()) == nil {
			if !fd.IsList() && !slices.Contains(within, message.FullName()) {
				within := append(slices.Clone(within), md.FullName(), message.FullName())
				parameters = append(parameters, b.fields(within, message, at+".", name+".", must && needed(fd), filled)...)
			}
			continue
		}
		s := b.field(fd, requests)
		p := &parameter{Name: name, In: "query", Description: s.Description, Required: must && needed(fd), Deprecated: s.Deprecated, Schema: s}
		if fd.Message() != nil && fd.Message().FullName() == "google.protobuf.FieldMask" {
			p.Description = strings.Replace(p.Description, maskInJSON, maskInQuery, 1)
		}
		if len(s.Examples) > 0 {
			p.Example = s.Examples[0]
		}
		s.Description, s.Examples, s.Deprecated = "", nil, false
		if fd.IsMap() {
			p.Style, p.Explode = "deepObject", new(true)
		}
		parameters = append(parameters, p)
	}
	return parameters
}
