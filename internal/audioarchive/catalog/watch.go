package catalog

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

const (
	// changesAtOnce is the number of changes that a watch reads from the database at a time.
	changesAtOnce = 100
	// retryDelay is the retry delay for a stream that is not served.
	retryDelay = 2 * time.Second
)

var kinds = map[productdb.Kind]audioarchivev1.WatchProductsResponse_Kind{
	productdb.Created: audioarchivev1.WatchProductsResponse_KIND_CREATED,
	productdb.Updated: audioarchivev1.WatchProductsResponse_KIND_UPDATED,
	productdb.Deleted: audioarchivev1.WatchProductsResponse_KIND_DELETED,
}

// WatchProducts implements audioarchive.v1.ProductService.
func (s *Products) WatchProducts(req *audioarchivev1.WatchProductsRequest, stream grpc.ServerStreamingServer[audioarchivev1.WatchProductsResponse]) error {
	caller, err := CallerID(stream.Context())
	if err != nil {
		return err
	}
	if !s.enter(caller) {
		return later(codes.ResourceExhausted, ReasonTooManyWatchers, "you have too many streams open; close some, or try again later")
	}
	defer s.leave(caller)
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return later(codes.ResourceExhausted, ReasonTooManyWatchers, "too many streams are open; try again later")
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() { cancel(errStopping) })()
	after, err := s.begin(ctx, req.GetResumeToken())
	if err != nil {
		return s.watchEnd(ctx, err)
	}
	// The header tells the client at once that the stream is open. In process a header without
	// content is not sent.
	if err := stream.SendHeader(metadata.Pairs("x-stream", "open")); err != nil {
		return err
	}
	err = stream.Send(&audioarchivev1.WatchProductsResponse{
		Kind: audioarchivev1.WatchProductsResponse_KIND_READY, ResumeToken: s.tokens.resume(after),
	})
	for err == nil {
		var changes []productdb.Change
		if changes, err = s.db.Changes(ctx, after, changesAtOnce); err != nil {
			return s.watchEnd(ctx, err)
		}
		for _, change := range changes {
			after = change.Sequence
			err = stream.Send(&audioarchivev1.WatchProductsResponse{
				Kind: kinds[change.Kind], Product: Message(change.Product), ResumeToken: s.tokens.resume(after),
			})
			if err != nil {
				return err
			}
		}
	}
	return err
}

// begin returns the change after which the stream begins.
func (s *Products) begin(ctx context.Context, token string) (int64, error) {
	last, err := s.db.LastChange(ctx)
	if err != nil || token == "" {
		return last, err
	}
	after, err := s.tokens.openResume(token)
	if err == nil && after > last { // a backup was restored
		err = productdb.ErrForgotten
	}
	return after, err
}

var errStopping = errors.New("catalog: the server stops")

// watchEnd returns the status with which a stream ends.
func (s *Products) watchEnd(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errStopping):
		return later(codes.Unavailable, ReasonStopping, "the server stops; come back with the last resume_token")
	case errors.Is(err, productdb.ErrForgotten):
		return Refuse(codes.OutOfRange, ReasonResumeTokenExpired, resumeExpired)
	}
	return Failed(ctx, err)
}

// later returns an error with a retry delay.
func later(code codes.Code, reason, text string) error {
	return Refuse(code, reason, text, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})
}

// enter counts a caller's streams, and reports whether one more is allowed.
func (s *Products) enter(caller string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching[caller] >= s.each {
		return false
	}
	s.watching[caller]++
	return true
}

func (s *Products) leave(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching[caller]--; s.watching[caller] == 0 {
		delete(s.watching, caller)
	}
}
