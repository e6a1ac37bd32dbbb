package forward

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// A drainer is an API in this process that ends its own streams when the
// process is about to stop, as a gateway does.
type drainer interface{ Drain() }

const (
	endEvent = "event: end\nretry: 2000\ndata: {}\n\n"
	endLine  = `{"error":{"code":14,"message":"this server stops; come back","details":[]}}` + "\n"
)

var errStopping = errors.New("forward: the process is about to stop")

// A streamCloser ends streams of an API or a front end in another process when
// this process is about to stop. That one does not stop with it, so the
// streamCloser writes the last message of an API, in the form of the stream. A
// front end has messages of its own: its stream just ends.
type streamCloser struct {
	silent   bool // writes no message
	ctx      context.Context
	cancel   context.CancelCauseFunc
	stopping <-chan struct{}

	mediaType string // of an answer that lasts
	tail      []byte // the last bytes written, two at most
	ended     bool   // the API has written the last message itself
}

// serve calls handler with the context of the streamCloser, and writes the last
// message if that has ended the answer.
func (c *streamCloser) serve(ctx context.Context, a *Answer, handler func(context.Context)) {
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	a.closer = c
	defer func() {
		p := recover()
		if context.Cause(c.ctx) == errStopping && (p == nil || p == http.ErrAbortHandler) && c.end(a) {
			return
		}
		if p != nil {
			panic(p)
		}
	}()
	handler(c.ctx)
}

// begin is called before the header of a stream is sent.
func (c *streamCloser) begin(h http.Header) {
	c.mediaType = strings.ToLower(h.Get("Content-Type"))
	if !c.silent {
		h.Set("X-Accel-Buffering", "no") // nginx would buffer messages
	}
	go func() {
		select {
		case <-c.stopping:
			c.cancel(errStopping)
		case <-c.ctx.Done():
		}
	}()
}

// ServeUntilStop is Serve for a front end. Its streams end when the process is
// about to stop; one that stands within a message is cut off.
func (a *Answer) ServeUntilStop(tracer *tracing.Tracer, template string, handler func(context.Context)) {
	a.Serve(tracer, template, func(ctx context.Context) {
		closer := &streamCloser{stopping: a.Stopping, silent: true}
		closer.serve(ctx, a, handler)
	})
}

// end writes the last message. It returns false if the stream stands within a
// message, or if its media type has no such message.
func (c *streamCloser) end(a *Answer) bool {
	message, boundary := "", ""
	switch {
	case c.ended:
		return true
	case strings.HasPrefix(c.mediaType, "text/event-stream"):
		message, boundary = endEvent, "\n\n"
	case strings.HasPrefix(c.mediaType, "application/x-ndjson"):
		message, boundary = endLine, "\n"
	}
	if message == "" || len(c.tail) > 0 && !bytes.HasSuffix(c.tail, []byte(boundary)) {
		return false
	}
	if c.silent {
		return true
	}
	_, err := a.Write([]byte(message))
	return err == nil
}

// written records where the stream stands.
func (c *streamCloser) written(p []byte) {
	if c.mediaType == "" || len(p) == 0 {
		return
	}
	c.tail = append(c.tail, p[max(0, len(p)-2):]...)
	c.tail = c.tail[max(0, len(c.tail)-2):]
	c.ended = bytes.Contains(p, []byte("event: end\n")) || bytes.Contains(p, []byte("event: error\n"))
}
