package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What is wrong with a request of which no message could be made. The runtime
// and protojson decide that; they say it in their own words, which differ from
// release to release, and name no field. So each part of the request is given
// to them once more, by itself, and what they refuse is named and explained.

type violation = errdetails.BadRequest_FieldViolation

const (
	// maxViolations is how many are told of one request.
	maxViolations = 10
	// maxExplained is how deep in a body a violation is looked for: each level
	// reads what lies below once more.
	maxExplained = 16
	// explainBytes is how much of a body is read once more to find what is wrong
	// with it, beside twice its length. The token has not been verified yet: a
	// caller must not cause many times the work that a good body is.
	explainBytes = 1 << 20
	// acceptBytes is what making a message counts beside its bytes.
	acceptBytes = 64
)

// badRequest refuses a request for its fields; of says what has them.
func badRequest(of string, list []*violation) *refusal {
	first := list[0]
	return refuse(http.StatusBadRequest, codes.InvalidArgument, strings.TrimSpace(of+": "+strings.TrimSpace(first.Field+" "+first.Description)),
		&errdetails.BadRequest{FieldViolations: list})
}

// malformed says what is wrong with a request that made no message.
func (x *exchange) malformed() *refusal {
	rt := x.route
	m := messageType(rt.input).New().Interface()
	var list violations
	for _, name := range rt.template.variables {
		list.path(m, name, x.params[name])
	}
	if len(list) > 0 {
		return badRequest("path", list)
	}
	list.query(m, x.query)
	if len(list) > 0 {
		return badRequest("query", list)
	}
	if x.body != nil {
		list.body(rt, x.body)
		if len(list) > 0 {
			return badRequest("request body", list)
		}
	}
	return refuse(http.StatusBadRequest, codes.InvalidArgument, "the request is malformed")
}

type violations []*violation

func (l *violations) add(field, description string) {
	if len(*l) < maxViolations {
		*l = append(*l, &violation{Field: strings.ToValidUTF8(field, "\uFFFD"), Description: description})
	}
}

func (l *violations) full() bool { return len(*l) >= maxViolations }

// path sets what a variable of the path fills.
func (l *violations) path(m proto.Message, name, value string) {
	field, _ := fieldAt(m.ProtoReflect().Descriptor(), name)
	values := []string{value}
	if field != nil && field.IsList() {
		values = strings.Split(value, ",") // as generated code does
	}
	for _, value := range values {
		if runtime.PopulateFieldFromPath(m, name, value) != nil {
			l.add(name, mustBe(field, strconv.Quote(shortened(value))))
			return
		}
	}
}

// noFilter lets every parameter through: route.query has refused those that
// path or body fill.
var noFilter = utilities.NewDoubleArray(nil)

