// Package upstream owns the connection to the server: it limits the size of
// answers, tells gRPC's own limits from those of a service, and makes a stream
// report an early refusal before anything is written. It leaves what the answers
// become to its callers.
package upstream

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/inprocess"
)

// A Call observes one call through a [Conn]; a [Context] attaches it.
type Call interface {
	// Calling is called before the call is made, and returns its context. An error ends
	// the call.
	Calling(context.Context) (context.Context, error)
	// Sending is called with each message before it is sent, and may change it.
	// An error ends the call.
	Sending(message proto.Message) error
	// Receiving is called with the stream of answers when a call begins.
	Receiving(*Stream)
}

// Conn is a connection to the server. It is safe for concurrent use.
type Conn struct {
	conn    grpc.ClientConnInterface
	outputs map[string]protoreflect.MessageType // of server streams, by full method
	limit   grpc.CallOption
}

// New returns a connection over conn for calls of the services' methods.
// maxResponse is the longest message of an answer, in bytes.
func New(conn grpc.ClientConnInterface, maxResponse int, services []protoreflect.ServiceDescriptor) *Conn {
	c := &Conn{conn, map[string]protoreflect.MessageType{}, grpc.MaxCallRecvMsgSize(maxResponse)}
	for _, service := range services {
		for i := range service.Methods().Len() {
			if method := service.Methods().Get(i); method.IsStreamingServer() {
				c.outputs[route.FullMethod(method)] = route.MessageType(method.Output())
			}
		}
	}
	return c
}

// Invoke makes a unary call.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	if call := CallOf(ctx); call != nil {
		var err error
		if ctx, err = call.Calling(ctx); err != nil {
			return err
		}
		if err := call.Sending(request.(proto.Message)); err != nil {
			return err
		}
	}
	if own, ok := ctx.(*Context); ok {
		opts = append(own.options[:0], opts...) // with room for one more
	}
	err := c.conn.Invoke(ctx, method, request, response, append(opts, c.limit)...)
	return LimitError(err, request)
}

// NewStream makes a call that streams.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	call := CallOf(ctx)
	if call != nil {
		var err error
		if ctx, err = call.Calling(ctx); err != nil {
			return nil, err
		}
	}
	output, ok := c.outputs[method]
	opts = append(opts, c.limit)
	if ok && output.Descriptor().FullName() == bytesName {
		opts = append(opts, inprocess.Reuse()) // see Receive
	}
	cs, err := c.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	if !ok {
		return cs, nil // an upload with one answer
	}
	s := &Stream{ClientStream: cs, output: output, call: call, oneRequest: !desc.ClientStreams}
	if call != nil {
		call.Receiving(s)
	}
	return s, nil
}

// A Stream is a server stream whose Header waits for the first message if the
// server sends no header. Generated code asks for the header first, and the
// runtime then answers 200. A status without a header (gRPC's "Trailers-Only")
// would become the first line of a successful answer.
type Stream struct {
	grpc.ClientStream
	output     protoreflect.MessageType
	call       Call          // nil for none
	oneRequest bool          // the client sends one message
	sent       any           // that message
	first      proto.Message // received by Header, not yet handed out
	bytes      proto.Message // that Receive returns of a stream of HttpBody
	ended      bool          // everything has been received
}

// bytesName is the type of messages that are bytes of any type.
const bytesName = "google.api.HttpBody"

// End makes RecvMsg return io.EOF from now on.
func (s *Stream) End() { s.ended = true }

// Receive returns the next message, io.EOF at the end of the stream. An HttpBody is
// valid until the next call: a file has many of them.
func (s *Stream) Receive() (proto.Message, error) {
	m := s.bytes
	if m == nil {
		m = s.output.New().Interface()
	}
	if s.output.Descriptor().FullName() == bytesName {
		s.bytes = m
	}
	if err := s.RecvMsg(m); err != nil {
		return nil, err
	}
	return m, nil
}

// Header returns the header of the answer, or the error of a call that ended
// before its first message.
func (s *Stream) Header() (metadata.MD, error) {
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

// SendMsg returns the error that ended the stream instead of io.EOF. A
// grpc.ClientConn does so itself if the client sends one message; a connection
// in this process does not, and generated code would return io.EOF for a call
// that was refused before its request was read.
func (s *Stream) SendMsg(m any) error {
	if !s.oneRequest {
		return s.ClientStream.SendMsg(m)
	}
	if s.call != nil {
		if err := s.call.Sending(m.(proto.Message)); err != nil {
			return err
		}
	}
	s.sent = m
	err := s.ClientStream.SendMsg(m)
	if !errors.Is(err, io.EOF) {
		return LimitError(err, m)
	}
	if err := s.ClientStream.RecvMsg(s.output.New().Interface()); err != nil && !errors.Is(err, io.EOF) {
		return LimitError(err, m)
	}
	return nil // RecvMsg reports the end
}

// RecvMsg receives the next message.
func (s *Stream) RecvMsg(m any) error {
	if s.ended {
		return io.EOF
	}
	if first := s.first; first != nil {
		s.first = nil
		proto.Reset(m.(proto.Message))
		proto.Merge(m.(proto.Message), first)
		return nil
	}
	return LimitError(s.ClientStream.RecvMsg(m), s.sent)
}
