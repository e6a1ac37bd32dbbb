package forward

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Patience is the write deadline of an answer. A deadline serves all writes
	// within deadlineLife, so that a client has a second less at the least.
	Patience     = 30 * time.Second // also for the next part of a request's body
	deadlineLife = time.Second
	// restPatience is how long the rest of a request's body is read after its
	// answer. restLull ends that earlier if the client sends nothing and the
	// end of the answer has not been sent.
	restPatience = 5 * time.Second
	restLull     = 250 * time.Millisecond
	// maxRest bounds the rest, in bytes.
	maxRest = 64 << 20
)

// A Writer is the outermost http.ResponseWriter of a request. It sets the
// deadlines of the connection, and handles a request's body that is still
// arriving when its answer begins.
//
// A write deadline ends requests of clients that do not read, and not those of
// servers that pause. Over HTTP/1, a deadline between writes has no effect, and
// is set until a flush. Over HTTP/2 it would reset the stream, and is set during
// writes only. net/http removes it after the request.
//
// Over HTTP/1, net/http stops reading the body when the answer begins. A proxy
// that still reads it gets an error and cuts the answer (golang/go#40747). So
// the Writer enables full duplex, and an answer that begins before its request
// was read is the last one on its connection: net/http must neither take the
// rest of the body for a request, nor read it while it waits for one
// (golang/go#68560).
type Writer struct {
	http.ResponseWriter
	Values [3]string // room for those of header fields that every answer has
	body   *body     // of a request over HTTP/1; nil if there is none
	left   int64     // bytes to write of an answer with Content-Length; -1 without

	mu      sync.Mutex // of the write deadline
	armed   time.Time  // when it was set; zero if it is not, or by a handler
	severed bool       // guarded by mu, too

	started, hijacked bool
	multiplexed       bool // HTTP/2
}

// NewWriter returns a Writer for the answer to r, and the request to serve.
// Finish must be called when the request has been served, unless by a panic.
func NewWriter(w http.ResponseWriter, r *http.Request) (*Writer, *http.Request) {
	writer := &Writer{ResponseWriter: w, multiplexed: r.ProtoMajor > 1}
	if r.ContentLength == 0 || r.Body == nil {
		return writer, r
	}
	arriving := &body{ReadCloser: r.Body, stalled: func() { _ = writer.control().SetReadDeadline(past) }}
	if !writer.multiplexed {
		_ = writer.control().EnableFullDuplex() // an error means that there is no connection
		writer.body = arriving
	}
	r = r.WithContext(r.Context())
	r.Body = arriving
	return writer, r
}

// Started reports whether the final header has been sent.
func (w *Writer) Started() bool { return w.started }

// WriteHeader sends the header.
func (w *Writer) WriteHeader(status int) {
	switch {
	case status >= 200:
		if !w.started && w.body.remains() {
			w.Header().Set("Connection", "close")
			w.left = -1
			if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil {
				w.left = n
			}
		}
		w.started = true
	case status == http.StatusSwitchingProtocols:
		w.started = true
	default: // net/http writes it at once
		w.arm()
		defer w.disarm()
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin sends the header of a handler that sets no status.
func (w *Writer) begin() {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
}

// Write sends a part of the body.
func (w *Writer) Write(p []byte) (int, error) {
	w.begin()
	w.arm()
	n, err := w.ResponseWriter.Write(p)
	w.left -= int64(n)
	if w.multiplexed {
		w.disarm()
	}
	return n, err
}

// FlushError sends what is buffered.
func (w *Writer) FlushError() error {
	w.begin()
	w.arm()
	err := w.control().Flush()
	w.disarm()
	return err
}

// Hijack hands over the connection.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.control().Hijack()
	if err == nil {
		w.started, w.hijacked = true, true
	}
	return conn, buffered, err
}

// SetWriteDeadline sets a deadline of the handler's until its next write.
func (w *Writer) SetWriteDeadline(deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = time.Time{}
	if w.severed {
		return nil
	}
	return w.control().SetWriteDeadline(deadline)
}

// SetReadDeadline sets the deadline for the body of the request, unless the answer was
// severed: a handler that sets one before each read would undo that.
func (w *Writer) SetReadDeadline(deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.severed {
		return nil
	}
	return w.control().SetReadDeadline(deadline)
}

// Unwrap serves http.ResponseController.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Finish ends the answer. Its deadline remains until net/http has written the
// end.
func (w *Writer) Finish() {
	if w.hijacked {
		return
	}
	if w.body != nil {
		w.begin()
	}
	w.arm()
	if w.body.remains() {
		w.drain()
	}
}

// drain reads what a client sends after its answer, for a limited time: many
// clients read the answer only after they have sent everything, and lose it if
// the connection is closed before.
func (w *Writer) drain() {
	_ = w.control().Flush()
	lull := restLull // net/http sends the last chunk after drain
	if w.left == 0 {
		lull = restPatience
	}
	until := time.Now().Add(restPatience)
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	for n := 0; n < maxRest && !w.cut(); {
		now := time.Now()
		if !now.Before(until) {
			break
		}
		deadline := until
		if lulled := now.Add(lull); lulled.Before(until) {
			deadline = lulled
		}
		if w.control().SetReadDeadline(deadline) != nil {
			return // there is no connection
		}
		m, err := w.body.Read(buffer)
		if n += m; err == io.EOF {
			return
		} else if err != nil {
			break
		}
	}
	if !w.cut() {
		_ = w.control().SetReadDeadline(until) // for the rest that net/http reads
	}
}

// control returns the controller of the inner writer, without an allocation.
func (w *Writer) control() *http.ResponseController {
	return http.NewResponseController(w.ResponseWriter)
}

// arm sets the deadline, unless it was set within deadlineLife.
func (w *Writer) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.armed) < deadlineLife || w.severed {
		return
	}
	w.armed = now
	_ = w.control().SetWriteDeadline(now.Add(Patience))
}

// disarm removes the deadline.
func (w *Writer) disarm() { _ = w.SetWriteDeadline(time.Time{}) }

func (w *Writer) cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.severed
}

// Sever ends an answer from another goroutine: it cancels the request's context,
// and pending and later writes fail.
func Sever(w http.ResponseWriter) {
	for {
		switch t := w.(type) {
		case *Writer:
			t.mu.Lock()
			defer t.mu.Unlock()
			t.severed = true
			_ = t.control().SetReadDeadline(past) // net/http then cancels the context
			_ = t.control().SetWriteDeadline(past)
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(past) // an error means that there is no connection
			_ = control.SetWriteDeadline(past)
			return
		}
	}
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// A body records whether it was read to its end. A proxy may read it after its
// answer has ended. A client that sends nothing for Patience while it is read is
// stalled: reading then fails with os.ErrDeadlineExceeded. A deadline of the
// connection would, over HTTP/2, count the time of a server that does not read.
type body struct {
	io.ReadCloser
	ended   atomic.Bool
	stalled func()
}

func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(Patience, b.stalled)
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

func (b *body) remains() bool { return b != nil && !b.ended.Load() }

// buffers is a pool of buffers for copying bodies.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

type buffer [32 << 10]byte

func (p *bufferPool) Get() []byte {
	b, ok := p.pool.Get().(*buffer)
	if !ok {
		b = new(buffer)
	}
	return b[:]
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*buffer)(b)) }
