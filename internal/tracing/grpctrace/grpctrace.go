// Package grpctrace owns the spans of gRPC calls, over a network and in process. It
// leaves whose trace a call continues to package tracing.
package grpctrace

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// baggageKey is the metadata of W3C Baggage.
const baggageKey = "baggage"

// health begins the methods of the health service, whose calls have no spans.
const health = "/grpc.health.v1.Health/"

// Receive begins the server span of a call. Of its metadata, it removes the trace
// context of a peer that is not trusted, and baggage.
func Receive(ctx context.Context, tracer *tracing.Tracer, method string) (context.Context, trace.Span) {
	if trace.SpanContextFromContext(ctx).IsValid() { // of the caller, in this process
		return tracer.Receive(ctx, method[1:], tracing.Remote{})
	}
	var from tracing.Remote
	parents := metadata.ValueFromIncomingContext(ctx, tracing.ParentKey)
	foreign := false
	if len(parents) > 0 {
		from.Parents, from.States = parents, metadata.ValueFromIncomingContext(ctx, tracing.StateKey)
		var address net.Addr
		if p, ok := peer.FromContext(ctx); ok {
			address = p.Addr
		}
		if from.Trusted = tracer.Trusts(address); !from.Trusted && address != nil {
			from.Peer = address.String()
		}
		foreign = !from.Trusted
	}
	if foreign || metadata.ValueFromIncomingContext(ctx, baggageKey) != nil {
		md, _ := metadata.FromIncomingContext(ctx) // a copy
		delete(md, baggageKey)
		if foreign {
			delete(md, tracing.ParentKey)
			delete(md, tracing.StateKey)
		}
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	if strings.HasPrefix(method, health) {
		return ctx, trace.SpanFromContext(ctx)
	}
	return tracer.Receive(ctx, method[1:], from)
}

// End ends the span of a call. Only a fault of the server is an error: a caller
// without permission is none.
func End(span trace.Span, method string, err error) {
	if !span.IsRecording() {
		return
	}
	name := code.Code_name[int32(status.Code(err))]
	span.SetAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(method[1:]), semconv.RPCResponseStatusCode(name))
	switch status.Code(err) {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		tracing.Fail(span, name)
	}
	span.End()
}

// endOpened ends the span of a stream that has begun to answer.
func endOpened(span trace.Span, method string) {
	if span.IsRecording() {
		span.SetAttributes(tracing.Stream)
		End(span, method, nil)
	}
}

// Serve returns ss with a context. The span ends when the stream begins to answer.
func Serve(ctx context.Context, ss grpc.ServerStream, span trace.Span, info *grpc.StreamServerInfo) grpc.ServerStream {
	s := serverStream{ServerStream: ss, ctx: ctx}
	if !span.IsRecording() || !info.IsServerStream {
		return &s
	}
	return &openedStream{s, span, info.FullMethod}
}

type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

type openedStream struct {
	serverStream
	span   trace.Span
	method string
}

func (s *openedStream) SendHeader(md metadata.MD) error {
	endOpened(s.span, s.method)
	return s.ServerStream.SendHeader(md)
}

func (s *openedStream) SendMsg(m any) error {
	endOpened(s.span, s.method)
	return s.ServerStream.SendMsg(m)
}

// A Conn makes a client span for each call over another connection.
type Conn struct {
	grpc.ClientConnInterface
	Tracer *tracing.Tracer
	// Local says that the connection passes the span on itself, in this process.
	Local bool
}

// Invoke makes a unary call.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, opts ...grpc.CallOption) error {
	ctx, span := c.Tracer.Start(ctx, method[1:], trace.SpanKindClient)
	if !span.IsRecording() {
		return c.ClientConnInterface.Invoke(c.outgoing(ctx), method, request, response, opts...)
	}
	var server peer.Peer
	err := c.ClientConnInterface.Invoke(c.outgoing(ctx), method, request, response, append(opts, grpc.Peer(&server))...)
	tracing.SetPeer(span, server.Addr)
	End(span, method, err)
	return err
}

// NewStream begins a call that streams. Its span ends when the server begins to
// answer.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, span := c.Tracer.Start(ctx, method[1:], trace.SpanKindClient)
	stream, err := c.ClientConnInterface.NewStream(c.outgoing(ctx), desc, method, opts...)
	if err != nil || !span.IsRecording() {
		End(span, method, err)
		return stream, err
	}
	return &clientStream{stream, span, method, desc.ServerStreams}, nil
}

func (c *Conn) outgoing(ctx context.Context) context.Context {
	if c.Local {
		return ctx
	}
	return Outgoing(ctx)
}

// Outgoing adds the trace context of ctx to the metadata of calls.
func Outgoing(ctx context.Context) context.Context {
	if pairs := tracing.Pairs(ctx); pairs != nil {
		return metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	return ctx
}

type clientStream struct {
	grpc.ClientStream
	span    trace.Span
	method  string
	streams bool // the server does
}

// Header waits for the header, which a call that is refused at once does not have.
func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil || len(md) > 0 && s.streams {
		s.end(err)
	}
	return md, err
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.end(err)
	return err
}

// end ends the span at the first answer.
func (s *clientStream) end(err error) {
	if err == nil && s.streams {
		endOpened(s.span, s.method)
		return
	}
	if errors.Is(err, io.EOF) { // a stream without a message
		err = nil
	}
	End(s.span, s.method, err)
}
