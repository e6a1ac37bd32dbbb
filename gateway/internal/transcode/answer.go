package transcode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/condition"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/malformed"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/rawbody"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
)

// forward writes the messages of a stream in the place of the runtime, which
// calls it with a nil message before it reads them. The runtime then finds the
// stream at its end.
func (h *Handler) forward(ctx context.Context, _ http.ResponseWriter, m proto.Message) error {
	if c := callOf(ctx); c != nil && m == nil && c.flow != nil && c.answers != nil {
		h.run(ctx, c)
	}
	return nil
}

// run writes what the server sends until it ends.
func (h *Handler) run(ctx context.Context, c *call) {
	defer c.answers.End()
	if c.flow.Raw() {
		c.raw.Stream(ctx, c.flow, c.answers)
		return
	}
	// The server has accepted the call. Sending the header now tells the client
	// before the first message that it is connected.
	body, err := c.flow.Start()
	if err != nil {
		h.fail(ctx, c, err)
		return
	}
	for body {
		m, err := c.answers.Receive()
		if errors.Is(err, io.EOF) {
			c.flow.End()
			return
		}
		var data []byte
		if err == nil {
			data, err = h.marshal(nil, c.route, m)
		}
		if err == nil {
			err = c.flow.Message(m, data)
		}
		if err != nil {
			h.fail(ctx, c, err)
			return
		}
	}
}

// fail ends a stream of messages whose header has been sent.
func (h *Handler) fail(ctx context.Context, c *call, err error) {
	st := c.RefusalOf(ctx, err).Status
	data, err := h.json.Marshal(st.Proto())
	if err != nil { // cannot happen: what clients may see can be marshaled
		st = refusal.Internal().Status
		data = []byte(`{"code":13,"message":"internal error","details":[]}`)
	}
	c.flow.Fail(st, data)
}

// callError answers a call that failed, or a request from which generated code
// could not make a call.
func callError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, _ http.ResponseWriter, _ *http.Request, err error) {
	c := callOf(ctx)
	if c == nil { // a probe
		return
	}
	refused := c.RefusalOf(ctx, err)
	if custom, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		refused.HTTP = custom.HTTPStatus
		if refused.HTTP == http.StatusBadRequest {
			refused.Status = status.New(codes.InvalidArgument, custom.Error())
		}
	}
	switch {
	case !c.called: // generated code could not make a message of the request
		refused = malformed.Request(c.route, c.params, c.query, c.body)
	case c.conditions.Failed(refused.Status):
		refused.HTTP = http.StatusPreconditionFailed
	case c.raw != nil:
		md, _ := runtime.ServerMetadataFromContext(ctx)
		c.raw.Refuse(refused, md.HeaderMD)
	}
	c.Refuse(refused)
}

// checkRaw completes the header of an answer that is one HttpBody.
func checkRaw(ctx context.Context, _ http.ResponseWriter, m proto.Message) error {
	c := callOf(ctx)
	if c == nil || c.raw == nil || m == nil {
		return nil
	}
	md, _ := runtime.ServerMetadataFromContext(ctx)
	return c.raw.Check(md.HeaderMD, m)
}

// tag sets the entity tag of an answer, and completes the answer to a conditional
// GET that has no content.
func tag(ctx context.Context, _ http.ResponseWriter, m proto.Message) error {
	c := callOf(ctx)
	if c == nil || m == nil {
		return nil
	}
	value := condition.Tag(c.route, m)
	if value == "" {
		return nil
	}
	h := c.Header()
	if _, set := h["Etag"]; !set {
		h["Etag"] = []string{value}
	}
	switch {
	case c.conditions.Mismatched(value):
		c.Refuse(condition.Refusal())
		c.Done = true
	case c.conditions.NotModified(value):
		h.Del("Content-Type")
		c.WriteHeader(http.StatusNotModified)
		c.Done = true
	}
	return nil
}

// rendered is a complete answer. The runtime passes it to strictJSON.Marshal.
type rendered []byte

// render marshals a unary answer before the runtime does, which would write the
// error of one that cannot be marshaled to stderr.
func (h *Handler) render(ctx context.Context, m proto.Message) (any, error) {
	c := callOf(ctx)
	switch {
	case c == nil:
		return m, nil
	case c.Done: // 304, 412
		return &c.rendered, nil
	case c.raw != nil:
		_, c.rendered = rawbody.Content(m)
	default:
		buffer := buffers.Get().(*[]byte)
		data, err := h.marshal((*buffer)[:0], c.route, m)
		if err != nil {
			c.Refuse(c.RefusalOf(ctx, err))
			c.Done = true
			return &c.rendered, nil
		}
		c.rendered = bytes.Clone(data)
		if cap(data) <= maxBuffer {
			*buffer = data
			buffers.Put(buffer)
		}
	}
	c.length[0] = strconv.Itoa(len(c.rendered))
	c.Header()["Content-Length"] = c.length[:]
	return &c.rendered, nil
}

// buffers are memory in which JSON grows. An answer is a copy: a writer of the application around the
// gateway may keep what it is given, against the rules of io.Writer.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxBuffer bounds the bytes that a buffer keeps.
const maxBuffer = 64 << 10

// marshal appends a message of an answer to b as JSON, or the field of it that
// response_body names.
func (h *Handler) marshal(b []byte, rt *route.Route, m proto.Message) ([]byte, error) {
	part := rt.Part
	if part == nil {
		return h.json.append(b, m)
	}
	if part.Message() != nil && !part.IsList() && !part.IsMap() {
		return h.json.append(b, m.ProtoReflect().Get(part).Message().Interface())
	}
	whole, err := h.json.append(nil, m)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole, &members); err != nil {
		return nil, err
	}
	return members[part.JSONName()], nil
}
