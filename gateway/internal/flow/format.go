package flow

import (
	"bytes"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
)

var (
	heartbeat = []byte(":\n\n")
	endEvent  = []byte("event: end\ndata: {}\n\n")
)

// A Format writes the messages of a stream, and the status of one that fails.
type Format interface {
	// message writes a message whose JSON is data.
	message(b *bytes.Buffer, m proto.Message, data []byte)
	// failure writes a status whose JSON is data.
	failure(b *bytes.Buffer, st *status.Status, data []byte)
}

// Lines is the format of JSON values, each on a line of its own.
type Lines struct{}

func (Lines) message(b *bytes.Buffer, _ proto.Message, data []byte) {
	b.WriteString(`{"result":`)
	b.Write(data)
	b.WriteString("}\n")
}

func (Lines) failure(b *bytes.Buffer, _ *status.Status, data []byte) {
	b.WriteString(`{"error":`)
	b.Write(data)
	b.WriteString("}\n")
}

// Events is the format of server-sent events (WHATWG HTML §9.2). A message is the
// data of an unnamed event, whose id is the message's resume_token. The last event
// has a name: "end", or "error" with a google.rpc.Status. UNAVAILABLE with
// google.rpc.RetryInfo is an "end" with that delay as the reconnection time.
type Events struct{}

func (Events) message(b *bytes.Buffer, m proto.Message, data []byte) {
	if id := resumeToken(m); id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	b.Write(data) // JSON on one line
	b.WriteString("\n\n")
}

func (Events) failure(b *bytes.Buffer, st *status.Status, data []byte) {
	if after := refusal.RetryDelay(st); st.Code() == codes.Unavailable && after >= 0 {
		b.WriteString("event: end\nretry: " + strconv.FormatInt(after.Milliseconds(), 10) + "\n")
	} else {
		b.WriteString("event: error\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
}

// resumeToken returns the position of a message in its stream, "" if it has none
// or one that a header field cannot hold.
func resumeToken(m proto.Message) string {
	field := route.StringField(m.ProtoReflect().Descriptor(), route.ResumeField)
	if field == nil {
		return ""
	}
	if token := m.ProtoReflect().Get(field).String(); httpheader.IsPrintable(token) {
		return token
	}
	return ""
}
