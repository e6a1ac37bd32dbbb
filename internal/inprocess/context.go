package inprocess

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
)

// serverContext is what a service gets of a caller's context. Cancelling it
// does not touch the caller's.
func serverContext(ctx context.Context, call *call, o *options) (context.Context, context.CancelFunc, error) {
	md, err := outgoing(ctx, call.method, o)
	if err != nil {
		return nil, nil, err
	}
	// The cancellable context lies below the values, so that those which a
	// service derives find it and need no goroutine to follow ours.
	inner, cancel := context.WithCancel(isolated{ctx})
	inner = metadata.NewIncomingContext(inner, md)
	// The one value that passes: to whom the server tells what it would log.
	if line := accesslog.FromContext(ctx); line != nil {
		inner = accesslog.NewContext(inner, line)
	}
	return grpc.NewContextWithServerTransportStream(inner, call), cancel, nil
}

// isolated ends as another context does, and has none of its values.
type isolated struct{ context.Context }

// Value knows the peer, which is the same for all, and what package context
// itself asks for.
func (c isolated) Value(key any) any {
	if key == ancestor {
		return c.Context.Value(key)
	}
	return samePeer.Value(key)
}

// AfterFunc lets package context follow the other one without a goroutine, also
// if it asks for nothing.
func (c isolated) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.Context, f) }

// ancestor is the key by which package context looks for the context that a new
// one ends with; a value of its own, which is no program's. Found out by asking:
// without an answer, all is as well and a little slower.
var ancestor = func() any {
	var asked listening
	_, cancel := context.WithCancel(&asked)
	cancel()
	return asked.key
}()

// listening is a context that remembers what it was asked for.
type listening struct {
	context.Context
	key any
}

func (l *listening) Done() <-chan struct{} { return make(chan struct{}) }
func (l *listening) Err() error            { return nil }
func (l *listening) Value(key any) any     { l.key = key; return nil }
func (l *listening) AfterFunc(func()) func() bool {
	return func() bool { return true }
}

var (
	self     = &peer.Peer{Addr: address{}, LocalAddr: address{}, AuthInfo: authInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}}
	samePeer = peer.NewContext(context.Background(), self)
)

// address is where a call comes from, and goes to.
type address struct{}

func (address) Network() string { return "inproc" }
func (address) String() string  { return "in-process" }

// authInfo says that nobody can listen.
type authInfo struct{ credentials.CommonAuthInfo }

func (authInfo) AuthType() string { return "inproc" }

// outgoing is the metadata that a service sees: what the caller has put into
// its context, and what its credentials add.
func outgoing(ctx context.Context, method string, o *options) (metadata.MD, error) {
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if md == nil {
		md = metadata.MD{}
	}
	if err := valid(md); err != nil {
		return nil, err
	}
	for key := range md {
		if reserved(key) {
			delete(md, key)
		}
	}
	if o.creds == nil {
		return md, nil
	}
	added, err := o.creds.GetRequestMetadata(
		credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{Method: method, AuthInfo: self.AuthInfo}),
		"https://"+address{}.String()+method[:strings.LastIndexByte(method, '/')])
	if err != nil {
		if st, ok := status.FromError(err); ok && restricted(st.Code()) {
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

// restricted reports whether a status is the service's alone to give (gRFC A54).
func restricted(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.DataLoss:
		return true
	}
	return false
}

// valid holds metadata to what a network can carry, in grpc-go's words.
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
	if strings.HasSuffix(key, "-bin") {
		return ""
	}
	for _, value := range values {
		for i := range len(value) {
			if value[i] < ' ' || value[i] > '~' {
				return fmt.Sprintf("header key %q contains value with non-printable ASCII characters", key)
			}
		}
	}
	return ""
}

// reserved reports whether a key belongs to the protocol, which drops it where
// it is somebody's metadata.
func reserved(key string) bool {
	switch key {
	case "content-type", "user-agent", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return strings.HasPrefix(key, ":")
}
