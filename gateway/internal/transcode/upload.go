package transcode

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/flow"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/malformed"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/rawbody"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/upstream"
)

// lull is how long a client that has its answer may pause before the rest of its body is
// no longer waited for.
const lull = 250 * time.Millisecond

// chunkBytes is the maximum of a body that one message holds. With what else is in
// the message it fits into 32 KiB, above which gRPC takes buffers of 1 MiB.
const chunkBytes = 32<<10 - 512

var errUpload = errors.New("gateway: the request body was not read to its end")

// An upload is a request body that becomes a stream of messages, each with the
// next bytes in its HttpBody. The first message also has the content type and
// what path, query and header fill. It is sent even if the body is empty.
type upload struct {
	*call
	h       *Handler
	label   string // Content-Type
	first   proto.Message
	sending sync.WaitGroup

	whole atomic.Bool // the body has been read to its end
}

// serveUpload calls a method that takes a stream of HttpBody. It does not use
// generated code, which parses each body as JSON, ignores what the path fills,
// and, if both sides stream, reports a body that broke off as complete.
func (h *Handler) serveUpload(ctx context.Context, c *call) {
	rt := c.route
	label, refused := sanitize.ContentType(c.Request.Header)
	if refused != nil {
		c.Refuse(refused)
		return
	}
	u := &upload{call: c, h: h, label: label, first: route.MessageType(rt.Descriptor.Input()).New().Interface()}
	if refused := malformed.Populate(rt, u.first, c.params, c.query); refused != nil {
		c.Refuse(refused)
		return
	}
	if err := c.conditions.Fill(u.first); err != nil {
		c.Refuse(c.RefusalOf(ctx, err))
		return
	}
	format := flow.Raw
	if rt.Stream {
		format = c.format()
	}
	c.flow = h.cfg.Flows.Begin(ctx, c.Exchange, format)
	defer c.flow.Close()
	_ = c.Controller().EnableFullDuplex() // the answer may begin before the body ends; HTTP/2 allows it anyway
	ctx = c.flow.Context()
	if n := c.Request.ContentLength; n >= 0 { // a service can refuse a long file before it arrives
		ctx = metadata.AppendToOutgoingContext(ctx, "body-length", strconv.FormatInt(n, 10))
	}
	stream, err := h.cfg.Conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: rt.Stream}, rt.RPC)
	if err != nil {
		c.Refuse(c.RefusalOf(ctx, err))
		return
	}
	u.sending.Go(func() { u.send(stream) })
	defer u.stop()
	if rt.Stream {
		// Nothing is sent before the server answers, or sends a header.
		header, err := stream.Header()
		if err != nil {
			u.fail(ctx, header, err)
			return
		}
		u.header(header)
		h.run(ctx, c)
		return
	}
	answer := route.MessageType(rt.Descriptor.Output()).New().Interface()
	err = upstream.LimitError(stream.RecvMsg(answer), nil)
	header, _ := stream.Header()
	if err != nil {
		u.fail(ctx, header, err)
		return
	}
	u.header(header)
	u.answer(ctx, header, answer)
}

// send sends the body. A body that breaks off cancels the call, so that the server
// does not take it for a complete one.
func (u *upload) send(stream grpc.ClientStream) {
	controller := u.Controller()
	buffer := make([]byte, chunkBytes)
	message, label := u.first, u.label
	for {
		_ = controller.SetReadDeadline(time.Now().Add(u.Timeout())) // not every server supports it
		if u.flow.Context().Err() != nil {
			return // stop sets another deadline after it has canceled the call
		}
		n, err := u.Request.Body.Read(buffer)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			u.Override(exchange.BodyError(err))
			u.flow.Cancel(errUpload)
			return
		}
		if n > 0 || end && message == u.first {
			u.fill(message, label, buffer[:n])
			if stream.SendMsg(message) != nil {
				return // RecvMsg returns the error
			}
			message, label = route.MessageType(u.route.Descriptor.Input()).New().Interface(), ""
		}
		if end {
			u.end(stream)
			return
		}
	}
}

func (u *upload) fill(m proto.Message, label string, data []byte) {
	r := m.ProtoReflect()
	if field := u.route.BodyField; field != nil {
		r = r.Mutable(field).Message()
	}
	rawbody.SetContent(r, label, data)
}

// end ends the request. From then on, a service that answers once has a limited
// time.
func (u *upload) end(stream grpc.ClientStream) {
	u.whole.Store(true)
	_ = u.Controller().SetReadDeadline(time.Time{})
	if !u.route.Stream {
		slow := time.AfterFunc(u.Timeout(), func() { u.flow.Cancel(refusal.ErrSlow) })
		context.AfterFunc(u.flow.Context(), func() { slow.Stop() })
	}
	_ = stream.CloseSend() // RecvMsg returns the error
}

// header sets the header of an answer from metadata.
func (u *upload) header(md metadata.MD) {
	h := u.Header()
	for key, values := range md {
		if name, ok := sanitize.ResponseHeader(key); ok {
			h[name] = values
		}
	}
	u.closeConnection()
}

// closeConnection closes the connection after an answer that precedes the end of
// the body: nothing reads the rest.
func (u *upload) closeConnection() {
	if !u.whole.Load() {
		u.Header().Set("Connection", "close")
	}
}

// answer sends an answer of one message.
func (u *upload) answer(ctx context.Context, header metadata.MD, m proto.Message) {
	var content []byte
	var err error
	if u.raw != nil {
		var label string
		label, content = rawbody.Content(m)
		u.Header().Set("Content-Type", label)
		_, err = u.raw.Header(header)
	} else {
		u.Header().Set("Content-Type", httpheader.JSON)
		content, err = u.h.marshal(nil, u.route, m)
	}
	if err != nil {
		u.fail(ctx, header, err)
		return
	}
	_ = tag(ctx, u.Exchange, m)
	u.Header().Set("Content-Length", strconv.Itoa(len(content)))
	u.Begin()
	u.flow.Write(content)
	_ = u.flow.Flush() // a client that is gone misses it
}

// fail answers a call that failed.
func (u *upload) fail(ctx context.Context, header metadata.MD, err error) {
	u.closeConnection()
	refused := u.RefusalOf(ctx, err)
	if u.conditions.Failed(refused.Status) {
		refused.HTTP = http.StatusPreconditionFailed
	}
	if u.raw != nil {
		u.raw.Refuse(refused, header)
	}
	u.Refuse(refused)
}

// stop ends the call and the reading of the body. A read that waits for a client that
// is sending ends with the next bytes: a deadline would leave the body unreadable if it
// comes in chunks, and a connection that closes with unread bytes is reset, which loses the
// answer.
func (u *upload) stop() {
	u.flow.Cancel(nil)
	if !u.whole.Load() {
		if u.Begun() {
			_ = u.Controller().Flush()
		}
		_ = u.Controller().SetReadDeadline(time.Now().Add(lull))
	}
	u.sending.Wait()
}
