package authn

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// refused is the cause with which the context of a stream ends whose caller
// would be refused by now.
type refused struct{ status *status.Status }

func (r *refused) Error() string { return r.status.Message() }

// A boundStream ends with its context, which ends with the token.
type boundStream struct {
	grpc.ServerStream
	ctx    context.Context
	expiry time.Time
	now    func() time.Time
}

func (s *boundStream) Context() context.Context { return s.ctx }

// SendMsg sends nothing once the caller would be refused. A message that waits for
// the client to read at that moment still goes out.
func (s *boundStream) SendMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg waits for the client no longer than the token is good. A wait that is
// given up ends with the stream, that is, as soon as the handler returns.
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
			r.panicked = recover() // here it would end the process
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
		r = <-received // the client went away: the stream says how
	}
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

// ended returns the refusal once the caller would be refused. The clock is
// asked as well as the context, whose timer stands still while the machine
// sleeps.
func (s *boundStream) ended() error {
	if r, ok := errors.AsType[*refused](context.Cause(s.ctx)); ok {
		return r.status.Err()
	}
	if !s.now().Before(s.expiry) {
		return statusExpired.Err()
	}
	return nil
}
