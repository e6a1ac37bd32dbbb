package inprocess

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
)

// serverContext returns the context of a service. To cancel it does not cancel the
// caller's.
func serverContext(ctx context.Context, call *call, o *options) (context.Context, context.CancelFunc, error) {
	md, err := outgoing(ctx, call.method, o)
	if err != nil {
		return nil, nil, err
	}
	// The cancellable context is the parent of those with values, so that contexts
	// which a service derives find it and need no goroutine to follow it.
	inner, cancel := context.WithCancel(isolated{ctx})
	inner = metadata.NewIncomingContext(inner, md)
	return grpc.NewContextWithServerTransportStream(inner, call), cancel, nil
}

// isolated ends with another context and has two of its values: the line to which the
// server adds the outcome, and the span to which that of the call belongs.
type isolated struct{ context.Context }

// Value returns the values that pass, the peer, which is the same for all calls, and
// what package context itself looks up.
func (c isolated) Value(key any) any {
	if key == ancestor || key == span || accesslog.IsKey(key) {
		return c.Context.Value(key)
	}
	return samePeer.Value(key)
}

// AfterFunc lets package context follow the other context without a goroutine, even
// if it does not look up a value.
func (c isolated) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.Context, f) }

// ancestor is the private key by which package context looks up the parent to cancel
// a new context with. It is found by observing a look-up; if that fails, calls work
// and are slightly slower.
var ancestor = func() any {
	var observed observer
	_, cancel := context.WithCancel(&observed)
	cancel()
	return observed.key
}()

// span is the private key of the current span, found likewise; if that fails, a call
// in process has a trace of its own.
var span = func() any {
	var observed observer
	trace.SpanFromContext(&observed)
	return observed.key
}()

// An observer is a context that records the key of a look-up.
type observer struct {
	context.Context
	key any
}

func (o *observer) Done() <-chan struct{} { return make(chan struct{}) }
func (o *observer) Err() error            { return nil }
func (o *observer) Value(key any) any     { o.key = key; return nil }
func (o *observer) AfterFunc(func()) func() bool {
	return func() bool { return true }
}

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
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
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
	illegal := func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	if strings.ContainsFunc(key, illegal) {
		return fmt.Sprintf("header key %q contains illegal characters not in [0-9a-z-_.]", key)
	}
	unprintable := func(c rune) bool { return c < ' ' || c > '~' }
	if !strings.HasSuffix(key, "-bin") && slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, unprintable) }) {
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
