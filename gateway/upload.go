package gateway

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
)

// chunkBytes is how much of an uploaded body one message holds at most.
const chunkBytes = 64 << 10

var errUpload = errors.New("gateway: the request body was not read to its end")

// An upload is a request body that becomes a stream of messages, each with the
// next bytes in its HttpBody. What path, query and header fill, and the content
// type, the first message has; there always is one.
type upload struct {
	g       *Gateway
	x       *exchange
	label   string // Content-Type
	first   proto.Message
	sending sync.WaitGroup

	whole atomic.Bool // the body has been read to its end
}

// serveUpload calls a method that takes a stream of HttpBody. Generated code
// has no part in it: that takes each body for JSON, leaves out what the path
// fills, and where both sides stream tells the server that a body which broke
// off was complete.
func (g *Gateway) serveUpload(x *exchange, r *http.Request) {
	rt := x.route
	label, refused := rawContentType(x.request.Header)
	if refused != nil {
		x.refuse(refused)
		return
	}
	u := &upload{g: g, x: x, label: label, first: messageType(rt.input).New().Interface()}
	if violations := rt.populate(u.first, x.params, x.query); violations != nil {
		x.refuse(badRequest("request", violations))
		return
	}
	if err := x.conditions.fill(u.first); err != nil {
		x.refuse(g.refusalOf(r.Context(), rt.RPC, err))
		return
	}
	var how format
	if rt.stream {
		how = rt.format(x.request.Header)
	}
	x.flow = g.newFlow(x, r, how)
	defer x.flow.close()
	// An answer may come before the body has ended.
	_ = http.NewResponseController(x.w).EnableFullDuplex() // HTTP/2 needs no asking
	ctx := x.flow.ctx
	call, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: rt.stream}, rt.RPC)
	if err != nil {
		x.refuse(g.refusalOf(ctx, rt.RPC, err))
		return
	}
	u.sending.Go(func() { u.send(ctx, call) })
	defer u.stop()
	if rt.stream {
		// Nothing is sent before there is an answer, or a header of one.
		header, err := call.Header()
		if err != nil {
			u.fail(ctx, header, err)
			return
		}
		u.header(header)
		g.run(ctx, x.flow)
		return
	}
	answer := messageType(rt.output).New().Interface()
	err = limited(call.RecvMsg(answer), nil)
	header, _ := call.Header()
	if err != nil {
		u.fail(ctx, header, err)
		return
	}
	u.header(header)
	u.answer(ctx, header, answer)
}

// send sends the body to its end. A body that breaks off ends the call instead:
// the server must not take it for a whole one.
func (u *upload) send(ctx context.Context, call grpc.ClientStream) {
	controller := http.NewResponseController(u.x.w)
	buffer := make([]byte, chunkBytes)
	message, label := u.first, u.label
	for {
		_ = controller.SetReadDeadline(time.Now().Add(u.g.timeout)) // a server that cannot has its own limits, or none
		n, err := u.x.request.Body.Read(buffer)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			u.breakOff(err)
			return
		}
		if n > 0 || end && message == u.first {
			u.fill(message, label, buffer[:n])
			if call.SendMsg(message) != nil {
				return // RecvMsg tells why
			}
			message, label = messageType(u.x.route.input).New().Interface(), ""
		}
		if end {
			u.end(call)
			return
		}
	}
}

func (u *upload) fill(m proto.Message, label string, data []byte) {
	r := m.ProtoReflect()
	if file := u.x.route.file; file != nil {
		r = r.Mutable(file).Message()
	}
	setHTTPBody(r, label, data)
}

// end says that all has been sent. A service that answers once has a limited
// time from then on.
func (u *upload) end(call grpc.ClientStream) {
	u.whole.Store(true)
	_ = http.NewResponseController(u.x.w).SetReadDeadline(time.Time{})
	if !u.x.route.stream {
		flow := u.x.flow
		slow := time.AfterFunc(u.g.timeout, func() { flow.cancel(errSlow) })
		context.AfterFunc(flow.ctx, func() { slow.Stop() })
	}
	_ = call.CloseSend() // RecvMsg tells
}

func (u *upload) breakOff(err error) {
	u.x.flow.broken.Store(unread(err))
	u.x.flow.cancel(errUpload)
}

// header begins the header of an answer.
func (u *upload) header(md metadata.MD) {
	h := u.x.Header()
	for key, values := range md {
		if name, ok := outgoingHeader(key); ok {
			h[name] = values
		}
	}
	u.hurry()
}

// hurry has the connection closed where an answer comes before the end of the
// body: what is left of that is read by nothing.
func (u *upload) hurry() {
	if !u.whole.Load() {
		u.x.Header().Set("Connection", "close")
	}
}

// answer answers with one message.
func (u *upload) answer(ctx context.Context, header metadata.MD, m proto.Message) {
	x, g := u.x, u.g
	var content []byte
	var err error
	if x.route.raw {
		var label string
		label, content = httpBody(m)
		x.Header().Set("Content-Type", label)
		_, err = x.rawHeader(header)
	} else {
		x.Header().Set("Content-Type", typeJSON)
		content, err = g.marshalAnswer(x.route, m)
	}
	if err != nil {
		g.abort(ctx, x, header, err)
		return
	}
	_ = g.tag(ctx, x, m)
	x.Header().Set("Content-Length", strconv.Itoa(len(content)))
	if x.status == 0 {
		x.WriteHeader(x.okStatus())
	}
	x.flow.write(content)
	_ = x.flow.flush() // a client that is gone misses it
}

// fail answers a call that has failed, of which the body may be the cause.
func (u *upload) fail(ctx context.Context, header metadata.MD, err error) {
	u.hurry()
	refused := u.g.refusalOf(ctx, u.x.route.RPC, err)
	if u.x.failedCondition(refused.status) {
		refused.http = http.StatusPreconditionFailed
	}
	u.x.unranged(refused, header)
	u.x.refuse(refused)
}

// stop ends the call, and the reading of the body, before the exchange does.
func (u *upload) stop() {
	u.x.flow.cancel(nil)
	if !u.whole.Load() {
		_ = http.NewResponseController(u.x.w).SetReadDeadline(time.Now())
	}
	u.sending.Wait()
}

// populate fills a message with what path and query say, and returns what of
// that the message cannot hold.
func (rt *route) populate(m proto.Message, params map[string]string, query map[string][]string) []*violation {
	var list violations
	for _, name := range rt.template.variables {
		list.path(m, name, params[name])
	}
	list.query(m, query)
	return list
}
