package upstream

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/lifetime"
)

// A Context is the context of one call: it has the end of the call, the [Call] and the metadata. It
// is embedded in what the gateway has for the request, which no other request uses.
type Context struct {
	lifetime.Context
	call     Call
	metadata metadata.MD
	options  [4]grpc.CallOption // room for those of generated code and one more
}

// Begin begins a call below parent. The metadata may be changed until the call is made.
func (c *Context) Begin(parent context.Context, call Call, md metadata.MD) {
	c.Context.Begin(parent, time.Time{})
	c.call, c.metadata = call, md
}

type callKey struct{}

// CallOf returns the call that a context has, nil if it has none.
func CallOf(ctx context.Context) Call {
	call, _ := ctx.Value(callKey{}).(Call)
	return call
}

// Value returns the call, the metadata of the call in the form of package metadata, and the values
// of the parent.
func (c *Context) Value(key any) any {
	switch key {
	case callKey{}:
		return c.call
	case outgoing:
		return metadata.NewOutgoingContext(context.Background(), c.metadata).Value(key)
	}
	return c.Context.Value(key)
}

// OutgoingMetadata returns the metadata of the call. A connection in this process takes it as it is.
func (c *Context) OutgoingMetadata() metadata.MD { return c.metadata }

// outgoing is the private key of the metadata of a call. It is found by observing a look-up. Without
// it, calls would have no metadata, and the server would refuse them.
var outgoing = func() any {
	observed := observer{Context: context.Background()}
	metadata.FromOutgoingContext(&observed)
	return observed.key
}()

// An observer is a context that records the key of a look-up.
type observer struct {
	context.Context
	key any
}

func (o *observer) Value(key any) any { o.key = key; return nil }

// Unending returns c without its end, for generated code: it derives a context from that of the
// request, which costs much more if that can end. The Call gives the connection c itself.
func (c *Context) Unending() context.Context { return unending{c} }

type unending struct{ *Context }

func (unending) Deadline() (time.Time, bool) { return time.Time{}, false }
func (unending) Done() <-chan struct{}       { return nil }
func (unending) Err() error                  { return nil }
