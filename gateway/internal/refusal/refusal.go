// Package refusal owns error answers: which HTTP status, header fields and body
// a gRPC status becomes, and what of it clients may see. It leaves writing the
// answer to package exchange and the reasons for an error to its callers.
package refusal

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

// A Refusal is an error answer, in terms of HTTP and of gRPC.
type Refusal struct {
	HTTP   int            // status code
	Status *status.Status // public: clients see all of it

	// Values of header fields; "" for none.
	Challenge    string // WWW-Authenticate
	RetryAfter   string // seconds
	Allow        string
	AcceptPost   string // Linked Data Platform §7.1; Connect
	ContentRange string // of 416
}

// New returns a Refusal with a status of its own.
func New(httpStatus int, code codes.Code, message string, details ...protoadapt.MessageV1) *Refusal {
	st := status.New(code, message)
	if with, err := st.WithDetails(details...); err == nil && len(details) > 0 {
		st = with
	}
	return &Refusal{HTTP: httpStatus, Status: st}
}

// Internal returns the answer to a defect.
func Internal() *Refusal {
	return New(http.StatusInternalServerError, codes.Internal, "internal error")
}

// Errors that end the context of a call. [StatusOf] finds them with
// [context.Cause].
var (
	ErrStopping = errors.New("gateway: stopping")
	ErrSlow     = errors.New("the service did not answer in time")
)

// reconnectAfter is how long a client should wait before it opens a stream again
// that ended because the gateway stops.
const reconnectAfter = 2 * time.Second

// OfStatus returns the Refusal that an error of the server becomes.
func OfStatus(st *status.Status) *Refusal {
	r := &Refusal{Status: public(st), RetryAfter: retryAfter(st)}
	if r.RetryAfter == "" && st.Code() == codes.Unavailable {
		r.RetryAfter = "1" // the transport, for one, gives no RetryInfo
	}
	r.Challenge, r.HTTP = challenge(st)
	return r
}

// StatusOf returns the status of err, which a call with the context ctx
// returned.
func StatusOf(ctx context.Context, err error) *status.Status {
	switch context.Cause(ctx) {
	case ErrStopping:
		return stopping()
	case ErrSlow:
		return status.New(codes.DeadlineExceeded, ErrSlow.Error())
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	// A connection in this process may return the error of the context.
	return status.FromContextError(err)
}

// stopping is the status of a stream that ends because the gateway stops.
func stopping() *status.Status {
	return New(http.StatusServiceUnavailable, codes.Unavailable, "the gateway is stopping; reconnect",
		&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ServerStopping},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(reconnectAfter)},
	).Status
}

// public returns what clients may see of a status. Messages of Unknown, Internal
// and DataLoss are for the log alone, and so are those of the transport ("dial
// tcp 10.0.0.3:9090: …"), which come without details.
func public(st *status.Status) *status.Status {
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded:
		if len(st.Proto().GetDetails()) == 0 {
			return status.New(st.Code(), ofTransport[st.Code()])
		}
	case codes.Canceled:
		return status.New(codes.Canceled, "the request was cancelled")
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
	case codes.Internal, codes.DataLoss:
		return status.New(st.Code(), "internal error")
	default: // Unknown and undefined codes
		return status.New(codes.Unknown, "internal error")
	}
	p := proto.CloneOf(st.Proto())
	p.Message = strings.ToValidUTF8(p.GetMessage(), "\uFFFD") // otherwise it cannot be marshaled
	p.Details = slices.DeleteFunc(p.Details, func(detail *anypb.Any) bool {
		// A detail whose type is not linked cannot be marshaled. DebugInfo is a
		// stack trace.
		_, err := protojson.Marshal(detail)
		return err != nil || detail.MessageIs((*errdetails.DebugInfo)(nil))
	})
	return status.FromProto(p)
}

// ofTransport are the public messages of statuses of the transport.
var ofTransport = map[codes.Code]string{
	codes.Unavailable:      "the service is not available at the moment",
	codes.DeadlineExceeded: ErrSlow.Error(),
}

// runtimeStatus returns the HTTP status that grpc-gateway gives a code.
func runtimeStatus(code codes.Code) int {
	if code > codes.Unauthenticated { // undefined: the runtime would log a warning each time
		return http.StatusInternalServerError
	}
	return runtime.HTTPStatusFromCode(code)
}

// retryAfter returns the delay of google.rpc.RetryInfo in whole seconds, rounded
// up, "" if there is none.
func retryAfter(st *status.Status) string {
	delay := RetryDelay(st)
	if delay < 0 {
		return ""
	}
	return strconv.Itoa(int(math.Ceil(float64(delay) / float64(time.Second))))
}

// RetryDelay returns the delay of google.rpc.RetryInfo, negative if there is
// none.
func RetryDelay(st *status.Status) time.Duration {
	for _, detail := range st.Proto().GetDetails() {
		info := new(errdetails.RetryInfo)
		if !detail.MessageIs(info) || detail.UnmarshalTo(info) != nil || info.GetRetryDelay() == nil {
			continue
		}
		if delay := info.GetRetryDelay().AsDuration(); delay >= 0 {
			return delay
		}
	}
	return -1
}

// statusJSON is google.rpc.Status as JSON. All members are always present.
type statusJSON struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// problemJSON is RFC 9457 with code and details of google.rpc.Status as
// extension members. Its type is about:blank, so its title is HTTP's.
type problemJSON struct {
	Type    string            `json:"type"`
	Title   string            `json:"title"`
	Status  int               `json:"status"`
	Detail  string            `json:"detail"`
	Code    int               `json:"code"`
	Details []json.RawMessage `json:"details"`
}

// Body returns the content of the answer: RFC 9457 if problem is set,
// google.rpc.Status otherwise.
func (r *Refusal) Body(problem bool) (contentType string, content []byte) {
	details := detailsJSON(r.Status.Proto().GetDetails())
	if !problem {
		content, _ = json.Marshal(statusJSON{int(r.Status.Code()), r.Status.Message(), details}) // details are valid JSON
		return httpheader.JSON, content
	}
	title := http.StatusText(r.HTTP)
	if r.HTTP == 499 { // Canceled; net/http has no text for it
		title = "Client Closed Request"
	}
	content, _ = json.Marshal(problemJSON{"about:blank", title, r.HTTP, r.Status.Message(), int(r.Status.Code()), details})
	return httpheader.Problem, content
}

// Header returns the header fields of the answer. challenge is r.Challenge with what
// depends on the request.
func (r *Refusal) Header(challenge string) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"Www-Authenticate": challenge,
		"Retry-After":      r.RetryAfter,
		"Allow":            r.Allow,
		"Accept-Post":      r.AcceptPost,
		"Content-Range":    r.ContentRange,
	} {
		if value != "" {
			h[name] = []string{value}
		}
	}
	return h
}

func detailsJSON(details []*anypb.Any) []json.RawMessage {
	list := make([]json.RawMessage, 0, len(details))
	for _, detail := range details {
		if content, err := protojson.Marshal(detail); err == nil {
			list = append(list, content) // json.Marshal removes its spaces
		}
	}
	return list
}
