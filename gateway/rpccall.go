package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// call is the exchange of a generated client, as connect-go writes to it.
type call struct {
	*exchange
	header metadata.MD // for the server
	status int         // takes the place of an error's HTTP status, unless 0
}

type callKey struct{}

// Flush implements http.Flusher, by which connect-go knows that an answer can
// be streamed.
func (c *call) Flush() { _ = c.FlushError() } // a client that is gone ends the context

// WriteHeader sends the header, with a status that says more than the one that
// Connect's code has.
func (c *call) WriteHeader(code int) {
	if code >= 400 && c.status != 0 {
		code = c.status
	}
	c.exchange.WriteHeader(code)
}

// refuse answers with an error in the client's own protocol.
func (c *call) refuse(writer *connecthttp.ErrorWriter, r *http.Request, refused *refusal) {
	c.status = refused.http
	for name, value := range refused.header(c.exchange) {
		c.Header()[name] = value
	}
	_ = writer.Write(c, r, connectError(refused.status)) // the client is gone
}

// messageType is the linked type of a message, or one made from its descriptor.
func messageType(desc protoreflect.MessageDescriptor) protoreflect.MessageType {
	if linked, err := protoregistry.GlobalTypes.FindMessageByName(desc.FullName()); err == nil {
		return linked
	}
	return dynamicpb.NewMessageType(desc)
}

// callUnary calls a method that answers with one message.
func (g *Gateway) callUnary(conn grpc.ClientConnInterface, m *rpc) connect.ServerFunc {
	return func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		c := ctx.Value(callKey{}).(*call)
		request, response := m.input.New().Interface(), m.output.New().Interface()
		if err := c.receive(stream, request); err != nil {
			return err
		}
		var header metadata.MD
		err := conn.Invoke(metadata.NewOutgoingContext(ctx, c.header), m.route.RPC, request, response, grpc.Header(&header))
		answerHeader(ctx, header)
		if err != nil {
			return g.rpcError(ctx, c, err)
		}
		return g.sent(ctx, c, stream.Send(response))
	}
}

// sent keeps to the log why an answer could not be written: only a channel in
// this process delivers such a one.
func (g *Gateway) sent(ctx context.Context, c *call, err error) error {
	if connect.CodeOf(err) == connect.CodeInternal {
		return g.rpcError(ctx, c, status.Error(codes.Internal, err.Error()))
	}
	return err
}

// callStream calls a method that answers with a stream.
func (g *Gateway) callStream(conn grpc.ClientConnInterface, m *rpc) connect.ServerFunc {
	return func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		c := ctx.Value(callKey{}).(*call)
		request := m.input.New().Interface()
		if err := c.receive(stream, request); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, c.header))
		defer cancel() // also the server's side, when the client takes no more
		answers, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.route.RPC)
		if err != nil {
			return g.rpcError(ctx, c, err)
		}
		if err := answers.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // io.EOF: RecvMsg tells why
			return g.rpcError(ctx, c, err)
		}
		if err := answers.CloseSend(); err != nil {
			return g.rpcError(ctx, c, err)
		}
		header, err := answers.Header()
		if err != nil {
			return g.rpcError(ctx, c, err)
		}
		answerHeader(ctx, header)
		if len(header) > 0 {
			// The server has let the caller in: it learns that it is connected
			// before the first message. Without a header, what comes first may
			// be a refusal, whose challenge is to go out as a header.
			if err := stream.SendHeaders(); err != nil {
				return err
			}
		}
		for {
			message := m.output.New().Interface()
			if err := answers.RecvMsg(message); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return g.rpcError(ctx, c, err)
			}
			if err := stream.Send(message); err != nil {
				return g.sent(ctx, c, err)
			}
		}
	}
}

// receive reads the request's one message. One that grows too long when it is
// decompressed is refused as one that came so long. It has arrived by now, so
// that whatever is wrong with it is the client's doing, which connect-go does not
// know of base64 and gzip.
func (c *call) receive(stream connect.ServerStream, message proto.Message) error {
	err := stream.Receive(message)
	if err == nil {
		return nil
	}
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted:
		c.status = http.StatusRequestEntityTooLarge
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeInvalidArgument:
		var list violations
		if json.Valid(c.body) {
			list.explain(c.body, true).object("", message.ProtoReflect().Descriptor(), c.body, 0)
		}
		if len(list) > 0 {
			return connectError(badRequest("request", list).status)
		}
		return connect.NewError(connect.CodeInvalidArgument, "the request could not be read").WithCause(err)
	}
	return err
}

// answerHeader passes on what a REST client would get of the server's header.
// Trailers stay inside.
func answerHeader(ctx context.Context, md metadata.MD) {
	info, _ := connect.CallInfoForServerContext(ctx)
	for key, values := range md {
		if name, ok := outgoingHeader(key); ok {
			info.ResponseHeader().SetValues(name, values)
		}
	}
}

// rpcError makes of an error of the server what the client may see of it.
func (g *Gateway) rpcError(ctx context.Context, c *call, err error) error {
	refused := g.refusalOf(ctx, c.route.RPC, err)
	if refused.http == http.StatusRequestEntityTooLarge {
		c.status = refused.http
		refused.status = status.New(codes.ResourceExhausted, refused.status.Message()) // as gRPC says it
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	info.ResponseHeader().Delete("Etag")
	for name, values := range refused.header(c.exchange) {
		info.ResponseHeader().SetValues(name, values)
	}
	return connectError(refused.status)
}

// connectError is a status in Connect's terms: the codes are gRPC's.
func connectError(st *status.Status) error {
	e := connect.NewError(connect.Code(st.Code()), st.Message())
	for _, detail := range st.Proto().GetDetails() {
		e = e.WithDetail(&connect.ErrorDetail{Type: string(detail.MessageName()), Value: detail.GetValue()})
	}
	return e
}