// query sets what the parameters of a query do.
func (l *violations) query(m proto.Message, query map[string][]string) {
	keys := make([]string, 0, len(query))
	for key := range query {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	desc := m.ProtoReflect().Descriptor()
	seen := map[string]string{}
	for _, key := range keys {
		values := query[key]
		name, mapKey, _ := strings.Cut(key, "[")
		field, path := fieldAt(desc, name)
		if field == nil {
			continue // route.query has said so
		}
		if mapKey != "" {
			path += "[" + mapKey
		}
		if earlier, ok := seen[path]; ok {
			l.add(key, "is a duplicate of "+earlier)
			continue
		}
		seen[path] = key
		if len(values) > 1 && !field.IsList() {
			l.add(key, fmt.Sprintf("has %d values, and takes one", len(values)))
			continue
		}
		if runtime.PopulateQueryParameters(m, map[string][]string{key: values}, noFilter) == nil {
			continue
		}
		if other := setOneof(m, path); other != "" {
			l.add(key, "excludes "+other+", which is set as well")
			continue
		}
		l.add(key, l.parameter(field, strings.TrimSuffix(mapKey, "]"), key, values, desc))
	}
}

// parameter says which of a parameter's values is none.
func (l *violations) parameter(field protoreflect.FieldDescriptor, mapKey, key string, values []string, desc protoreflect.MessageDescriptor) string {
	for _, value := range values {
		if runtime.PopulateQueryParameters(messageType(desc).New().Interface(), map[string][]string{key: {value}}, noFilter) == nil {
			continue
		}
		shown := strconv.Quote(shortened(value))
		if !field.IsMap() {
			return mustBe(field, shown)
		}
		if runtime.PopulateQueryParameters(messageType(desc).New().Interface(), map[string][]string{strings.TrimSuffix(key, mapKey+"]") + zeroKey(field) + "]": {value}}, noFilter) != nil {
			return mustBe(field.MapValue(), shown)
		}
		return "has the key " + strconv.Quote(shortened(mapKey)) + ", which must be " + form(field.MapKey())
	}
	return mustBe(field, strconv.Quote(shortened(strings.Join(values, ","))))
}

// zeroKey is a key that every map of that type can have.
func zeroKey(field protoreflect.FieldDescriptor) string {
	switch field.MapKey().Kind() {
	case protoreflect.StringKind:
		return "a"
	case protoreflect.BoolKind:
		return "true"
	}
	return "0"
}

// setOneof names the field that excludes the one at a path, "" if none does.
func setOneof(m proto.Message, path string) string {
	r := m.ProtoReflect()
	for name := range strings.SplitSeq(path, ".") {
		field := r.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil {
			return ""
		}
		if of := field.ContainingOneof(); of != nil && !of.IsSynthetic() {
			if other := r.WhichOneof(of); other != nil && other.Number() != field.Number() {
				return string(other.Name())
			}
		}
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return ""
		}
		r = r.Get(field).Message()
	}
	return ""
}

// fieldAt finds the field that a dotted name leads to, and its path in proto
// names.
func fieldAt(desc protoreflect.MessageDescriptor, dotted string) (field protoreflect.FieldDescriptor, path string) {
	var names []string
	for name := range strings.SplitSeq(dotted, ".") {
		if desc == nil {
			return nil, ""
		}
		if field = fieldByName(desc, name); field == nil {
			return nil, ""
		}
		names = append(names, string(field.Name()))
		desc = field.Message()
	}
	return field, strings.Join(names, ".")
}

// fieldByName finds a field by either of its names.
func fieldByName(desc protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if field := desc.Fields().ByName(protoreflect.Name(name)); field != nil {
		return field
	}
	return desc.Fields().ByJSONName(name)
}

// body explains a body that is JSON, and none of the route's.
func (l *violations) body(rt *route, content []byte) {
	if rt.body == "*" {
		l.explain(content, false).object("", rt.input, content, 0)
		return
	}
	if field := rt.input.Fields().ByName(protoreflect.Name(rt.body)); field != nil {
		l.explain(content, false).field(rt.body, field, content, 0)
	}
}

// explain begins an explanation of JSON. lenient lets names pass that a message
// does not have.
func (l *violations) explain(content []byte, lenient bool) *explanation {
	return &explanation{violations: l, left: 2*len(content) + explainBytes, lenient: lenient}
}

// An explanation finds what is wrong with a body by reading parts of it once
// more, as far as the limit goes.
type explanation struct {
	*violations
	left    int // bytes that may still be read; below 0, nothing is looked for any more
	lenient bool
}

func (e *explanation) over() bool { return e.left < 0 || e.full() }

