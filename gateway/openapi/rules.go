package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// rulesOf returns the rules of a field (buf.validate), nil if it has none or they
// are ignored.
func rulesOf(fd protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if rules.GetIgnore() == validate.Ignore_IGNORE_ALWAYS {
		return nil
	}
	return rules
}

// behaves reports whether a field is annotated with a behavior (AIP-203).
func behaves(fd protoreflect.FieldDescriptor, as annotations.FieldBehavior) bool {
	behaviors, _ := proto.GetExtension(fd.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(behaviors, as)
}

// needed reports whether a request must set the field.
func needed(fd protoreflect.FieldDescriptor) bool {
	return behaves(fd, annotations.FieldBehavior_REQUIRED) || rulesOf(fd).GetRequired()
}

// constrain narrows the schema of a field to its rules. It returns sentences for
// the description about the rules that JSON Schema cannot express.
//
// Rules that are ignored for the zero value (IGNORE_IF_ZERO_VALUE) become a schema of
// their own, beside the zero value. The rules of keys of maps are left out, as the
// names of properties have no schema here.
func constrain(s *schema, fd protoreflect.FieldDescriptor, rules *validate.FieldRules) (notes []string) {
	if rules == nil {
		return nil
	}
	target := s
	if rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE {
		target = &schema{}
	}
	switch m := typed(rules); {
	case fd.IsMap():
		target.MinProperties, target.MaxProperties = rules.GetMap().MinPairs, rules.GetMap().MaxPairs
		notes = constrain(s.Additional.(*schema), fd.MapValue(), rules.GetMap().GetValues())
	case fd.IsList():
		target.MinItems, target.MaxItems, target.UniqueItems = rules.GetRepeated().MinItems, rules.GetRepeated().MaxItems, rules.GetRepeated().GetUnique()
		notes = constrain(s.Items, element{fd}, rules.GetRepeated().GetItems())
	case m == nil:
	case fd.Kind() == protoreflect.StringKind:
		notes = text(target, rules.GetString())
	case fd.Kind() == protoreflect.BytesKind:
		notes = size(rules.GetBytes())
	case fd.Kind() == protoreflect.EnumKind:
		choose(target, m, func(v protoreflect.Value) any { return enumName(fd.Enum(), v) })
	case wide(fd):
		if words := number(target, m, func(v protoreflect.Value) any { return v.String() }); words != nil {
			notes = append(notes, sentence("It must be "+strings.Join(words, " and ")))
		}
	case fd.Message() == nil && fd.Kind() != protoreflect.BoolKind:
		number(target, m, func(v protoreflect.Value) any { return v.Interface() })
	}
	for _, rule := range rules.GetCel() {
		if rule.GetMessage() != "" {
			notes = append(notes, sentence("It "+rule.GetMessage()))
		}
	}
	switch {
	case target != s:
		if !reflect.ValueOf(*target).IsZero() {
			s.AnyOf = []*schema{isZero(fd), target}
		}
	case rules.GetRequired():
		refuseZero(s, fd)
	}
	return notes
}

// element is an element of a repeated field, as a field.
type element struct{ protoreflect.FieldDescriptor }

func (element) IsList() bool      { return false }
func (element) HasPresence() bool { return true }

// typed returns the rules for the type of a field, nil if there are none.
func typed(rules *validate.FieldRules) protoreflect.Message {
	m := rules.ProtoReflect()
	if which := m.WhichOneof(m.Descriptor().Oneofs().ByName("type")); which != nil {
		return m.Get(which).Message()
	}
	return nil
}

// rule returns the rule with a name in the rules of a type. ok is false if the type
// has no such rule or it is not set.
func rule(m protoreflect.Message, name protoreflect.Name) (protoreflect.Value, bool) {
	fd := m.Descriptor().Fields().ByName(name)
	if fd == nil || !m.Has(fd) {
		return protoreflect.Value{}, false
	}
	return m.Get(fd), true
}

// choose sets the rules const, in and not_in. value returns a value of the rules as
// the JSON of a request has it.
func choose(s *schema, m protoreflect.Message, value func(protoreflect.Value) any) {
	list := func(l protoreflect.List) (values []any) {
		for i := range l.Len() {
			values = append(values, value(l.Get(i)))
		}
		return values
	}
	if v, ok := rule(m, "const"); ok {
		s.Const = value(v)
	}
	if v, ok := rule(m, "in"); ok {
		s.Enum = list(v.List())
	}
	if v, ok := rule(m, "not_in"); ok {
		s.Not = &schema{Enum: list(v.List())}
	}
}

// formats are the formats of JSON Schema for the well-known strings of
// protovalidate.
var formats = map[protoreflect.Name]string{
	"email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6",
	"uri": "uri", "uri_ref": "uri-reference", "uuid": "uuid",
}

// text sets the rules of a string. JSON Schema has one pattern: a second one, and a
// well-known string without a format, becomes a sentence.
func text(s *schema, r *validate.StringRules) (notes []string) {
	s.MinLength, s.MaxLength, s.Pattern = r.MinLen, r.MaxLen, r.GetPattern()
	if r.Len != nil {
		s.MinLength, s.MaxLength = r.Len, r.Len
	}
	for _, part := range []struct{ name, before, text, after string }{
		{"begin with", "^", r.GetPrefix(), ""}, {"end with", "", r.GetSuffix(), "$"}, {"contain", "", r.GetContains(), ""},
	} {
		switch pattern := part.before + regexp.QuoteMeta(part.text) + part.after; {
		case part.text == "":
		case s.Pattern == "":
			s.Pattern = pattern
		default:
			notes = append(notes, sentence("It must "+part.name+" `"+part.text+"`"))
		}
	}
	m := r.ProtoReflect()
	choose(s, m, func(v protoreflect.Value) any { return v.String() })
	if kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("well_known")); kind != nil && kind.Kind() == protoreflect.BoolKind && m.Get(kind).Bool() {
		if s.Format = formats[kind.Name()]; s.Format == "" {
			notes = append(notes, sentence("It must be of the kind "+strings.ReplaceAll(string(kind.Name()), "_", " ")))
		}
	}
	return notes
}

