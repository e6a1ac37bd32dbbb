package route

import (
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// etagPath returns the path of the field that If-Match fills, nil for none: the
// etag of the request message, or of the resource that is its body. A method
// that creates a resource (AIP-133) takes none, although the resource has the
// field: it has no state yet that a client could know.
func etagPath(method protoreflect.MethodDescriptor, httpMethod string, t Template, body string) []protoreflect.Name {
	input := method.Input()
	creates := httpMethod == http.MethodPost && (len(t.Variables) == 0 || strings.HasPrefix(string(method.Name()), "Create"))
	if creates {
		return nil
	}
	if StringField(input, ETagField) != nil {
		return []protoreflect.Name{ETagField}
	}
	field := input.Fields().ByName(protoreflect.Name(body))
	if field == nil || field.Message() == nil || field.IsList() || field.IsMap() || StringField(field.Message(), ETagField) == nil {
		return nil
	}
	inBody := slices.ContainsFunc(t.Variables, func(v string) bool { return strings.HasPrefix(v, body+".") })
	if httpMethod == http.MethodPost && !inBody {
		return nil
	}
	return []protoreflect.Name{field.Name(), ETagField}
}

// httpBodyField returns the field of a request that holds its HttpBody, nil if
// the message is one; raw reports whether the request has an HttpBody.
func httpBodyField(input protoreflect.MessageDescriptor, body string) (field protoreflect.FieldDescriptor, raw bool) {
	if body == "*" {
		return nil, input.FullName() == httpBodyName
	}
	field = input.Fields().ByName(protoreflect.Name(body))
	return field, field != nil && !field.IsList() && field.Message() != nil && field.Message().FullName() == httpBodyName
}

// StringField returns the singular string field with a name, nil if there is
// none.
func StringField(m protoreflect.MessageDescriptor, name protoreflect.Name) protoreflect.FieldDescriptor {
	field := m.Fields().ByName(name)
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() {
		return nil
	}
	return field
}

// FullMethod returns the name by which gRPC calls a method.
func FullMethod(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}

// MessageType returns the linked type of a message, or a dynamic one.
func MessageType(desc protoreflect.MessageDescriptor) protoreflect.MessageType {
	if linked, err := protoregistry.GlobalTypes.FindMessageByName(desc.FullName()); err == nil {
		return linked
	}
	return dynamicpb.NewMessageType(desc)
}
