package forward

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A Watcher reports the ends of sessions.
type Watcher interface {
	// OnEnd calls f, perhaps twice, when the session ends. stop ends that.
	OnEnd(s *session.Session, f func()) (stop func())
}

// A sessionWatch ties an answer to its session: a stream of the API, a
// WebSocket of the front end. When the session ends, the answer is cut, and
// nothing more passes in either direction.
type sessionWatch struct {
	sever func()
	stop  func()

	severed atomic.Bool

	mu   sync.Mutex
	done bool // the answer has ended: its connection may serve another by now
}

// errSessionEnded is returned for writes to an answer whose session has ended.
var errSessionEnded = errors.New("forward: the session of this answer has ended")

func watch(w Watcher, s *session.Session, sever func()) *sessionWatch {
	sw := &sessionWatch{sever: sever}
	sw.stop = w.OnEnd(s, sw.cut)
	return sw
}

func (sw *sessionWatch) cut() {
	sw.severed.Store(true)
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if !sw.done {
		sw.done = true
		sw.sever()
	}
}

// release ends the watch of an answer that has ended by itself.
func (sw *sessionWatch) release() {
	sw.mu.Lock()
	sw.done = true
	sw.mu.Unlock()
	sw.stop()
}

// A SessionWriter ties an answer to its session if it turns out to last: a
// stream, or a connection that is taken over. That shows when its header is
// sent, and other answers cost nothing: the answer is cut at its connection,
// because a context that can be cancelled would have to be made for each
// request beforehand.
type SessionWriter struct {
	http.ResponseWriter
	Sessions Watcher
	Session  *session.Session // nil for none

	closer *streamCloser // nil for a handler that ends its streams itself
	watch  *sessionWatch // nil before the header of a lasting answer
	begun  bool
}

// begin is called with the status before the header is sent.
func (w *SessionWriter) begin(status int) {
	if w.begun {
		return
	}
	w.begun = true
	if status != http.StatusOK || !Lasts(w.Header()) {
		return
	}
	if w.closer != nil {
		w.closer.begin(w.Header())
	}
	if w.Session != nil {
		w.watch = watch(w.Sessions, w.Session, func() { Sever(w.ResponseWriter) })
	}
}

func (w *SessionWriter) cut() bool { return w.watch != nil && w.watch.severed.Load() }

// Release ends the watch. It is called when the handler has returned.
func (w *SessionWriter) Release() {
	if w.watch != nil {
		w.watch.release()
	}
}

// WriteHeader sends the header.
func (w *SessionWriter) WriteHeader(status int) {
	if status >= 200 {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body. It fails when the session has ended.
func (w *SessionWriter) Write(p []byte) (int, error) {
	w.begin(http.StatusOK) // a handler that sets no status
	if w.cut() {
		return 0, errSessionEnded
	}
	if w.closer != nil {
		w.closer.written(p)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError sends what is buffered. It fails when the session has ended.
func (w *SessionWriter) FlushError() error {
	w.begin(http.StatusOK)
	if w.cut() {
		return errSessionEnded
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands over the connection of a WebSocket, which is closed when the
// session ends; a proxy then closes the one behind it.
func (w *SessionWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || w.Session == nil {
		return conn, buffered, err
	}
	c := &sessionConn{Conn: conn}
	c.watch = watch(w.Sessions, w.Session, func() { _ = conn.Close() }) // an error means that it is closed
	return c, buffered, nil
}

// Unwrap serves http.ResponseController.
func (w *SessionWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A sessionConn ends its watch when it is closed, which may be long after the
// handler that took it has returned.
type sessionConn struct {
	net.Conn
	watch *sessionWatch
}

func (c *sessionConn) Close() error {
	c.watch.release()
	return c.Conn.Close()
}

// CloseWrite tells one side that the other sends nothing more.
func (c *sessionConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// lasting are the media types of answers without a set end: server-sent events,
// lines of JSON, and the streams of Connect and gRPC-Web.
var lasting = []string{
	"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/stream+json",
	"multipart/x-mixed-replace", "application/connect+", "application/grpc",
}

// Lasts reports whether an answer with this header is a stream, which ends with
// its session.
func Lasts(h http.Header) bool {
	mediaType := h.Get("Content-Type")
	if strings.HasPrefix(mediaType, "application/json") && !strings.HasPrefix(mediaType, "application/json-seq") ||
		strings.HasPrefix(mediaType, "text/html") { // nearly all
		return false
	}
	for _, prefix := range lasting {
		if len(mediaType) >= len(prefix) && strings.EqualFold(mediaType[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
