package schema

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	"github.com/gatehouse-dev/gatehouse/internal/test/openapitest"
)

// everything has a field of each kind, and fields with rules.
const everything = `
message_type { name: "Everything"
  field { name: "a_bool" json_name: "aBool" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "an_int32" json_name: "anInt32" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "an_int64" json_name: "anInt64" number: 3 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "a_uint32" json_name: "aUint32" number: 4 type: TYPE_FIXED32 label: LABEL_OPTIONAL }
  field { name: "a_uint64" json_name: "aUint64" number: 5 type: TYPE_UINT64 label: LABEL_OPTIONAL }
  field { name: "a_double" json_name: "aDouble" number: 6 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
  field { name: "a_text" json_name: "aText" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "bytes" json_name: "bytes" number: 8 type: TYPE_BYTES label: LABEL_OPTIONAL }
  field { name: "colour" json_name: "colour" number: 9 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".PKG.Colour" }
  field { name: "itself" json_name: "itself" number: 10 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".PKG.Everything" }
  field { name: "texts" json_name: "texts" number: 11 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "counts" json_name: "counts" number: 12 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".PKG.Everything.CountsEntry" }
  field { name: "at" json_name: "at" number: 13 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Timestamp" }
  field { name: "within" json_name: "within" number: 14 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Duration" }
  field { name: "mask" json_name: "mask" number: 15 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.FieldMask" }
  field { name: "any" json_name: "any" number: 16 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Any" }
  field { name: "struct" json_name: "struct" number: 17 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Struct" }
  field { name: "value" json_name: "value" number: 18 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Value" }
  field { name: "wrapped" json_name: "wrapped" number: 19 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Int64Value" }
  field { name: "empty" json_name: "empty" number: 20 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Empty" }
  field { name: "either" json_name: "either" number: 21 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "or" json_name: "or" number: 22 type: TYPE_INT32 label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "maybe" json_name: "maybe" number: 23 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 1 proto3_optional: true }
  oneof_decl { name: "choice" }
  oneof_decl { name: "_maybe" }
  nested_type { name: "CountsEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
  }
}
message_type { name: "Ruled"
  field { name: "name" json_name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { required: true string { max_len: 5 } } } }
  field { name: "code" json_name: "code" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { string { pattern: "^[a-z]*$" } } } }
  field { name: "id" json_name: "id" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { ignore: IGNORE_IF_ZERO_VALUE string { uuid: true } } } }
  field { name: "currency" json_name: "currency" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { ignore: IGNORE_IF_ZERO_VALUE string { in: ["CHF", "EUR"] } } } }
  field { name: "tempo" json_name: "tempo" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL options { [buf.validate.field] { ignore: IGNORE_IF_ZERO_VALUE int32 { gte: 20 lt: 400 } } } }
  field { name: "share" json_name: "share" number: 6 type: TYPE_UINT32 label: LABEL_OPTIONAL options { [buf.validate.field] { uint32 { lte: 100 not_in: [13] } } } }
  field { name: "colour" json_name: "colour" number: 7 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".PKG.Colour" options { [buf.validate.field] { enum { not_in: [2] defined_only: true } } } }
  field { name: "tags" json_name: "tags" number: 8 type: TYPE_STRING label: LABEL_REPEATED options { [buf.validate.field] { repeated { max_items: 2 unique: true items { string { min_len: 2 } } } } } }
  field { name: "sizes" json_name: "sizes" number: 9 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".PKG.Ruled.SizesEntry" options { [buf.validate.field] { map { max_pairs: 1 values { int32 { gt: 0 } } } } } }
  field { name: "inner" json_name: "inner" number: 10 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".PKG.Inner" }
  field { name: "prefixed" json_name: "prefixed" number: 11 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { ignore: IGNORE_IF_ZERO_VALUE string { prefix: "a.b" } } } }
  field { name: "free" json_name: "free" number: 12 type: TYPE_STRING label: LABEL_OPTIONAL options { [buf.validate.field] { ignore: IGNORE_ALWAYS string { max_len: 1 } } } }
  nested_type { name: "SizesEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  }
}
message_type { name: "Inner"
  field { name: "colour" json_name: "colour" number: 1 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".PKG.Colour" options { [buf.validate.field] { required: true } } }
}
enum_type { name: "Colour"
  value { name: "COLOUR_UNSPECIFIED" number: 0 }
  value { name: "COLOUR_RED" number: 1 }
  value { name: "COLOUR_BLUE" number: 2 }
}
service { name: "S"
  method { name: "Echo" input_type: ".PKG.Everything" output_type: ".PKG.Everything" options { [google.api.http] { post: "/api/echo" body: "*" } } }
  method { name: "Rule" input_type: ".PKG.Ruled" output_type: ".google.protobuf.Empty" options { [google.api.http] { post: "/api/rule" body: "*" } } }
}
`

