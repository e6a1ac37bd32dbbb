package gateway

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// channel is the connection as the gateway calls it, for REST and for RPCs. It
// bounds answers, tells gRPC's own limits from a service's, puts the conditions
// of a request into its message, and makes streams report a refusal before
// anything is written.
type channel struct {
	grpc.ClientConnInterface
	outputs map[string]protoreflect.MessageType // by full method, of streams
	limit   grpc.CallOption
}

func newChannel(conn grpc.ClientConnInterface, maxResponse int, methods []protoreflect.MethodDescriptor) *channel {
	c := &channel{conn, map[string]protoreflect.MessageType{}, grpc.MaxCallRecvMsgSize(maxResponse)}
	for _, method := range methods {
		if method.IsStreamingServer() {
			c.outputs[fullMethod(method)] = messageType(method.Output())
		}
	}
	return c
}

// Invoke makes a unary call.
func (c *channel) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	if err := calling(ctx, request); err != nil {
		return err
	}
	err := c.ClientConnInterface.Invoke(ctx, method, request, response, append(opts, c.limit)...)
	return limited(err, request)
}

// NewStream makes a call that streams.
func (c *channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cs, err := c.ClientConnInterface.NewStream(ctx, desc, method, append(opts, c.limit)...)
	if err != nil {
		return nil, err
	}
	output, ok := c.outputs[method]
	if !ok {
		return cs, nil // no REST client's: those are the stream's own
	}
	s := &stream{ClientStream: cs, output: output, ctx: ctx, oneRequest: !desc.ClientStreams}
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok && x.flow != nil {
		x.flow.answers = s
	}
	return s, nil
}

// calling is called with each message of a request before it is sent.
func calling(ctx context.Context, request any) error {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil
	}
	x.called = true
	return x.conditions.fill(request)
}

// stream is a server stream whose Header waits for the first message where the
// server has sent no header. Generated code asks for the header first, and the
// runtime then answers 200; a status that comes without a header (gRPC's
// "Trailers-Only") would be the first line of a success.
type stream struct {
	grpc.ClientStream
	output     protoreflect.MessageType
	ctx        context.Context
	oneRequest bool          // the client sends one message
	sent       any           // that message
	first      proto.Message // received by Header, not yet handed out
	ended      bool          // all has been received
}

func (s *stream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil || len(md) > 0 {
		return md, err
	}
	m := s.output.New().Interface()
	switch err := s.RecvMsg(m); {
	case errors.Is(err, io.EOF):
		s.ended = true
	case err != nil:
		return nil, err
	default:
		s.first = m
	}
	return md, nil
}

// SendMsg turns io.EOF into the error that ended the stream. A connection to
// gRPC does that itself where the client sends one message only; a channel in
// this process does not, and generated code would pass io.EOF on as the
// answer to a call that was refused before its request was read.
func (s *stream) SendMsg(m any) error {
	if !s.oneRequest {
		return s.ClientStream.SendMsg(m)
	}
	if err := calling(s.ctx, m); err != nil {
		return err
	}
	s.sent = m
	err := s.ClientStream.SendMsg(m)
	if !errors.Is(err, io.EOF) {
		return limited(err, m)
	}
	if err := s.ClientStream.RecvMsg(s.output.New().Interface()); err != nil && !errors.Is(err, io.EOF) {
		return limited(err, m)
	}
	return nil // it ended well, or goes on: reading tells
}

func (s *stream) RecvMsg(m any) error {
	if s.ended {
		return io.EOF
	}
	if first := s.first; first != nil {
		s.first = nil
		proto.Merge(m.(proto.Message), first)
		return nil
	}
	return limited(s.ClientStream.RecvMsg(m), s.sent)
}

// fullMethod is the name by which gRPC calls a method.
func fullMethod(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}
