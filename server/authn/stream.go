package authn

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// refused is the cause with which the context of a stream ends when a new call with
// its token would be refused.
type refused struct{ status *status.Status }

func (r *refused) Error() string { return r.status.Message() }

// A boundStream ends with its context, which ends when its token is refused.
type boundStream struct {
	grpc.ServerStream
	ctx    context.Context
	expiry time.Time // of the token, or of a transfer; zero for none
	now    func() time.Time
}

// expired reports whether the clock has passed the end.
func (s *boundStream) expired() bool { return !s.expiry.IsZero() && !s.now().Before(s.expiry) }

func (s *boundStream) Context() context.Context { return s.ctx }

// SendMsg sends nothing once the token is refused. A message that is waiting for the
// client to read at that moment is still sent.
func (s *boundStream) SendMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg stops waiting for the client when the token is refused. The goroutine that
// waits then ends with the stream, when the handler returns.
func (s *boundStream) RecvMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	type result struct {
		err      error
		panicked any
	}
	received := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panicked = recover() // in this goroutine it would end the process
			received <- r
		}()
		r.err = s.ServerStream.RecvMsg(m)
	}()
	var r result
	select {
	case r = <-received:
	case <-s.ctx.Done():
		if err := s.ended(); err != nil {
			return err
		}
		r = <-received // the client has gone; the stream returns the reason
	}
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

// ended returns the refusal once the token is refused. It also compares the clock:
// the timer of the context stops while the machine sleeps.
func (s *boundStream) ended() error {
	if r, ok := errors.AsType[*refused](context.Cause(s.ctx)); ok {
		return r.status.Err()
	}
	if s.expired() {
		return statusExpired.Err()
	}
	return nil
}
