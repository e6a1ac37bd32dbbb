package inprocess

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A stream is the state that its two ends share.
type stream struct {
	call
	toServer, toClient pipe
	cfg                *Config
	err                error // set before toClient is closed
}

// close ends the stream with the error of its handler.
func (s *stream) close(err error) {
	if err != nil {
		s.err = overTheWire(err)
	}
	s.finish()
	s.toServer.close() // the handler reads no more
	s.toClient.close()
}

// A serverStream is the service's end.
type serverStream struct {
	*stream
	ctx           context.Context
	clientStreams bool
	received      bool // a message
}

var _ grpc.ServerStream = (*serverStream)(nil)

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) SetHeader(md metadata.MD) error {
	if err := valid(md); err != nil {
		return err
	}
	return s.call.SetHeader(md)
}

func (s *serverStream) SendHeader(md metadata.MD) error {
	if err := valid(md); err != nil {
		return err
	}
	return s.call.SendHeader(md)
}

func (s *serverStream) SetTrailer(md metadata.MD) { _ = s.call.SetTrailer(md) }

func (s *serverStream) SendMsg(m any) error {
	sent, err := pack(m, s.cfg.MaxSendBytes)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if !s.sent && !s.ended {
		s.send()
	}
	s.mu.Unlock()
	if s.ctx.Err() != nil || s.toClient.put(s.ctx, sent) != nil {
		return s.over()
	}
	return nil
}

func (s *serverStream) RecvMsg(m any) error {
	got, err := s.receive()
	switch {
	case err == io.EOF && !s.clientStreams && !s.received:
		return status.Error(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
	case err != nil:
		return err
	}
	s.received = true
	if err := got.unpack(m, s.cfg.MaxReceiveBytes, s.reuse.Load()); err != nil {
		return err
	}
	if s.clientStreams {
		return nil
	}
	switch _, err := s.receive(); err {
	case io.EOF:
		return nil
	case nil:
		return status.Error(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
	default:
		return err
	}
}

func (s *serverStream) receive() (packet, error) {
	if s.ctx.Err() != nil {
		return packet{}, s.over()
	}
	got, err := s.toServer.get(s.ctx)
	if err != nil && err != io.EOF {
		return packet{}, s.over()
	}
	return got, err
}

// over returns the error of a stream whose other end has gone.
func (s *serverStream) over() error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")
}

// A clientStream is the caller's end.
type clientStream struct {
	*stream
	ctx     context.Context
	cancel  context.CancelFunc // of the service's context
	desc    *grpc.StreamDesc
	options options
	opts    []grpc.CallOption

	sendMu   sync.Mutex
	sentLast bool

	answered bool // a message was received

	endMu sync.Mutex
	end   error // io.EOF or a status, once it is over
}

var _ grpc.ClientStream = (*clientStream)(nil)

func (s *clientStream) Context() context.Context { return s.ctx }

// Header waits until the service has sent its header or ended. The reason of an end
// is returned by RecvMsg.
func (s *clientStream) Header() (metadata.MD, error) {
	select {
	case <-s.headed:
	case <-s.ctx.Done():
	}
	return s.sentHeader(), nil
}

func (s *clientStream) Trailer() metadata.MD { return s.sentTrailer() }

func (s *clientStream) CloseSend() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.sentLast = true
	s.toServer.close()
	return nil
}

func (s *clientStream) SendMsg(m any) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sentLast {
		return s.finish(status.Error(codes.Internal, "SendMsg called after CloseSend"))
	}
	sent, err := pack(m, s.options.maxSend)
	if err != nil {
		s.sentLast = !s.desc.ClientStreams
		return s.finish(err)
	}
	gone := s.toServer.put(s.ctx, sent) != nil
	if !s.desc.ClientStreams { // this is its only message
		s.sentLast = true
		s.toServer.close()
		return nil // RecvMsg returns the reason; generated code would stop at an error here
	}
	if gone {
		return io.EOF
	}
	return nil
}

func (s *clientStream) RecvMsg(m any) error {
	if err := s.receive(m); err != nil {
		return s.finish(err)
	}
	if s.desc.ServerStreams {
		return nil
	}
	switch err := s.receive(m); err {
	case nil:
		return s.finish(status.Error(codes.Internal, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message"))
	case io.EOF:
		_ = s.finish(err)
		return nil
	default:
		return s.finish(err)
	}
}

// receive returns the next message, or the error with which the stream has ended.
func (s *clientStream) receive(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	got, err := s.toClient.get(s.ctx)
	switch {
	case err == io.EOF && s.err != nil:
		return s.err
	case err == io.EOF && !s.desc.ServerStreams && !s.answered:
		return status.Error(codes.Internal, "cardinality violation: received no response message from non-server-streaming RPC")
	case err == io.EOF:
		return err
	case err != nil:
		return status.FromContextError(err).Err()
	}
	s.answered = true
	return got.unpack(m, s.options.maxReceive, s.options.reuse)
}

// finish ends this side of the stream, once, and returns the error.
func (s *clientStream) finish(err error) error {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if s.end == nil {
		s.end = err
		s.cancel()
		s.options.after(s.opts, &s.call, err)
	}
	return err
}

func (s *clientStream) ended() error {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	return s.end
}
