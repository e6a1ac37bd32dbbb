package bff

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/forward"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A lifeline ties an answer that lasts to the session under which it is given:
// a stream of the API, a WebSocket of the front end. When the session ends,
// here or at another node, by logout or by time, the lifeline is cut, and
// nothing more goes either way.
//
// Short answers have none, and cost nothing for that: whether one lasts shows
// only when its header is sent, and then it is cut by its connection. A context
// that could be cancelled would have to be made for each request beforehand.
type lifeline struct {
	sever func()
	stop  func() // of watching

	severed atomic.Bool

	mu   sync.Mutex
	done bool // the answer has ended: its connection may serve another by now
}

// errSevered is returned for writes to an answer whose session has ended.
var errSevered = errors.New("the session of this answer has ended")

func (b *BFF) tie(s *session.Session, sever func()) *lifeline {
	changes, stop := b.sessions.Watch(s)
	l := &lifeline{sever: sever, stop: stop}
	over := b.whenOver(s, func() { l.cut() })
	go func() {
		defer over()
		for c := range changes {
			if c.Ended {
				l.cut()
				return
			}
		}
	}()
	return l
}

// whenOver ends a session at the moment when its access token runs out, if
// that cannot be renewed, and calls f then. What it returns calls that off.
func (b *BFF) whenOver(s *session.Session, f func()) (stop func()) {
	t := s.Data.Tokens
	if t.Refresh != "" || t.ExpiresAt.IsZero() {
		return func() {}
	}
	timer := time.AfterFunc(t.ExpiresAt.Sub(b.now()), func() {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		if err := b.sessions.End(ctx, s, session.ReasonExpired); err != nil {
			b.logger.WarnContext(ctx, "a session that is over was not ended; its next request will", "session", s, "cause", err)
		}
		f()
	})
	return func() { timer.Stop() }
}

func (l *lifeline) cut() {
	l.severed.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.done = true
		l.sever()
	}
}

// release is for when an answer has ended by itself.
func (l *lifeline) release() {
	l.mu.Lock()
	l.done = true
	l.mu.Unlock()
	l.stop()
}

// A tied writer gives an answer a lifeline if it turns out to last. Without a
// session, its answers are not tied.
type tied struct {
	http.ResponseWriter
	b        *BFF
	s        *session.Session
	line     *lifeline
	farewell *farewell // nil for a handler that ends its streams itself
	begun    bool
}

// begin is called with the status before the header is sent.
func (t *tied) begin(status int) {
	if t.begun {
		return
	}
	t.begun = true
	if status != http.StatusOK || !lasts(t.Header()) {
		return
	}
	if t.farewell != nil {
		t.farewell.begin(t.Header(), t.b.leaving)
	}
	if t.s != nil {
		t.line = t.b.tie(t.s, func() { forward.Sever(t.ResponseWriter) })
	}
}

func (t *tied) cut() bool { return t.line != nil && t.line.severed.Load() }

func (t *tied) release() {
	if t.line != nil {
		t.line.release()
	}
}

func (t *tied) WriteHeader(status int) {
	if status >= 200 {
		t.begin(status)
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tied) Write(p []byte) (int, error) {
	t.begin(http.StatusOK) // a handler that sets no status
	if t.cut() {
		return 0, errSevered
	}
	if t.farewell != nil {
		t.farewell.written(p)
	}
	return t.ResponseWriter.Write(p)
}

func (t *tied) FlushError() error {
	t.begin(http.StatusOK)
	if t.cut() {
		return errSevered
	}
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// Hijack hands over the connection of a WebSocket, which is closed when the
// session ends; a proxy then closes the one behind it.
func (t *tied) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil || t.s == nil {
		return conn, buffered, err
	}
	c := &tiedConn{Conn: conn}
	c.line = t.b.tie(t.s, func() { _ = conn.Close() }) // the browser may have been first
	return c, buffered, nil
}

// Unwrap serves http.ResponseController.
func (t *tied) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// A tiedConn lets go of its lifeline when it is closed, which may be long
// after the handler that took it has returned.
type tiedConn struct {
	net.Conn
	line *lifeline
}

func (c *tiedConn) Close() error {
	c.line.release()
	return c.Conn.Close()
}

// CloseWrite says to one side that the other has nothing more to say.
func (c *tiedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// lasting are the media types of answers that go on for as long as there is
// something to tell: server-sent events, lines of JSON, and the streams of
// Connect and gRPC-Web.
var lasting = []string{
	"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/stream+json",
	"multipart/x-mixed-replace", "application/connect+", "application/grpc",
}

func lasts(h http.Header) bool {
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
