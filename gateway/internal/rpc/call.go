package rpc

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/malformed"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/sanitize"
)

// call is the exchange of a generated client. connect-go writes to it.
type call struct {
	*exchange.Exchange
	header metadata.MD // for the server
	body   []byte      // JSON, nil if the body is Protobuf or compressed
	status int         // replaces the HTTP status of an error, unless 0
}

type callKey struct{}

// Flush implements http.Flusher, which connect-go requires for streams.
func (c *call) Flush() { _ = c.FlushError() } // a client that is gone ends the context

// WriteHeader sends the header. The status of an error may be more precise than
// the one of its code in Connect.
func (c *call) WriteHeader(code int) {
	if code >= 400 && c.status != 0 {
		code = c.status
	}
	c.Exchange.WriteHeader(code)
}

// refuse sends an error answer in the protocol of the client.
func (c *call) refuse(writer *connecthttp.ErrorWriter, r *http.Request, refused *refusal.Refusal) {
	c.status = refused.HTTP
	maps.Copy(c.Header(), c.RefusalHeader(refused))
	_ = writer.Write(c, r, connectError(refused.Status)) // the client is gone
}

// callUnary calls a method that answers with one message.
func (h *Handler) callUnary(m *method) connect.ServerFunc {
	return func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		c := ctx.Value(callKey{}).(*call)
		request, response := m.input.New().Interface(), m.output.New().Interface()
		if err := c.receive(stream, request); err != nil {
			return err
		}
		var header metadata.MD
		err := h.cfg.Conn.Invoke(metadata.NewOutgoingContext(ctx, c.header), m.route.RPC, request, response, grpc.Header(&header))
		answerHeader(ctx, header)
		if err != nil {
			return c.fail(ctx, err)
		}
		return c.sent(ctx, stream.Send(response))
	}
}

// sent returns the error of sending an answer. An answer that cannot be marshaled,
// which only a connection in this process delivers, is an internal error.
func (c *call) sent(ctx context.Context, err error) error {
	if connect.CodeOf(err) == connect.CodeInternal {
		return c.fail(ctx, status.Error(codes.Internal, err.Error()))
	}
	return err
}

// callStream calls a method that answers with a stream.
func (h *Handler) callStream(m *method) connect.ServerFunc {
	return func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		c := ctx.Value(callKey{}).(*call)
		request := m.input.New().Interface()
		if err := c.receive(stream, request); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, c.header))
		defer cancel() // ends the server's side if the client stops reading
		answers, err := h.cfg.Conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.route.RPC)
		if err != nil {
			return c.fail(ctx, err)
		}
		if err := answers.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // io.EOF: RecvMsg returns the error
			return c.fail(ctx, err)
		}
		if err := answers.CloseSend(); err != nil {
			return c.fail(ctx, err)
		}
		header, err := answers.Header()
		if err != nil {
			return c.fail(ctx, err)
		}
		answerHeader(ctx, header)
		if len(header) > 0 {
			// The server has accepted the call. Sending the header now tells the
			// client before the first message that it is connected. Without a header,
			// an error may follow, whose challenge must become a header field.
			if err := stream.SendHeaders(); err != nil {
				return err
			}
		}
		for {
			message := m.output.New().Interface()
			if err := answers.RecvMsg(message); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return c.fail(ctx, err)
			}
			if err := stream.Send(message); err != nil {
				return c.sent(ctx, err)
			}
		}
	}
}

// receive reads the message of the request. A message that is too long after
// decompression is refused like one that was sent so long. The body has arrived
// completely, so that any error is the client's; connect-go reports some errors of
// base64 and gzip as internal.
func (c *call) receive(stream connect.ServerStream, message proto.Message) error {
	err := stream.Receive(message)
	if err == nil {
		return nil
	}
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted:
		c.status = http.StatusRequestEntityTooLarge
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeInvalidArgument:
		if refused := malformed.JSON(message.ProtoReflect().Descriptor(), c.body); refused != nil {
			return connectError(refused.Status)
		}
		return connect.NewError(connect.CodeInvalidArgument, "the request could not be read").WithCause(err)
	}
	return err
}

// answerHeader sets the header fields that a REST client would get as well.
// Trailers are dropped.
func answerHeader(ctx context.Context, md metadata.MD) {
	info, _ := connect.CallInfoForServerContext(ctx)
	for key, values := range md {
		if name, ok := sanitize.ResponseHeader(key); ok {
			info.ResponseHeader().SetValues(name, values)
		}
	}
}

// fail returns what the client may see of an error of the server.
func (c *call) fail(ctx context.Context, err error) error {
	refused := c.RefusalOf(ctx, err)
	if refused.HTTP == http.StatusRequestEntityTooLarge {
		c.status = refused.HTTP
		refused.Status = status.New(codes.ResourceExhausted, refused.Status.Message()) // gRPC's code
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	info.ResponseHeader().Delete("Etag")
	for name, values := range c.RefusalHeader(refused) {
		info.ResponseHeader().SetValues(name, values)
	}
	return connectError(refused.Status)
}

// connectError returns a status as an error of Connect, which has gRPC's codes.
func connectError(st *status.Status) error {
	e := connect.NewError(connect.Code(st.Code()), st.Message())
	for _, detail := range st.Proto().GetDetails() {
		e = e.WithDetail(&connect.ErrorDetail{Type: string(detail.MessageName()), Value: detail.GetValue()})
	}
	return e
}
