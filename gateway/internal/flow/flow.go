// Package flow owns answers that are streams: their format, heartbeats, a time
// limit for slow clients, and how they end when the call fails or the gateway
// stops. It leaves the messages to its callers.
package flow

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/exchange"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
	"github.com/gatehouse-dev/gatehouse/gateway/internal/refusal"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

const (
	// WriteTimeout is how long a client may take to read writeBytes of an answer.
	WriteTimeout = 30 * time.Second
	writeBytes   = 64 << 10
)

// Flows begins streams and ends them when the gateway stops. It is safe for
// concurrent use.
type Flows struct {
	heartbeat time.Duration
	open      *metrics.UpDownCounter
	stopping  context.Context // ends with Stop
	stop      context.CancelFunc
}

// New returns Flows whose event streams carry a comment after a silence of
// heartbeat, and which counts those that are open.
func New(heartbeat time.Duration, open *metrics.UpDownCounter) *Flows {
	f := &Flows{heartbeat: heartbeat, open: open}
	f.stopping, f.stop = context.WithCancel(context.Background())
	return f
}

// Stop ends all streams of messages, present and future.
func (f *Flows) Stop() { f.stop() }

// A Flow is the answer of one call that streams. It is an exchange.Stream.
type Flow struct {
	x         *exchange.Exchange
	format    Format
	heartbeat time.Duration
	ctx       context.Context
	cancel    context.CancelCauseFunc
	unhook    func() bool
	closed    func() // counts

	beats sync.WaitGroup
	mu    sync.Mutex
	begun bool // the header of a successful answer has been sent
	fresh bool // something was written since the last heartbeat
	gone  bool // the client does not read
	ended bool // the end has been written
}

var errGone = errors.New("gateway: the client does not read")

// Begin makes the answer of x a stream. The time limits of http.Server for a
// request and its answer no longer apply to it. The caller must call Close.
func (f *Flows) Begin(ctx context.Context, x *exchange.Exchange, format Format) *Flow {
	controller := x.Controller()
	_ = controller.SetReadDeadline(time.Time{})
	_ = controller.SetWriteDeadline(time.Time{})
	flow := &Flow{x: x, format: format, heartbeat: f.heartbeat, unhook: func() bool { return true }}
	flow.ctx, flow.cancel = context.WithCancelCause(ctx)
	if format != Raw { // raw bytes end by themselves, and are useless when incomplete
		flow.unhook = context.AfterFunc(f.stopping, func() { flow.cancel(refusal.ErrStopping) })
		if f.stopping.Err() != nil { // at once, so that the server is not called
			flow.cancel(refusal.ErrStopping)
		}
	}
	x.SetStream(flow)
	flow.closed = f.open.Begin(format.kind())
	return flow
}

// Context returns the context of the call. It ends with the stream.
func (f *Flow) Context() context.Context { return f.ctx }

// Cancel ends the call.
func (f *Flow) Cancel(cause error) { f.cancel(cause) }

// Raw reports whether the answer is raw bytes.
func (f *Flow) Raw() bool { return f.format == Raw }

// Start sends the header, and from then on heartbeats. It returns whether a body
// follows.
func (f *Flow) Start() (body bool, err error) {
	h := f.x.Header()
	h.Set("Content-Type", httpheader.NDJSON)
	if f.format == Events {
		h.Set("Content-Type", httpheader.Events)
	}
	h.Set("X-Accel-Buffering", "no") // nginx must not hold messages back
	if len(h["Cache-Control"]) == 0 {
		h.Set("Cache-Control", "no-store, no-transform")
	}
	f.begun = true
	err = f.Flush()
	if f.x.Request.Method == http.MethodHead {
		f.cancel(nil)
		return false, err
	}
	if f.format == Events {
		f.beats.Go(f.beat)
	}
	return true, err
}

// Message writes a message whose JSON is data.
func (f *Flow) Message(m proto.Message, data []byte) error {
	var b bytes.Buffer
	f.format.message(&b, m, data)
	f.Write(b.Bytes())
	return f.Flush()
}

// Fail ends the stream with a status whose JSON is data. It writes nothing if
// the client has closed the connection.
func (f *Flow) Fail(st *status.Status, data []byte) {
	f.mu.Lock()
	f.ended = true
	if f.x.Context().Err() != nil {
		f.gone = true
	}
	f.mu.Unlock()
	var b bytes.Buffer
	f.format.failure(&b, st, data)
	f.Write(b.Bytes())
	_ = f.Flush() // a client that is gone misses it
}

// beat writes a comment into a silent stream, so that proxies do not close it and
// a lost client is noticed.
func (f *Flow) beat() {
	ticker := time.NewTicker(f.heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-ticker.C:
		}
		if !f.mu.TryLock() { // a message is being written
			continue
		}
		if !f.fresh {
			f.send(heartbeat)
			_ = f.flushLocked() // only Flush reports a writer that cannot flush
		}
		f.fresh = false
		f.mu.Unlock()
	}
}

// End writes the end of a successful stream, unless another end was written.
func (f *Flow) End() {
	if f.format != Events || !f.begun || f.x.Request.Method == http.MethodHead {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.send(endEvent)
		_ = f.flushLocked() // only Flush reports a writer that cannot flush
	}
}

// Close ends the call and waits for the heartbeats.
func (f *Flow) Close() {
	f.closed()
	f.unhook()
	f.cancel(nil)
	f.beats.Wait()
	// net/http writes the end of the body; the client may not read it.
	_ = f.x.Controller().SetWriteDeadline(time.Now().Add(WriteTimeout))
}

// Write sends a part of the body.
func (f *Flow) Write(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = true
	f.send(b)
}

// Flush sends what is buffered, and the header if it has not been sent.
func (f *Flow) Flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushLocked()
}

// send writes b in parts, each with a time limit. A client that exceeds it ends
// the call, and nothing more is written.
func (f *Flow) send(b []byte) {
	controller := f.x.Controller()
	for len(b) > 0 && !f.gone {
		part := b[:min(len(b), writeBytes)]
		b = b[len(part):]
		_ = controller.SetWriteDeadline(time.Now().Add(WriteTimeout))
		if _, err := f.x.WriteRaw(part); err != nil {
			f.lose()
		}
	}
}

func (f *Flow) flushLocked() error {
	f.x.Begin()
	if f.gone {
		return nil
	}
	controller := f.x.Controller()
	_ = controller.SetWriteDeadline(time.Now().Add(WriteTimeout))
	err := controller.Flush()
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		f.lose()
		err = nil
	}
	_ = controller.SetWriteDeadline(time.Time{}) // HTTP/2 resets a stream whose deadline passes, even between writes
	return err
}

func (f *Flow) lose() {
	f.gone = true
	f.cancel(errGone)
}
