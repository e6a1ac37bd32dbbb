package catalog

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// Domain is the domain of every ErrorInfo that this package attaches.
const Domain = "audioarchive.example"

// Reasons of errors, in google.rpc.ErrorInfo.reason.
const (
	ReasonProductNotFound    = "PRODUCT_NOT_FOUND"
	ReasonNotSeller          = "NOT_SELLER"           // only the product's seller may change it
	ReasonETagMismatch       = "ETAG_MISMATCH"        // the etag does not fit the product
	ReasonConcurrentChange   = "CONCURRENT_CHANGE"    // concurrent changes made all attempts fail
	ReasonRequestIDReused    = "REQUEST_ID_REUSED"    // used with another product
	ReasonResumeTokenExpired = "RESUME_TOKEN_EXPIRED" // changes left the log
	ReasonTooManyWatchers    = "TOO_MANY_WATCHERS"
	ReasonStopping           = "SERVER_STOPPING" // reconnect with the latest resume_token
	ReasonUnavailable        = "DATABASE_UNAVAILABLE"
	ReasonUncertain          = "CHANGE_UNCERTAIN" // it may have been made
)

// Refuse returns a status with an ErrorInfo and more details.
func Refuse(code codes.Code, reason, message string, more ...protoadapt.MessageV1) error {
	st := status.New(code, message)
	info := &errdetails.ErrorInfo{Reason: reason, Domain: Domain}
	if detailed, err := st.WithDetails(append([]protoadapt.MessageV1{info}, more...)...); err == nil {
		st = detailed
	}
	return st.Err()
}

// retryAfter is when a request that the database did not answer should be repeated.
const retryAfter = 2 * time.Second

var errNotFound = Refuse(codes.NotFound, ReasonProductNotFound, "there is no such product")

// Failed turns an error of the database into a status. A status is returned as it is.
func Failed(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil { // drivers wrap it in different ways
		return status.FromContextError(ctx.Err()).Err()
	}
	switch {
	case errors.Is(err, productdb.ErrNotFound):
		return errNotFound
	case errors.Is(err, productdb.ErrChanged):
		return Refuse(codes.Aborted, ReasonConcurrentChange, "others change this product at the same time; try again")
	case errors.Is(err, productdb.ErrRequestReused):
		return Refuse(codes.AlreadyExists, ReasonRequestIDReused, "this request_id was used for a request with another product; use a fresh one")
	case errors.Is(err, productdb.ErrUncertain):
		return Refuse(codes.DeadlineExceeded, ReasonUncertain, "the database did not confirm the change, which may have been made; read the product again")
	case errors.Is(err, productdb.ErrUnavailable):
		return Refuse(codes.Unavailable, ReasonUnavailable, "the products cannot be read or changed at the moment; try again",
			&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	// The text is for the log. The gateway does not show texts of internal errors.
	return status.Errorf(codes.Internal, "products: %v", err)
}