// document returns the OpenAPI document of a file's methods.
func document(t *testing.T, file protoreflect.FileDescriptor) map[string]any {
	t.Helper()
	content, err := openapi.Document(openapi.Config{Title: "T", Version: "1", Routes: openapitest.Routes(file)})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// schemaOf compiles a component of the document.
func schemaOf(t *testing.T, doc map[string]any, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat() // so that uuid is checked
	if err := c.AddResource("mem://doc.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem://doc.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parsed(t *testing.T, content string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return v
}

// full is a message with a field of every kind, as a request may contain it.
const full = `{"aBool":true,"anInt32":-5,"anInt64":"-9223372036854775808","aUint32":4294967295,"aUint64":"18446744073709551615","aDouble":1.5,
	"aText":"x","bytes":"AAEC","colour":"COLOUR_RED","itself":{"aText":"y"},"texts":["a","b"],"counts":{"k":"5"},"at":"2026-03-01T09:30:00Z",
	"within":"1.500s","mask":"aText,anInt32","any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"2s"},
	"struct":{"a":[1,null]},"value":null,"wrapped":"7","empty":{},"or":3,"maybe":""}`

// TestAnswers: messages as the gateway writes them, unset fields included, are valid by the schema,
// and other messages are not.
func TestAnswers(t *testing.T) {
	t.Parallel()
	file, _ := openapitest.Declare(t, everything)
	doc := document(t, file)
	md := file.Messages().ByName("Everything")
	schema := schemaOf(t, doc, string(md.FullName()))
	for name, content := range map[string]string{"nothing": "{}", "everything": full, "not a number": `{"aDouble":"NaN"}`, "the other one": `{"either":""}`} {
		m := dynamicpb.NewMessage(md)
		if err := protojson.Unmarshal([]byte(content), m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		written, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(parsed(t, string(written))); err != nil {
			t.Errorf("%s: %s\n%v", name, written, err)
		}
		// Each member that is always written is required.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(written, &members); err != nil {
			t.Fatal(err)
		}
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			without := make(map[string]json.RawMessage, len(members))
			for key, value := range members {
				if key != fd.JSONName() {
					without[key] = value
				}
			}
			rest, err := json.Marshal(without)
			if err != nil {
				t.Fatal(err)
			}
			if always := fd.ContainingOneof() == nil; always == (schema.Validate(parsed(t, string(rest))) == nil) {
				t.Errorf("%s: always written is %v, and the schema says otherwise", fd.Name(), always)
			}
		}
	}
	for _, wrong := range []string{`"anInt64":5`, `"aBool":"yes"`, `"colour":"COLOUR_GREEN"`, `"at":"yesterday"`, `"texts":null`, `"aText":null`, `"counts":{"k":5}`} {
		m := dynamicpb.NewMessage(md)
		written, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(wrong, ":")
		v := parsed(t, string(written)).(map[string]any)
		maps.Copy(v, parsed(t, "{"+wrong+"}").(map[string]any))
		if schema.Validate(v) == nil {
			t.Errorf("%s is never written like %s, and the schema lets it pass", name, wrong)
		}
	}
}

// TestRequests: the schema accepts what the server accepts and nothing else. The rules are
// protovalidate's, which is asked as well.
func TestRequests(t *testing.T) {
	t.Parallel()
	file, _ := openapitest.Declare(t, everything)
	doc := document(t, file)
	judge := func(md protoreflect.MessageDescriptor, component, content string) (server, schema error) {
		m := dynamicpb.NewMessage(md)
		if server = protojson.Unmarshal([]byte(content), m); server == nil {
			server = protovalidate.Validate(m)
		}
		return server, schemaOf(t, doc, component).Validate(parsed(t, content))
	}
	all, ruled := file.Messages().ByName("Everything"), file.Messages().ByName("Ruled")
	for content, good := range map[string]bool{
		full: true, `{}`: true, `{"texts":null,"aText":null,"itself":null,"colour":null}`: true,
		`{"itself":{"itself":{"aText":1}}}`: false, `{"unknown":1}`: false, `{"anInt32":2147483648}`: false, `{"aUint32":-1}`: false,
		`{"anInt64":"1.5"}`: false, `{"anInt64":5}`: true, `{"anInt64":1.5}`: false, `{"anInt64":10000000000000000000}`: false, `{"aUint64":-1}`: false,
		`{"aUint64":18446744073709551615}`: true, `{"counts":{"k":5}}`: true, `{"colour":"RED"}`: false, `{"texts":[null]}`: false, `{"within":"5"}`: false, `{"any":{}}`: true,
	} {
		server, schema := judge(all, string(all.FullName())+"-input", content)
		if content == `{"any":{}}` { // an Any without a type is empty, which the schema does not promise
			schema = nil
		}
		if (server == nil) != good || (schema == nil) != good {
			t.Errorf("%s: good is %v\nthe server says %v\nthe schema says %v", content, good, server, schema)
		}
	}
	with := func(member string) string { return `{"name":"x",` + member + `}` }
	for content, good := range map[string]bool{
		`{"name":"x"}`: true, `{}`: false, `{"name":""}`: false, `{"name":null}`: false, `{"name":"äöüßé"}`: true, `{"name":"123456"}`: false,
		with(`"code":"abc"`): true, with(`"code":"ABC"`): false, with(`"code":""`): true,
		with(`"id":""`): true, with(`"id":null`): true, with(`"id":"x"`): false, with(`"id":"2a6b7c2d-3e4f-4a6b-8c2d-1e4f5a6b7c2d"`): true,
		with(`"currency":"EUR"`): true, with(`"currency":""`): true, with(`"currency":"XXX"`): false,
		with(`"tempo":0`): true, with(`"tempo":19`): false, with(`"tempo":20`): true, with(`"tempo":399`): true, with(`"tempo":400`): false, with(`"tempo":null`): true,
		with(`"share":100`): true, with(`"share":101`): false, with(`"share":13`): false, with(`"share":-1`): false,
		with(`"colour":"COLOUR_RED"`): true, with(`"colour":"COLOUR_BLUE"`): false,
		with(`"tags":["aa","bb"]`): true, with(`"tags":["aa","aa"]`): false, with(`"tags":["a"]`): false, with(`"tags":["aa","bb","cc"]`): false,
		with(`"sizes":{"a":1}`): true, with(`"sizes":{"a":0}`): false, with(`"sizes":{"a":1,"b":2}`): false,
		with(`"inner":{"colour":"COLOUR_RED"}`): true, with(`"inner":{}`): false, with(`"inner":{"colour":"COLOUR_UNSPECIFIED"}`): false, with(`"inner":null`): true,
		with(`"prefixed":"a.bc"`): true, with(`"prefixed":"axbc"`): false,
		with(`"free":"longer"`): true,
	} {
		server, schema := judge(ruled, string(ruled.FullName()), content)
		if (server == nil) != good || (schema == nil) != good {
			t.Errorf("%s: good is %v\nthe server says %v\nthe schema says %v", content, good, server, schema)
		}
	}
}
