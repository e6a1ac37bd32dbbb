package gateway

import (
	"bytes"
	"strconv"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	heartbeat = []byte(":\n\n")
	endEvent  = []byte("event: end\ndata: {}\n\n")
)

// resumeField is the field by which the messages of a stream say where it can
// be resumed, and by which a request says where to.
const resumeField = "resume_token"

// events writes a stream as server-sent events (WHATWG HTML §9.2). A message is
// the data of an unnamed event, whose id is the message's resume_token. The
// last event is named: "end", or "error" with a google.rpc.Status. What a
// service puts off, saying when to come back, is an end with that as the
// reconnection time.
type events struct{ *marshaler }

// ContentType labels the stream.
func (*events) ContentType(any) string { return typeEvents }

// StreamContentType labels the stream.
func (*events) StreamContentType(any) string { return typeEvents }

// Delimiter is nothing: an event is written whole, or a heartbeat could come
// between its lines.
func (*events) Delimiter() []byte { return nil }

// Marshal writes what the runtime makes of a message, or of an error.
func (e *events) Marshal(v any) ([]byte, error) {
	var event bytes.Buffer
	switch chunk := v.(type) {
	case map[string]any:
		v = chunk["result"]
		if m, ok := v.(proto.Message); ok {
			if id := resumeToken(m); id != "" {
				event.WriteString("id: " + id + "\n")
			}
		}
	case map[string]proto.Message:
		v = chunk["error"]
		if st, ok := v.(*spb.Status); ok {
			event.WriteString(lastEvent(st))
		}
	}
	data, err := e.marshaler.Marshal(v)
	if err != nil {
		return nil, err
	}
	event.WriteString("data: ")
	event.Write(data) // JSON on one line
	event.WriteString("\n\n")
	return event.Bytes(), nil
}

func lastEvent(st *spb.Status) string {
	if after := retryDelay(status.FromProto(st)); st.GetCode() == int32(codes.Unavailable) && after >= 0 {
		return "event: end\nretry: " + strconv.FormatInt(after.Milliseconds(), 10) + "\n"
	}
	return "event: error\n"
}

// resumeToken is where a stream can be resumed after a message, "" if it does
// not say so, or in a way that neither an event nor a header can hold.
func resumeToken(m proto.Message) string {
	field := stringField(m.ProtoReflect().Descriptor(), resumeField)
	if field == nil {
		return ""
	}
	if token := m.ProtoReflect().Get(field).String(); isPrintable(token) {
		return token
	}
	return ""
}

// stringField finds a field that holds one string.
func stringField(m protoreflect.MessageDescriptor, name protoreflect.Name) protoreflect.FieldDescriptor {
	field := m.Fields().ByName(name)
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() {
		return nil
	}
	return field
}
