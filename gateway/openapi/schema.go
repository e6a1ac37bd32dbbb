package openapi

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A role is the use of a message. An answer has all fields and no rules; a request
// has its required fields and rules; a patch may omit any field, because it is
// merged with the resource.
type role string

const (
	answers  role = ""
	requests role = "-input"
	patches  role = "-patch"
)

// schemas makes a component schema of each message and enum.
type schemas struct {
	comments comments
	answered map[protoreflect.FullName]bool // messages that answers contain
	made     map[string]*schema
}

// reference returns the schema of a message in a role: a reference to a component,
// or the schema of a well-known type.
func (b *schemas) reference(md protoreflect.MessageDescriptor, as role) *schema {
	if s := wellKnown(md.FullName()); s != nil {
		return s
	}
	name := string(md.FullName())
	if as == patches || as == requests && b.answered[md.FullName()] {
		name += string(as)
	}
	if b.made[name] == nil {
		s := &schema{}
		b.made[name] = s // before its fields: a message may contain itself
		b.message(s, md, as)
	}
	return &schema{Ref: "#/components/schemas/" + name}
}

// message sets the schema of a message, without the fields that path or query
// fill. JSON Schema could express a oneof with anyOf, which generators of clients turn
// into unions that are hard to use; a sentence names its fields instead.
func (b *schemas) message(s *schema, md protoreflect.MessageDescriptor, as role, without ...protoreflect.Name) {
	s.Type, s.Description = "object", b.comments[md.FullName()].text
	for fd := range each(md.Fields()) {
		if slices.Contains(without, fd.Name()) {
			continue
		}
		f := b.field(fd, as)
		// In an answer, null is a message that is not set. In a request, null is
		// allowed for every field that may be omitted.
		if unset := fd.HasPresence() && fd.ContainingOneof() == nil; !needed(fd) && (as != answers || unset) {
			f = nullable(f)
		}
		s.Properties.set(fd.JSONName(), f)
		if as == answers && fd.ContainingOneof() == nil || as == requests && needed(fd) {
			s.Required = append(s.Required, fd.JSONName())
		}
	}
	for oneof := range each(md.Oneofs()) {
		if oneof.IsSynthetic() {
			continue
		}
		var names []string
		for fd := range each(oneof.Fields()) {
			names = append(names, "`"+fd.JSONName()+"`")
		}
		s.Description = paragraphs(s.Description, "At most one of these is set: "+strings.Join(names, ", ")+".")
	}
	if as != answers {
		s.Additional = false // requests with unknown fields are refused; answers may get new fields
	}
}

// field returns the schema of a field, with its description. Rules and bounds narrow
// requests only: the server does not validate its answers, and a client that did would
// refuse old data after a rule was added.
func (b *schemas) field(fd protoreflect.FieldDescriptor, as role) *schema {
	s := b.typeOf(fd, as)
	about := b.comments[fd.FullName()]
	description := about.text
	if as != answers {
		if notes := constrain(s, fd, rulesOf(fd)); len(notes) > 0 {
			description = paragraphs(description, strings.Join(notes, " "))
		}
		bounded(s, fd)
		s.ReadOnly = behaves(fd, annotations.FieldBehavior_OUTPUT_ONLY)
	}
	s.Description = paragraphs(description, s.Description) // a well-known type has its own description
	s.Deprecated = deprecated(fd)
	for _, example := range about.examples {
		s.Examples = append(s.Examples, example)
	}
	return s
}

