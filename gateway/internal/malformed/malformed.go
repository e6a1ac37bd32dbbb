// Package malformed owns reading path, query and body of a request into its
// message where generated code does not, and explaining what is wrong with a
// request that makes no message. It leaves valid JSON to the runtime.
//
// The runtime and protojson decide what is malformed, but their errors name no
// field and change between releases. So each part of a refused request is given
// to them once more by itself, and the parts that they refuse are explained.
package malformed

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
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

	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
)

type violation = errdetails.BadRequest_FieldViolation

const (
	// maxViolations is the number of violations reported for one request.
	maxViolations = 10
	// maxExplained is the depth in a body to which violations are located: each
	// level parses everything below once more.
	maxExplained = 16
	// explainBytes is how much of a body is parsed once more to locate violations,
	// in addition to twice its length. The caller has not been authenticated yet
	// and must not cause much more work than a valid body.
	explainBytes = 1 << 20
	// acceptBytes is the cost of making a message, in addition to its bytes.
	acceptBytes = 64
)

// badRequest refuses a request for the fields of a part of it.
func badRequest(part string, list []*violation) *refusal.Refusal {
	first := list[0]
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, strings.TrimSpace(part+": "+strings.TrimSpace(first.Field+" "+first.Description)),
		&errdetails.BadRequest{FieldViolations: list})
}

// Request explains a request for a route that makes no message. body is the JSON
// body, nil if there is none.
func Request(rt *route.Route, params map[string]string, query map[string][]string, body []byte) *refusal.Refusal {
	m := route.MessageType(rt.Descriptor.Input()).New().Interface()
	var list violations
	list.params(m, rt, params)
	if len(list) > 0 {
		return badRequest("path", list)
	}
	list.query(m, query)
	if len(list) > 0 {
		return badRequest("query", list)
	}
	if body != nil {
		list.body(rt, body)
		if len(list) > 0 {
			return badRequest("request body", list)
		}
	}
	return refusal.New(http.StatusBadRequest, codes.InvalidArgument, "the request is malformed")
}

// JSON explains a message in JSON that a generated client sent, nil if nothing
// is wrong with it. Unknown fields are allowed.
func JSON(desc protoreflect.MessageDescriptor, content []byte) *refusal.Refusal {
	if !json.Valid(content) {
		return nil
	}
	var list violations
	list.explain(content, true).object("", desc, content, 0)
	if len(list) == 0 {
		return nil
	}
	return badRequest("request", list)
}

// Populate fills a message with what path and query contain, and refuses what
// the message cannot hold.
func Populate(rt *route.Route, m proto.Message, params map[string]string, query map[string][]string) *refusal.Refusal {
	var list violations
	list.params(m, rt, params)
	list.query(m, query)
	if len(list) == 0 {
		return nil
	}
	return badRequest("request", list)
}

type violations []*violation

func (l *violations) add(field, description string) {
	if len(*l) < maxViolations {
		*l = append(*l, &violation{Field: strings.ToValidUTF8(field, "\uFFFD"), Description: description})
	}
}

// params sets the fields that the path fills.
func (l *violations) params(m proto.Message, rt *route.Route, params map[string]string) {
	for _, name := range rt.Template.Variables {
		l.path(m, name, params[name])
	}
}

// path sets the field that a variable of the path fills.
func (l *violations) path(m proto.Message, name, value string) {
	field, _, _ := fieldAt(m.ProtoReflect().Descriptor(), name)
	values := []string{value}
	if field != nil && field.IsList() {
		values = strings.Split(value, ",") // like generated code
	}
	for _, value := range values {
		if runtime.PopulateFieldFromPath(m, name, value) != nil {
			l.add(name, mustBe(field, strconv.Quote(shortened(value))))
			return
		}
	}
}

// noFilter admits every parameter: Query has refused those that path or body
// fill.
var noFilter = utilities.NewDoubleArray(nil)

