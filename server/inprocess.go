package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fullstorydev/grpchan"
	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inprocess is the way into the server that needs no network: grpchan's
// channel, with what grpc.Server does around the interceptors and a channel
// does not.
type inprocess struct {
	channel inprocgrpc.Channel
	calls   calls
}

func newInprocess() *inprocess {
	return &inprocess{calls: calls{none: make(chan struct{})}}
}

// registrar registers services behind the interceptors.
func (p *inprocess) registrar(unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) grpc.ServiceRegistrar {
	unary = append([]grpc.UnaryServerInterceptor{p.calls.unary}, unary...)
	stream = append([]grpc.StreamServerInterceptor{p.calls.stream}, stream...)
	return grpchan.WithStreamInterceptors(grpchan.WithUnaryInterceptors(&p.channel, unary...), stream...)
}

// Invoke implements grpc.ClientConnInterface.
func (p *inprocess) Invoke(ctx context.Context, method string, req, resp any, opts ...grpc.CallOption) error {
	if err := wellFormed(method); err != nil {
		return err
	}
	return p.channel.Invoke(ctx, method, req, resp, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (p *inprocess) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := wellFormed(method); err != nil {
		return nil, err
	}
	stream, err := p.channel.NewStream(ctx, desc, method, opts...)
	if err == nil && !desc.ClientStreams {
		stream = soleRequest{stream}
	}
	return stream, err
}

// A soleRequest leaves it to RecvMsg to say why a server took no request, as a
// grpc.ClientConn does: generated code gives up at an error of SendMsg, and
// io.EOF says nothing.
type soleRequest struct{ grpc.ClientStream }

func (s soleRequest) SendMsg(m any) error {
	if err := s.ClientStream.SendMsg(m); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// wellFormed refuses what the channel would mend, a name without its first
// slash (CVE-2026-33186), and what would make it panic.
func wellFormed(method string) error {
	if rest, ok := strings.CutPrefix(method, "/"); ok && strings.Contains(rest, "/") {
		return nil
	}
	return status.Errorf(codes.Unimplemented, "malformed method name: %q", method)
}

// leave takes no more calls. The channel that it returns is closed when none
// is under way.
func (p *inprocess) leave() <-chan struct{} { return p.calls.leave() }

// calls counts the calls under way, and knows whether more are welcome.
type calls struct {
	state atomic.Int64 // the number, and the bit leaving
	none  chan struct{}
	once  sync.Once
}

const leaving = 1 << 62

func (c *calls) begin() error {
	if c.state.Add(1)&leaving != 0 {
		c.end()
		return errLeaving
	}
	return nil
}

func (c *calls) end() {
	if c.state.Add(-1) == leaving {
		c.once.Do(func() { close(c.none) })
	}
}

func (c *calls) leave() <-chan struct{} {
	if c.state.Or(leaving)&^leaving == 0 {
		c.once.Do(func() { close(c.none) })
	}
	return c.none
}

func (c *calls) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.end()
	return handler(ctx, req)
}

func (c *calls) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	return handler(srv, ss)
}