// size returns the rules of bytes, whose length JSON Schema cannot express: it counts
// the characters of base64.
func size(r *validate.BytesRules) (notes []string) {
	switch {
	case r.Len != nil:
		notes = append(notes, fmt.Sprintf("It must be %d bytes long.", r.GetLen()))
	case r.MinLen != nil:
		notes = append(notes, fmt.Sprintf("It must be %d bytes long or longer.", r.GetMinLen()))
	}
	if r.MaxLen != nil {
		notes = append(notes, fmt.Sprintf("It must be %d bytes long or shorter.", r.GetMaxLen()))
	}
	return notes
}

// boundWords are the lower and upper limits in words.
var boundWords = map[protoreflect.Name]string{"gte": "at least ", "gt": "more than ", "lte": "at most ", "lt": "less than "}

// number sets the rules of a number, and returns its bounds in words: JSON Schema
// ignores those of a 64-bit number that is a string. value returns a number in JSON.
func number(s *schema, m protoreflect.Message, value func(protoreflect.Value) any) (words []string) {
	choose(s, m, value)
	lower, upper, gap := bounds(m)
	if gap {
		return nil // two ranges: possible with anyOf, but not used in practice
	}
	limit(s, lower, upper)
	for _, b := range []bound{lower, upper} {
		if b.name != "" {
			words = append(words, boundWords[b.name]+b.value.String())
		}
	}
	return words
}

// limit sets the limits of a number. JSON Schema ignores them for strings.
func limit(s *schema, lower, upper bound) {
	if lower.name != "" {
		s.Minimum = nil
		*map[protoreflect.Name]*any{"gte": &s.Minimum, "gt": &s.ExclusiveMinimum}[lower.name] = lower.value.Interface()
	}
	if upper.name != "" {
		s.Maximum = nil
		*map[protoreflect.Name]*any{"lte": &s.Maximum, "lt": &s.ExclusiveMaximum}[upper.name] = upper.value.Interface()
	}
}

// A bound is one limit of a number.
type bound struct {
	name  protoreflect.Name // "" for none
	value protoreflect.Value
}

// bounds returns the limits of a number. In protovalidate, a lower limit above the
// upper one excludes the range between them: gap.
func bounds(m protoreflect.Message) (lower, upper bound, gap bool) {
	for name, side := range map[protoreflect.Name]*bound{"gt": &lower, "gte": &lower, "lt": &upper, "lte": &upper} {
		if v, ok := rule(m, name); ok { // only one of each side can be set
			*side = bound{name, v}
		}
	}
	if lower.name != "" && upper.name != "" {
		gap = float(lower.value) > float(upper.value)
	}
	return lower, upper, gap
}

// float returns a number of any kind, for comparison. A difference that float64
// cannot represent counts as equal.
func float(v protoreflect.Value) float64 {
	f, _ := json.Number(v.String()).Float64()
	return f
}

// wide reports whether a number has 64 bits, and so is a string in JSON.
func wide(fd protoreflect.FieldDescriptor) bool {
	switch fd.Kind() {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return true
	}
	return false
}

// refuseZero excludes the zero value, which proto3 does not distinguish from an
// unset field.
func refuseZero(s *schema, fd protoreflect.FieldDescriptor) {
	atLeastOne := func(least **uint64) {
		if *least == nil || **least == 0 {
			*least = new(uint64(1))
		}
	}
	switch {
	case fd.IsMap():
		atLeastOne(&s.MinProperties)
	case fd.IsList():
		atLeastOne(&s.MinItems)
	case fd.HasPresence(): // presence is enough
	case fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind:
		if s.Enum == nil && s.Const == nil {
			atLeastOne(&s.MinLength)
		}
	case s.Not == nil:
		s.Not = isZero(fd)
	}
}

// isZero returns the schema of the zero value, in both forms of a 64-bit number.
func isZero(fd protoreflect.FieldDescriptor) *schema {
	if wide(fd) && !fd.IsList() && !fd.IsMap() {
		return &schema{Enum: []any{"0", 0}}
	}
	return &schema{Const: zero(fd)}
}

// zero returns the zero value of a field in JSON.
func zero(fd protoreflect.FieldDescriptor) any {
	switch {
	case fd.IsMap():
		return map[string]any{}
	case fd.IsList():
		return []any{}
	case fd.Kind() == protoreflect.BoolKind:
		return false
	case fd.Kind() == protoreflect.EnumKind:
		return string(fd.Enum().Values().Get(0).Name())
	case fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind:
		return ""
	case wide(fd):
		return "0"
	}
	return 0
}

// enumName returns the name of an enum value in a rule, or its number if the enum has
// no value with it.
func enumName(ed protoreflect.EnumDescriptor, v protoreflect.Value) any {
	number, ok := v.Interface().(protoreflect.EnumNumber)
	if !ok {
		number = protoreflect.EnumNumber(v.Int()) // the rules of an enum are int32
	}
	if value := ed.Values().ByNumber(number); value != nil {
		return string(value.Name())
	}
	return number
}

// sentence returns words with a full stop.
func sentence(words string) string {
	if !strings.HasSuffix(words, ".") {
		words += "."
	}
	return words
}