// typeOf returns the schema of the type of a field.
func (b *schemas) typeOf(fd protoreflect.FieldDescriptor, as role) *schema {
	switch {
	case fd.IsMap():
		return &schema{Type: "object", Additional: b.typeOf(fd.MapValue(), as)}
	case fd.IsList():
		return &schema{Type: "array", Items: b.typeOf(element{fd}, as)}
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return &schema{Type: "boolean"}
	case protoreflect.StringKind:
		return &schema{Type: "string"}
	case protoreflect.BytesKind:
		return &schema{Type: "string", ContentEncoding: "base64"}
	case protoreflect.EnumKind:
		return b.enum(fd.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return b.reference(fd.Message(), as)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &schema{Type: "integer", Format: "int32"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return &schema{Type: "integer", Format: "uint32"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return wideSchema("int64", "^-?[0-9]+$", as)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return wideSchema("uint64", "^[0-9]+$", as)
	case protoreflect.FloatKind:
		return float64Schema("float")
	default:
		return float64Schema("double")
	}
}

// wideSchema returns the schema of a 64-bit number: a string in answers, and a
// string or a number in requests.
func wideSchema(format, pattern string, as role) *schema {
	s := &schema{Type: "string", Format: format, Pattern: pattern}
	if as != answers {
		s.Type = []string{"string", "integer"}
	}
	return s
}

// float64Schema returns the schema of a number that may be infinite or NaN, which are
// strings in JSON.
func float64Schema(format string) *schema {
	return &schema{AnyOf: []*schema{{Type: "number", Format: format}, {Enum: []any{"NaN", "Infinity", "-Infinity"}}}}
}

// bounded sets the bounds of a number's type in a request, unless a rule has
// narrower ones.
func bounded(s *schema, fd protoreflect.FieldDescriptor) {
	bounds, ok := boundsOf[s.Format]
	if ok && s.AnyOf == nil { // of a rule that excludes the zero value
		if s.Minimum == nil && s.ExclusiveMinimum == nil {
			s.Minimum = bounds.least
		}
		if s.Maximum == nil && s.ExclusiveMaximum == nil {
			s.Maximum = bounds.most
		}
	}
	if fd.IsList() {
		bounded(s.Items, element{fd})
	}
}

// boundsOf are the bounds of the integer types, by the format of their schema.
var boundsOf = map[string]struct{ least, most any }{
	"int32":  {math.MinInt32, math.MaxInt32},
	"uint32": {0, math.MaxUint32},
	"int64":  {math.MinInt64, math.MaxInt64},
	"uint64": {0, uint64(math.MaxUint64)},
}

// nullable returns a schema that also allows null. A schema with one or more types
// gets one more; a reference, or a schema whose enum, const or anyOf would exclude
// null in spite of its type, becomes one of two alternatives. What describes the field
// moves to the outer schema.
func nullable(s *schema) *schema {
	name, one := s.Type.(string)
	several, _ := s.Type.([]string)
	switch {
	case several != nil && !slices.Contains(several, "null") && s.Enum == nil && s.Const == nil && s.AnyOf == nil:
		s.Type = slices.Concat(several, []string{"null"})
		return s
	case one && s.Enum == nil && s.Const == nil && s.AnyOf == nil:
		s.Type = []string{name, "null"}
		return s
	case s.Type != nil && !one || s.Ref == "" && s.AnyOf == nil && !one: // null is allowed already
		return s
	}
	wider := &schema{Description: s.Description, Deprecated: s.Deprecated, ReadOnly: s.ReadOnly, Examples: s.Examples}
	s.Description, s.Deprecated, s.ReadOnly, s.Examples = "", false, false, nil
	wider.AnyOf = []*schema{s, {Type: "null"}}
	return wider
}

// enum returns the schema of an enum: a reference to a component with the names and
// comments of its values.
func (b *schemas) enum(ed protoreflect.EnumDescriptor) *schema {
	if ed.FullName() == "google.protobuf.NullValue" {
		return &schema{Type: "null"}
	}
	name := string(ed.FullName())
	if b.made[name] == nil {
		s := &schema{Type: "string"}
		var meanings []string
		for v := range each(ed.Values()) {
			s.Enum = append(s.Enum, string(v.Name()))
			if text := b.comments[v.FullName()].text; text != "" {
				meanings = append(meanings, fmt.Sprintf("- `%s`: %s", v.Name(), strings.ReplaceAll(text, "\n", "\n  ")))
			}
		}
		s.Description = paragraphs(b.comments[ed.FullName()].text, strings.Join(meanings, "\n"))
		b.made[name] = s
	}
	return &schema{Ref: "#/components/schemas/" + name}
}

// Names in a field mask are in lower camel case in JSON. The runtime takes those
// in a query as proto names.
const maskInJSON, maskInQuery = "`someField`", "`some_field`"

// wellKnownSchemas are the schemas of messages whose JSON is not an object of their
// fields (ProtoJSON).
var wellKnownSchemas = map[protoreflect.FullName]schema{
	"google.protobuf.Timestamp": {Type: "string", Format: "date-time"},
	"google.protobuf.Duration":  {Type: "string", Pattern: `^-?[0-9]+(\.[0-9]{1,9})?s$`, Description: "A duration in seconds, such as `1.5s`."},
	"google.protobuf.FieldMask": {Type: "string", Description: "Names of fields (" + maskInJSON + "), separated by commas."},
	"google.protobuf.Empty":     {Type: "object"},
	"google.protobuf.Struct":    {Type: "object", Additional: &schema{}},
	"google.protobuf.Value":     {},
	"google.protobuf.ListValue": {Type: "array", Items: &schema{}},
	"google.protobuf.Any": {Type: "object", Required: []string{"@type"}, Additional: &schema{},
		Properties: object{{"@type", &schema{Type: "string", Description: "A URL whose last segment is the type of the other members."}}}},
	"google.protobuf.BoolValue":   {Type: []string{"boolean", "null"}},
	"google.protobuf.StringValue": {Type: []string{"string", "null"}},
	"google.protobuf.BytesValue":  {Type: []string{"string", "null"}, ContentEncoding: "base64"},
	"google.protobuf.Int32Value":  {Type: []string{"integer", "null"}},
	"google.protobuf.UInt32Value": {Type: []string{"integer", "null"}},
	"google.protobuf.Int64Value":  {Type: []string{"string", "null"}, Format: "int64"},
	"google.protobuf.UInt64Value": {Type: []string{"string", "null"}, Format: "uint64"},
	"google.protobuf.FloatValue":  {Type: []string{"number", "string", "null"}},
	"google.protobuf.DoubleValue": {Type: []string{"number", "string", "null"}},
}

// wellKnown returns the schema of a message whose JSON is not an object of its
// fields, nil for all others.
func wellKnown(name protoreflect.FullName) *schema {
	if s, ok := wellKnownSchemas[name]; ok {
		return &s
	}
	return nil
}

// collect records that answers contain the message and the messages in it. A message
// that no answer contains needs one schema only, without a suffix.
func (b *schemas) collect(md protoreflect.MessageDescriptor) {
	if b.answered[md.FullName()] || wellKnown(md.FullName()) != nil {
		return
	}
	b.answered[md.FullName()] = true
	for fd := range each(md.Fields()) {
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		if fd.Message() != nil {
			b.collect(fd.Message())
		}
	}
}

// deprecated reports whether a field or a method is deprecated.
func deprecated(d protoreflect.Descriptor) bool {
	options, ok := d.Options().(interface{ GetDeprecated() bool })
	return ok && options.GetDeprecated()
}

// paragraphs joins the texts that are not empty.
func paragraphs(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(t string) bool { return t == "" }), "\n\n")
}

// descriptors is a list of package protoreflect.
type descriptors[D any] interface {
	Len() int
	Get(int) D
}

// each returns an iterator over a list.
func each[D any](list descriptors[D]) func(func(D) bool) {
	return func(yield func(D) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}
