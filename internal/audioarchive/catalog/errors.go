package catalog

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain is the domain of every ErrorInfo that this package attaches.
const Domain = "audioarchive.example"

// The reasons of refusals, in google.rpc.ErrorInfo.reason.
const (
	ReasonProductNotFound    = "PRODUCT_NOT_FOUND"
	ReasonNotSeller          = "NOT_SELLER"           // only a product's seller may do this
	ReasonETagMismatch       = "ETAG_MISMATCH"        // the product is not in the state that the caller knows
	ReasonConcurrentChange   = "CONCURRENT_CHANGE"    // others changed the product again and again
	ReasonRequestIDReused    = "REQUEST_ID_REUSED"    // for a request with another content
	ReasonResumeTokenExpired = "RESUME_TOKEN_EXPIRED" // changes that it would have to tell are forgotten
	ReasonTooManyWatchers    = "TOO_MANY_WATCHERS"
	ReasonStopping           = "SERVER_STOPPING" // come back with the last resume_token
)

func refuse(code codes.Code, reason, message string) error {
	st := status.New(code, message)
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: Domain}); err == nil {
		st = detailed
	}
	return st.Err()
}

var errNotFound = refuse(codes.NotFound, ReasonProductNotFound, "there is no such product")

// failed turns what the database says into what a caller may know. A status
// passes as it is.
func failed(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if ctx.Err() != nil { // drivers wrap it in ways of their own
		return status.FromContextError(ctx.Err()).Err()
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	return status.Errorf(codes.Internal, "products: %v", err) // its text is for the log; the gateway shows none of it
}
