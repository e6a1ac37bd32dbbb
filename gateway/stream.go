package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// channel is the connection as generated code gets it. It makes streams report
// a refusal before anything is written.
type channel struct {
	grpc.ClientConnInterface
	outputs map[string]protoreflect.MessageType // by full method, of streams
	filled  map[string]bool                     // by full method, where something of a request's header belongs into its message
}

func newChannel(conn grpc.ClientConnInterface, routes []*route) *channel {
	c := &channel{conn, map[string]protoreflect.MessageType{}, map[string]bool{}}
	for _, rt := range routes {
		if rt.takesETag() || rt.resumable {
			c.filled[rt.RPC] = true
		}
		if !rt.stream {
			continue
		}
		output, err := protoregistry.GlobalTypes.FindMessageByName(rt.output.FullName())
		if err != nil {
			output = dynamicpb.NewMessageType(rt.output)
		}
		c.outputs[rt.RPC] = output
	}
	return c
}

func (c *channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	output, ok := c.outputs[method]
	if err != nil || !ok {
		return s, err
	}
	return &stream{ClientStream: s, output: output, ctx: ctx}, nil
}

// stream is a server stream whose Header waits for the first message where the
// server has sent no header. Generated code asks for the header first, and the
// runtime then answers 200; a status that comes without a header (gRPC's
// "Trailers-Only") would be the first line of a success.
type stream struct {
	grpc.ClientStream
	output protoreflect.MessageType
	ctx    context.Context
	first  proto.Message // received by Header, not yet handed out
	ended  bool          // without a message, found by Header
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
	if err := fill(s.ctx, m); err != nil {
		return err
	}
	err := s.ClientStream.SendMsg(m)
	if !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.ClientStream.RecvMsg(s.output.New().Interface()); err != nil && !errors.Is(err, io.EOF) {
		return err
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
	return s.ClientStream.RecvMsg(m)
}

// commitStream sends the header of a stream as soon as the server has let the
// caller in: the runtime calls it with no message then. Until the first
// message a client would not know that it is connected.
func (g *Gateway) commitStream(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	x, ok := w.(*exchange)
	if !ok || m != nil || x.flow == nil || x.route.raw {
		return nil
	}
	return x.flow.begin(g.heartbeat)
}
