package upstream

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A limitError reports a message that gRPC itself, on either side, found too
// long, or a stream that its transport reset. grpc-go returns
// RESOURCE_EXHAUSTED for it, as a service does for callers that are too fast.
type limitError struct {
	cause   *status.Status
	request bool // the request's message, not the answer's
}

func (e *limitError) Error() string { return e.GRPCStatus().Err().Error() }

// GRPCStatus returns the status for the log.
func (e *limitError) GRPCStatus() *status.Status {
	return status.New(codes.Internal, e.cause.Message())
}

// transportLimits are the beginnings of the messages of such statuses, which have
// no details.
var transportLimits = []string{
	"grpc: received message larger than max",
	"grpc: received message after decompression larger than max",
	"grpc: message after decompression larger than max",
	"grpc: message too large",
	"trying to send message larger than max",
	"stream terminated by RST_STREAM",
}

// limitedSize matches the length of the message that was too long.
var limitedSize = regexp.MustCompile(`\((\d+) vs\. \d+\)`)

// RequestTooLong reports whether gRPC found the request's message too long.
func RequestTooLong(err error) bool {
	limit, ok := errors.AsType[*limitError](err)
	return ok && limit.request
}

// LimitError returns an internal error for an error of gRPC's own limits, and
// any other error as it is. request is the last message sent, nil if it does not
// matter. Both sides use the same words for a message that is too long, so that
// only the length tells which one it was.
func LimitError(err error, request any) error {
	if status.Code(err) != codes.ResourceExhausted {
		return err
	}
	st := status.Convert(err)
	ofTransport := slices.ContainsFunc(transportLimits, func(limit string) bool { return strings.HasPrefix(st.Message(), limit) })
	if !ofTransport || len(st.Proto().GetDetails()) > 0 {
		return err
	}
	e := &limitError{cause: st}
	if m, ok := request.(proto.Message); ok {
		size := limitedSize.FindStringSubmatch(st.Message())
		e.request = size != nil && size[1] == strconv.Itoa(proto.Size(m))
	}
	return e
}