// query sets the fields that the parameters of a query fill.
func (l *violations) query(m proto.Message, query map[string][]string) {
	desc := m.ProtoReflect().Descriptor()
	seen := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		name, mapKey, _ := strings.Cut(key, "[")
		field, path, _ := fieldAt(desc, name)
		if field == nil {
			continue // refused by Query
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

// parameter describes which value of a parameter is malformed.
func (l *violations) parameter(field protoreflect.FieldDescriptor, mapKey, key string, values []string, desc protoreflect.MessageDescriptor) string {
	for _, value := range values {
		if runtime.PopulateQueryParameters(route.MessageType(desc).New().Interface(), map[string][]string{key: {value}}, noFilter) == nil {
			continue
		}
		shown := strconv.Quote(shortened(value))
		if !field.IsMap() {
			return mustBe(field, shown)
		}
		if runtime.PopulateQueryParameters(route.MessageType(desc).New().Interface(), map[string][]string{strings.TrimSuffix(key, mapKey+"]") + zeroKey(field) + "]": {value}}, noFilter) != nil {
			return mustBe(field.MapValue(), shown)
		}
		return "has the key " + strconv.Quote(shortened(mapKey)) + ", which must be " + form(field.MapKey())
	}
	return mustBe(field, strconv.Quote(shortened(strings.Join(values, ","))))
}

// zeroKey returns a valid key for the type of a map.
func zeroKey(field protoreflect.FieldDescriptor) string {
	switch field.MapKey().Kind() {
	case protoreflect.StringKind:
		return "a"
	case protoreflect.BoolKind:
		return "true"
	}
	return "0"
}

// setOneof returns the name of the field that excludes the one at a path, "" if
// none does.
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

// unknown is the problem of a name that is not that of a field.
const unknown = "is unknown: no field of the request has that name"

// fieldAt returns the field with a dotted name and its path in proto names, or why
// there is none.
func fieldAt(desc protoreflect.MessageDescriptor, dotted string) (field protoreflect.FieldDescriptor, path, problem string) {
	var outer string // name of field, as in dotted
	for name := range strings.SplitSeq(dotted, ".") {
		if field != nil && (field.IsList() || field.IsMap()) {
			return nil, "", "cannot be set: " + strconv.Quote(outer) + " is repeated"
		}
		if desc == nil {
			return nil, "", unknown
		}
		if field = fieldByName(desc, name); field == nil {
			return nil, "", unknown
		}
		path = below(path, string(field.Name()))
		desc, outer = field.Message(), name
	}
	return field, path, ""
}

// fieldByName returns the field with a proto or JSON name.
func fieldByName(desc protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if field := desc.Fields().ByName(protoreflect.Name(name)); field != nil {
		return field
	}
	return desc.Fields().ByJSONName(name)
}

// body explains a JSON body that makes no message.
func (l *violations) body(rt *route.Route, content []byte) {
	if rt.Body == "*" {
		l.explain(content, false).object("", rt.Descriptor.Input(), content, 0)
		return
	}
	if field := rt.Descriptor.Input().Fields().ByName(protoreflect.Name(rt.Body)); field != nil {
		l.explain(content, false).field(rt.Body, field, content, 0)
	}
}

// explain begins an explanation of JSON. lenient allows unknown fields.
func (l *violations) explain(content []byte, lenient bool) *explanation {
	return &explanation{violations: l, left: 2*len(content) + explainBytes, lenient: lenient}
}

// An explanation locates what is wrong with a body by parsing parts of it once
// more, up to a limit.
type explanation struct {
	*violations
	left    int // bytes that may still be parsed; below 0, the search ends
	lenient bool
}

func (e *explanation) over() bool { return e.left < 0 || len(*e.violations) >= maxViolations }

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
				e.add(below(path, shortened(member.name)), "is unknown: "+cmp.Or(path, "the message")+" has no field "+strconv.Quote(shortened(member.name)))
			}
			continue
		}
		at := below(path, string(field.Name()))
		if seen[field.Number()] {
			e.add(at, "is a duplicate: the field occurs twice")
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
		name, _ := json.Marshal(member.name) // cannot fail for a string
		switch {
		case e.over():
			return
		case seen[member.name]:
			e.add(at, "is a duplicate: the key occurs twice")
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

// refused finds the first element that protojson refuses, by bisection; -1 if
// there is none or the limit is reached.
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

// value explains a value that neither the field nor an element of it can hold.
func (e *explanation) value(at string, field protoreflect.FieldDescriptor, value []byte, depth int) {
	if desc := field.Message(); desc != nil && formOf(desc) == "" && depth < maxExplained {
		e.object(at, desc, value, depth+1)
		return
	}
	e.add(at, mustBe(field, shownJSON(value)))
}

// accepts reports whether protojson accepts the value of a field. It returns true
// once the limit is reached.
func (e *explanation) accepts(field protoreflect.FieldDescriptor, value []byte) bool {
	if e.left -= len(value) + acceptBytes; e.left < 0 {
		return true
	}
	m := route.MessageType(field.ContainingMessage()).New().Interface()
	return protojson.UnmarshalOptions{DiscardUnknown: e.lenient}.Unmarshal(fmt.Appendf(nil, "{%q:%s}", field.JSONName(), value), m) == nil
}

type member struct {
	name  string
	value json.RawMessage
}

// membersOf returns the members of a JSON object in order, duplicates included.
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
		m.name, _ = token.(string) // names are strings
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

func mustBe(field protoreflect.FieldDescriptor, shown string) string {
	if field == nil {
		return "is not valid: " + shown
	}
	return "must be " + form(field) + ", not " + shown
}

// shownJSON returns a client's value in the form that an error repeats.
func shownJSON(value []byte) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, shortened(string(value)))
}

// forms describe the well-known types whose JSON is not an object of their fields,
// without the wrappers of single values.
var forms = map[protoreflect.FullName]string{
	"google.protobuf.Any":       `a JSON object whose "@type" names a message that is known here`,
	"google.protobuf.Timestamp": `a time as in RFC 3339, such as "2026-01-02T03:04:05Z"`,
	"google.protobuf.Duration":  `a number of seconds and an s, such as "1.5s"`,
	"google.protobuf.FieldMask": "names of fields with commas between",
	"google.protobuf.Empty":     "{}",
	"google.protobuf.Struct":    "a JSON object",
	"google.protobuf.Value":     "a JSON value",
	"google.protobuf.ListValue": "a JSON array",
}

// formOf describes a message whose JSON is not an object of its fields, "" for all
// others.
func formOf(desc protoreflect.MessageDescriptor) string {
	if desc.ParentFile().Path() == "google/protobuf/wrappers.proto" {
		return form(desc.Fields().ByName("value"))
	}
	return forms[desc.FullName()]
}

// form describes a value of a field, or an element of it.
func form(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return formEnum(field.Enum().Values())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return fmt.Sprintf("a whole number from %d to %d", math.MinInt32, math.MaxInt32)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return fmt.Sprintf("a whole number from %d to %d", int64(math.MinInt64), int64(math.MaxInt64))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return fmt.Sprintf("a whole number from 0 to %d", uint32(math.MaxUint32))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return `a number, "NaN", "Infinity" or "-Infinity"`
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return cmp.Or(formOf(field.Message()), "a JSON object")
	}
	return "text in Unicode"
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
