package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/internal/reason"
)

const (
	// comeBack is how long a client should wait whose stream has ended because
	// this gateway does.
	comeBack = 2 * time.Second
	// writeBytes is how much a client has writeMargin to take: it need not be
	// fast.
	writeBytes = 64 << 10
)

// A flow is the answer to a call that streams. It keeps the connection alive
// while there is nothing to tell, gives up a client that does not read, and
// says how the stream ended.
type flow struct {
	x       *exchange
	format  format  // nil for raw bytes
	answers *stream // from the server, once the call is made
	ctx     context.Context
	cancel  context.CancelCauseFunc
	unhook  func() bool
	broken  atomic.Pointer[refusal] // why the request's body was not read to its end

	beats sync.WaitGroup
	mu    sync.Mutex
	begun bool // the header has been sent, and with it success
	fresh bool // something was written since the last heartbeat
	gone  bool // nobody reads any more
	ended bool // the client has been told how
}

var (
	errGone    = errors.New("gateway: the client does not read")
	errLeaving = errors.New("gateway: the gateway stops")
	errSlow    = errors.New("the service did not answer in time")
)

// newFlow lets an answer outlive the limits of http.Server that hold for a
// request and its answer; the service ends it.
func (g *Gateway) newFlow(x *exchange, r *http.Request, how format) *flow {
	controller := http.NewResponseController(x.w)
	_ = controller.SetReadDeadline(time.Time{})
	_ = controller.SetWriteDeadline(time.Time{})
	f := &flow{x: x, format: how}
	f.ctx, f.cancel = context.WithCancelCause(r.Context())
	f.unhook = func() bool { return true }
	if how != nil { // bytes have an end, and are worth nothing without it
		f.unhook = context.AfterFunc(g.leaving, func() { f.cancel(errLeaving) })
	}
	return f
}

// Drain ends all streams, present and future ones, with a goodbye that tells
// the client when to come back. The HTTP server that [Gateway.Server] returns
// calls it at its shutdown; whoever serves a gateway otherwise should do so
// before waiting for requests to end, since streams need not have an end.
func (g *Gateway) Drain() { g.leave() }

// leavingStatus is the goodbye.
func leavingStatus() *status.Status {
	st := status.New(codes.Unavailable, "this gateway stops; come back")
	detailed, err := st.WithDetails(
		&errdetails.ErrorInfo{Domain: reason.Domain, Reason: reason.ServerStopping},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(comeBack)},
	)
	if err != nil {
		return st
	}
	return detailed
}

func (f *flow) events() bool { return f.format == events{} }

// begin sends the header, and from then on heartbeats.
func (f *flow) begin(every time.Duration) error {
	h := f.x.Header()
	h.Set("Content-Type", typeNDJSON)
	if f.events() {
		h.Set("Content-Type", typeEvents)
	}
	// A message that a proxy keeps for the next one comes too late.
	h.Set("X-Accel-Buffering", "no")
	if len(h["Cache-Control"]) == 0 {
		h.Set("Cache-Control", "no-store, no-transform")
	}
	f.begun = true
	err := f.flush()
	if f.x.request.Method == http.MethodHead {
		f.cancel(nil) // nobody is going to read
		return err
	}
	if f.events() {
		f.beats.Go(func() { f.beat(every) })
	}
	return err
}

// beat writes a comment now and then, so that what lies between takes no quiet
// stream for a dead one, and so that a client that has gone without a word is
// noticed.
func (f *flow) beat(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-ticker.C:
		}
		if !f.mu.TryLock() { // somebody is writing
			continue
		}
		if !f.fresh {
			f.send(heartbeat)
			f.flushLocked()
		}
		f.fresh = false
		f.mu.Unlock()
	}
}

// end says that the stream has ended as it should, unless something else was
// said, or nobody listens.
func (f *flow) end() {
	if !f.events() || !f.begun || f.x.request.Method == http.MethodHead {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.send(endEvent)
		f.flushLocked()
	}
}

// failed notes that the client is about to be told why the stream ends; where
// the client has left by itself, it is told nothing.
func (f *flow) failed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	if f.x.request.Context().Err() != nil {
		f.gone = true
	}
}

// close waits until nothing writes any more.
func (f *flow) close() {
	f.unhook()
	f.cancel(nil)
	f.beats.Wait()
	// For the end, which net/http writes, to a client that does not read.
	_ = http.NewResponseController(f.x.w).SetWriteDeadline(time.Now().Add(writeMargin))
}

func (f *flow) write(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = true
	f.send(b)
}

func (f *flow) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushLocked()
}

// send gives a client a limited time to read each part of a message, however
// long that is. One that does not ends the call, and nothing more is written.
func (f *flow) send(b []byte) {
	controller := http.NewResponseController(f.x.w)
	for len(b) > 0 && !f.gone {
		part := b[:min(len(b), writeBytes)]
		b = b[len(part):]
		_ = controller.SetWriteDeadline(time.Now().Add(writeMargin))
		n, err := f.x.w.Write(part)
		f.x.written += int64(n)
		if err != nil {
			f.lose()
		}
	}
}

func (f *flow) flushLocked() error {
	if f.x.status == 0 {
		f.x.WriteHeader(f.x.okStatus())
	}
	if f.gone {
		return nil
	}
	controller := http.NewResponseController(f.x.w)
	_ = controller.SetWriteDeadline(time.Now().Add(writeMargin))
	err := controller.Flush()
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		f.lose()
		err = nil
	}
	_ = controller.SetWriteDeadline(time.Time{}) // HTTP/2 resets a stream whose deadline passes, even between writes
	return err
}

func (f *flow) lose() {
	f.gone = true
	f.cancel(errGone)
}
