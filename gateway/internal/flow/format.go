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
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

var (
	heartbeat = []byte(":\n\n")
	endEvent  = []byte("event: end\ndata: {}\n\n")
)

// A Format is how the messages of a stream are written, and the status of one that
// fails.
type Format int

const (
	// Raw is the format of bytes without structure.
	Raw Format = iota
	// Lines is the format of JSON values, each on a line of its own.
	Lines
	// Events is the format of server-sent events (WHATWG HTML §9.2). A message is the
	// data of an unnamed event, whose id is the message's resume_token. The last event
	// has a name: "end", or "error" with a google.rpc.Status. UNAVAILABLE with
	// google.rpc.RetryInfo is an "end" with that delay as the reconnection time.
	Events
)

// kind returns the format as a kind of stream in metrics.
func (f Format) kind() string {
	switch f {
	case Events:
		return metrics.StreamEvents
	case Lines:
		return metrics.StreamLines
	}
	return metrics.StreamRaw
}

// message writes a message whose JSON is data.
func (f Format) message(b *bytes.Buffer, m proto.Message, data []byte) {
	if f == Lines {
		line(b, "result", data)
		return
	}
	if id := resumeToken(m); id != "" {
		b.WriteString("id: " + id + "\n")
	}
	event(b, data)
}

// failure writes a status whose JSON is data.
func (f Format) failure(b *bytes.Buffer, st *status.Status, data []byte) {
	if f == Lines {
		line(b, "error", data)
		return
	}
	if after := refusal.RetryDelay(st); st.Code() == codes.Unavailable && after >= 0 {
		b.WriteString("event: end\nretry: " + strconv.FormatInt(after.Milliseconds(), 10) + "\n")
	} else {
		b.WriteString("event: error\n")
	}
	event(b, data)
}

// line writes an object with one member.
func line(b *bytes.Buffer, name string, data []byte) {
	b.WriteString(`{"` + name + `":`)
	b.Write(data)
	b.WriteString("}\n")
}

// event ends an event with its data, which is JSON on one line.
func event(b *bytes.Buffer, data []byte) {
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
