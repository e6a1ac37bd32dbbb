package gateway

import (
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A limitError is a message that gRPC itself, on either side, has found too
// long, or a stream that its transport has given up. grpc-go says
// RESOURCE_EXHAUSTED, as a service does that asks its callers to slow down.
type limitError struct {
	cause   *status.Status
	request bool // the request's message, not the answer's
}

func (e *limitError) Error() string { return e.GRPCStatus().Err().Error() }

// GRPCStatus is what the log tells; refusalOf says what a client is told.
func (e *limitError) GRPCStatus() *status.Status {
	return status.New(codes.Internal, e.cause.Message())
}

// transportLimits begin the messages of such statuses. They carry no details.
var transportLimits = []string{
	"grpc: received message larger than max",
	"grpc: received message after decompression larger than max",
	"grpc: message after decompression larger than max",
	"grpc: message too large",
	"trying to send message larger than max",
	"stream terminated by RST_STREAM",
}

// limitedSize finds the length of the message that was too long.
var limitedSize = regexp.MustCompile(`\((\d+) vs\. \d+\)`)

// limited returns a limitError for an error of gRPC's own limits, and any
// other error as it is. Both sides use the same words, and only the length
// tells whether it was the request; that was the last message sent.
func limited(err error, request any) error {
	if status.Code(err) != codes.ResourceExhausted {
		return err
	}
	st := status.Convert(err)
	for _, limit := range transportLimits {
		if !strings.HasPrefix(st.Message(), limit) || len(st.Proto().GetDetails()) > 0 {
			continue
		}
		e := &limitError{cause: st}
		if m, ok := request.(proto.Message); ok {
			size := limitedSize.FindStringSubmatch(st.Message())
			e.request = size != nil && size[1] == strconv.Itoa(proto.Size(m))
		}
		return e
	}
	return err
}
