package inprocess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/callstate"
	"github.com/gatehouse-dev/gatehouse/internal/headers"
	"github.com/gatehouse-dev/gatehouse/internal/lifetime"
)

// A served is the context of a service. To cancel it does not cancel the caller's. A service may
// keep it, so that it is never used for another call.
type served struct {
	lifetime.Context // of the caller's
	call             *call
	state            callstate.State
	passage          passage // of a unary call
}

// begin begins the context of a service, unless the caller's metadata is invalid.
func (s *served) begin(ctx context.Context, call *call, o *options) (err error) {
	s.call = call
	s.Begin(ctx, time.Time{})
	s.state.Context.Context = samePeer
	s.state.Metadata, err = outgoing(ctx, call.method, o)
	return err
}

// Value returns what a service gets over a network too, which is its metadata and the peer, and two
// values of the caller: the line to which the server adds the outcome, and the span to which that
// of the call belongs.
func (s *served) Value(key any) any {
	switch {
	case key == incoming:
		return s.state.Metadata // package metadata returns copies
	case key == transport:
		return s.call
	case key == span, accesslog.IsKey(key), lifetime.IsOwn(key):
		return s.Context.Value(key)
	}
	return s.state.Value(key)
}

// Private keys of other packages, found by observing a look-up.
var (
	incoming  = keyOf(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	transport = keyOf(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
	span      = keyOf(func(ctx context.Context) { trace.SpanFromContext(ctx) })
)

// keyOf returns the key that a function looks up.
func keyOf(look func(context.Context)) any {
	observed := observer{Context: context.Background()}
	look(&observed)
	return observed.key
}

// An observer is a context that records the key of a look-up.
type observer struct {
	context.Context
	key any
}

func (o *observer) Value(key any) any { o.key = key; return nil }

var (
	self = &peer.Peer{
		Addr: address{}, LocalAddr: address{},
		AuthInfo: authInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}},
	}
	samePeer = peer.NewContext(context.Background(), self)
)

// address is the address of both ends.
type address struct{}

func (address) Network() string { return "inproc" }
func (address) String() string  { return "in-process" }

// authInfo states that the channel is private.
type authInfo struct{ credentials.CommonAuthInfo }

func (authInfo) AuthType() string { return "inproc" }

// outgoing returns the metadata that a service sees: that of the caller's context,
// and that of its credentials.
func outgoing(ctx context.Context, method string, o *options) (metadata.MD, error) {
	var md metadata.MD
	if own, ok := ctx.(interface{ OutgoingMetadata() metadata.MD }); ok && o.creds == nil {
		md = own.OutgoingMetadata() // of this call alone
	} else {
		md, _ = metadata.FromOutgoingContext(ctx) // a copy
	}
	if md == nil {
		md = metadata.MD{}
	}
	if err := valid(md); err != nil {
		return nil, err
	}
	maps.DeleteFunc(md, reserved)
	if o.creds == nil {
		return md, nil
	}
	added, err := o.creds.GetRequestMetadata(
		credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{Method: method, AuthInfo: self.AuthInfo}),
		"https://"+address{}.String()+method[:strings.LastIndexByte(method, '/')])
	if err != nil {
		if st, ok := status.FromError(err); ok && slices.Contains(restricted, st.Code()) {
			return nil, status.Errorf(codes.Internal, "transport: received per-RPC creds error with illegal status: %v", err)
		} else if ok {
			return nil, st.Err()
		}
		return nil, status.Errorf(codes.Internal, "transport: per-RPC creds failed due to error: %v", err)
	}
	for key, value := range added {
		key = strings.ToLower(key)
		if err := valid(metadata.MD{key: {value}}); err != nil {
			return nil, err
		}
		md[key] = append([]string{value}, md[key]...)
	}
	return md, nil
}

// restricted are the codes that only a service may return (gRFC A54).
var restricted = []codes.Code{
	codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.DataLoss,
}

// valid returns an error for metadata that a network cannot carry, with the text of
// grpc-go.
func valid(md metadata.MD) error {
	for key, values := range md {
		if problem := invalidPair(key, values); problem != "" {
			return status.Error(codes.Internal, problem)
		}
	}
	return nil
}

func invalidPair(key string, values []string) string {
	if key == "" {
		return "there is an empty key in the header"
	}
	if key[0] == ':' {
		return "" // dropped later
	}
	for i := range len(key) {
		if c := key[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
			return fmt.Sprintf("header key %q contains illegal characters not in [0-9a-z-_.]", key)
		}
	}
	if slices.ContainsFunc(values, func(v string) bool { return !headers.Printable(v) }) && !strings.HasSuffix(key, "-bin") {
		return fmt.Sprintf("header key %q contains value with non-printable ASCII characters", key)
	}
	return ""
}

// reserved reports whether a key belongs to the protocol, which drops it from
// metadata.
func reserved(key string, _ []string) bool {
	switch key {
	case "content-type", "user-agent", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return strings.HasPrefix(key, ":")
}
