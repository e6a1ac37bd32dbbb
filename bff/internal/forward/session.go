package forward

import (
	"errors"
	"net/http"
	"strconv"
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

// lasting are the media types of answers without a set end: server-sent events,
// lines of JSON, and the streams of Connect and gRPC-Web.
var lasting = []string{
	"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/stream+json",
	"multipart/x-mixed-replace", "application/connect+", "application/grpc",
}

// longBytes is the length from which a body takes long enough to end with its session.
const longBytes = 1 << 20

// isLong reports whether an answer with this header may take long: a file of more than
// longBytes, or of unknown length. Pages and JSON of unknown length are not, unless they
// are attachments: users give their files any type.
func isLong(h http.Header) bool {
	if text := h.Get("Content-Length"); text != "" {
		length, err := strconv.ParseInt(text, 10, 64)
		return err != nil || length > longBytes
	}
	mediaType := h.Get("Content-Type")
	return h["Content-Disposition"] != nil || !strings.HasPrefix(mediaType, "application/json") && !strings.HasPrefix(mediaType, "text/html")
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
