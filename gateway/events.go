package gateway

import (
	"bytes"
	"strconv"

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

// A format writes the messages of a stream, and the status that it ends with
// when it fails.
type format interface {
	// message writes a message whose JSON is data.
	message(b *bytes.Buffer, m proto.Message, data []byte)
	// failure writes a status whose JSON is data.
	failure(b *bytes.Buffer, st *status.Status, data []byte)
}

// lines are JSON values, each on a line of its own.
type lines struct{}

func (lines) message(b *bytes.Buffer, _ proto.Message, data []byte) {
	b.WriteString(`{"result":`)
	b.Write(data)
	b.WriteString("}\n")
}

func (lines) failure(b *bytes.Buffer, _ *status.Status, data []byte) {
	b.WriteString(`{"error":`)
	b.Write(data)
	b.WriteString("}\n")
}

// events are server-sent events (WHATWG HTML §9.2). A message is the data of
// an unnamed event, whose id is the message's resume_token. The last event is
// named: "end", or "error" with a google.rpc.Status. What a service puts off,
// saying when to come back, is an end with that as the reconnection time.
type events struct{}

func (events) message(b *bytes.Buffer, m proto.Message, data []byte) {
	if id := resumeToken(m); id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	b.Write(data) // JSON on one line
	b.WriteString("\n\n")
}

func (events) failure(b *bytes.Buffer, st *status.Status, data []byte) {
	if after := retryDelay(st); st.Code() == codes.Unavailable && after >= 0 {
		b.WriteString("event: end\nretry: " + strconv.FormatInt(after.Milliseconds(), 10) + "\n")
	} else {
		b.WriteString("event: error\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
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