// object explains the members of a JSON object.
func (e *explanation) object(path string, desc protoreflect.MessageDescriptor, content []byte, depth int) {
	members, ok := membersOf(content)
	if !ok {
		e.add(path, "must be a JSON object, not "+shownJSON(content))
		return
	}
	seen := map[protoreflect.FieldNumber]bool{}
	chosen := map[protoreflect.Name]string{}
	for _, member := range members {
		if e.over() {
			return
		}
		field := fieldByName(desc, member.name)
		if field == nil {
			if !e.lenient {
				e.add(below(path, shortened(member.name)), "is unknown: "+nameOf(path)+" has no field "+strconv.Quote(shortened(member.name)))
			}
			continue
		}
		at := below(path, string(field.Name()))
		if seen[field.Number()] {
			e.add(at, "is a duplicate: the field is there twice")
			continue
		}
		seen[field.Number()] = true
		e.field(at, field, member.value, depth)
		if of := field.ContainingOneof(); of != nil && !of.IsSynthetic() && string(member.value) != "null" {
			if other, ok := chosen[of.Name()]; ok {
				e.add(at, "excludes "+other+", which is set as well")
			}
			chosen[of.Name()] = string(field.Name())
		}
	}
}

// field explains the value of one field.
func (e *explanation) field(at string, field protoreflect.FieldDescriptor, value []byte, depth int) {
	if e.accepts(field, value) {
		return
	}
	before := len(*e.violations)
	switch {
	case field.IsMap():
		e.entries(at, field, value, depth)
	case field.IsList():
		e.elements(at, field, value, depth)
	default:
		e.value(at, field, value, depth)
	}
	if len(*e.violations) > before {
		return
	}
	switch {
	case e.left < 0:
		e.add(at, "is malformed, and too large for its place to be looked for")
	case field.IsMap():
		e.add(at, "must be a JSON object, not "+shownJSON(value))
	case field.IsList():
		e.add(at, "must be a JSON array, of which each element is "+form(field)+", not "+shownJSON(value))
	default:
		e.add(at, mustBe(field, shownJSON(value)))
	}
}

// entries explains the members of a map.
func (e *explanation) entries(at string, field protoreflect.FieldDescriptor, value []byte, depth int) {
	members, ok := membersOf(value)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, member := range members {
		at := at + "[" + shortened(member.name) + "]"
		name, _ := json.Marshal(member.name) // of a string, which cannot fail
		switch {
		case e.over():
			return
		case seen[member.name]:
			e.add(at, "is a duplicate: the key is there twice")
		case e.accepts(field, fmt.Appendf(nil, "{%s:%s}", name, member.value)):
		case e.accepts(field, fmt.Appendf(nil, "{%q:%s}", zeroKey(field), member.value)) && e.left >= 0:
			e.add(at, "has the key "+strconv.Quote(shortened(member.name))+", which must be "+form(field.MapKey()))
		default:
			e.value(at, field.MapValue(), member.value, depth)
		}
		seen[member.name] = true
	}
}

// elements explains the elements of a list.
func (e *explanation) elements(at string, field protoreflect.FieldDescriptor, value []byte, depth int) {
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil {
		return
	}
	for i := 0; i < len(elements) && !e.over(); i++ {
		n := e.refused(field, elements[i:])
		if n < 0 {
			return
		}
		i += n
		e.value(at+"["+strconv.Itoa(i)+"]", field, elements[i], depth)
	}
}

// refused finds the first element that is none of a list's, by halves; -1 for
// none, or if the limit is reached.
func (e *explanation) refused(field protoreflect.FieldDescriptor, elements []json.RawMessage) int {
	accepts := func(part []json.RawMessage) bool {
		list := []byte{'['}
		for i, element := range part {
			if i > 0 {
				list = append(list, ',')
			}
			list = append(list, element...)
		}
		return e.accepts(field, append(list, ']'))
	}
	if accepts(elements) {
		return -1
	}
	first, end := 0, len(elements)
	for end-first > 1 {
		if half := (first + end) / 2; accepts(elements[first:half]) {
			first = half
		} else {
			end = half
		}
	}
	if e.left < 0 {
		return -1
	}
	return first
}

// value explains a value that is none of the field's, or of its elements'.
func (e *explanation) value(at string, field protoreflect.FieldDescriptor, value []byte, depth int) {
	if desc := field.Message(); desc != nil && forms[desc.FullName()] == "" && depth < maxExplained {
		e.object(at, desc, value, depth+1)
		return
	}
	e.add(at, mustBe(field, shownJSON(value)))
}

