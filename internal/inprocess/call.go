package inprocess

import (
	"maps"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A call has the header and the trailer that a service sets. It is the
// grpc.ServerTransportStream for grpc.SetHeader and similar functions.
type call struct {
	method string
	reuse  atomic.Bool // the service keeps no data that it receives

	mu              sync.Mutex
	header, trailer metadata.MD
	sent            bool          // the header has been sent, or an answer without one
	ended           bool          // header and trailer can no longer be set
	headed          chan struct{} // for streams: closed when sent or ended
}

// errLate is the error of grpc-go.
var errLate = status.Error(codes.Internal, "transport: SendHeader called multiple times")

// Method implements grpc.ServerTransportStream.
func (c *call) Method() string { return c.method }

// SetHeader implements grpc.ServerTransportStream.
func (c *call) SetHeader(md metadata.MD) error {
	if len(md) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent || c.ended {
		return errLate
	}
	c.header = metadata.Join(c.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (c *call) SendHeader(md metadata.MD) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent || c.ended {
		return errLate
	}
	c.header = metadata.Join(c.header, md)
	c.send()
	return nil
}

// send is called with the lock held.
func (c *call) send() {
	c.sent = true
	maps.DeleteFunc(c.header, reserved)
	if c.headed != nil {
		c.header = metadata.Join(c.header, minimalHeader)
		close(c.headed)
	}
}

// SetTrailer implements grpc.ServerTransportStream.
func (c *call) SetTrailer(md metadata.MD) error {
	if len(md) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return errLate
	}
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

// finish ends the call. A header that was set and not sent is sent with it.
func (c *call) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sent:
	case len(c.header) > 0:
		c.send()
	case c.headed != nil:
		close(c.headed)
	}
	c.ended = true
	maps.DeleteFunc(c.trailer, reserved)
}

// sentHeader returns the header for the caller; it is not changed after send.
func (c *call) sentHeader() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sent {
		return nil
	}
	return c.header
}

func (c *call) sentTrailer() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		return nil
	}
	return c.trailer
}