// accepts reports whether protojson takes a value for the whole of a field, or
// that may no more be asked.
func (e *explanation) accepts(field protoreflect.FieldDescriptor, value []byte) bool {
	if e.left -= len(value) + acceptBytes; e.left < 0 {
		return true
	}
	m := messageType(field.ContainingMessage()).New().Interface()
	return protojson.UnmarshalOptions{DiscardUnknown: e.lenient}.Unmarshal(fmt.Appendf(nil, "{%q:%s}", field.JSONName(), value), m) == nil
}

type member struct {
	name  string
	value json.RawMessage
}

// membersOf reads the members of a JSON object in their order, with those that
// are there twice.
func membersOf(content []byte) (members []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(content))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, false
		}
		m := member{}
		m.name, _ = token.(string) // as every name of a member is
		if err := d.Decode(&m.value); err != nil {
			return nil, false
		}
		members = append(members, m)
	}
	return members, true
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func nameOf(path string) string {
	if path == "" {
		return "the message"
	}
	return path
}

func mustBe(field protoreflect.FieldDescriptor, shown string) string {
	if field == nil {
		return "is not valid: " + shown
	}
	return "must be " + form(field) + ", not " + shown
}

// shownJSON is a value of a client's as it is repeated to it.
func shownJSON(value []byte) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, shortened(string(value)))
}

// forms are what the types of google.protobuf look like that are no object of
// their fields.
var forms = map[protoreflect.FullName]string{
	"google.protobuf.Any":         `a JSON object whose "@type" names a message that is known here`,
	"google.protobuf.Timestamp":   `a time as in RFC 3339, such as "2026-01-02T03:04:05Z"`,
	"google.protobuf.Duration":    `a number of seconds and an s, such as "1.5s"`,
	"google.protobuf.FieldMask":   "names of fields with commas between",
	"google.protobuf.Empty":       "{}",
	"google.protobuf.Struct":      "a JSON object",
	"google.protobuf.Value":       "a JSON value",
	"google.protobuf.ListValue":   "a JSON array",
	"google.protobuf.BoolValue":   formBool,
	"google.protobuf.BytesValue":  formBytes,
	"google.protobuf.DoubleValue": formFloat,
	"google.protobuf.FloatValue":  formFloat,
	"google.protobuf.Int32Value":  formInt32,
	"google.protobuf.Int64Value":  formInt64,
	"google.protobuf.StringValue": formString,
	"google.protobuf.UInt32Value": formUint32,
	"google.protobuf.UInt64Value": formUint64,
}

const (
	formBool   = "true or false"
	formBytes  = "bytes in base64"
	formFloat  = `a number, "NaN", "Infinity" or "-Infinity"`
	formString = "text in Unicode"
)

var (
	formInt32  = fmt.Sprintf("a whole number from %d to %d", math.MinInt32, math.MaxInt32)
	formInt64  = fmt.Sprintf("a whole number from %d to %d", int64(math.MinInt64), int64(math.MaxInt64))
	formUint32 = fmt.Sprintf("a whole number from 0 to %d", uint32(math.MaxUint32))
	formUint64 = fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64))
)

// form says what a value of a field, or an element of it, looks like.
func form(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return formBool
	case protoreflect.EnumKind:
		return formEnum(field.Enum().Values())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return formInt32
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return formInt64
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return formUint32
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return formUint64
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return formFloat
	case protoreflect.BytesKind:
		return formBytes
	case protoreflect.MessageKind, protoreflect.GroupKind:
		if known := forms[field.Message().FullName()]; known != "" {
			return known
		}
		return "a JSON object"
	}
	return formString
}

func formEnum(values protoreflect.EnumValueDescriptors) string {
	const most = 12
	var names []string
	for i := range min(values.Len(), most) {
		names = append(names, string(values.Get(i).Name()))
	}
	if values.Len() > most {
		names = append(names, "…")
	}
	return "one of " + strings.Join(names, ", ")
}
