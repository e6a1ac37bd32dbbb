package bff

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// heartbeat is how often a silent stream says that it lives, so that what
	// lies between does not take it for dead.
	heartbeat = 15 * time.Second
	// eventRetry is how long a browser waits before it asks again, in
	// milliseconds.
	eventRetry = 2000
	// maxStreams bounds the streams of one session at one node. A browser needs
	// one.
	maxStreams = 8
)

// events tells a browser what becomes of its session, as server-sent events,
// and never extends it:
//
//	session   at the start: the time that is left, as at /api/auth/session
//	extended  the same again, when use has extended it, or its end has moved otherwise
//	replaced  another login in this browser took its place; the end
//	ended     it is over, with the reason; the end
//	goodbye   this server is leaving, the session is not; the end
//
// Signed out it answers 204, which keeps a browser from asking again.
func (b *BFF) events(w http.ResponseWriter, r *http.Request) {
	// A page of a sibling subdomain could read nothing of it, but use up the
	// streams.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		respond.Error(w, http.StatusForbidden, "this request came from another origin")
		return
	}
	s, err := b.current(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		w.WriteHeader(http.StatusNoContent)
		return
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
		return
	case !b.streams.begin(s.ID):
		w.Header().Set("Retry-After", respond.RetryAfter)
		respond.Error(w, http.StatusTooManyRequests, "this session has too many event streams")
		return
	}
	defer b.streams.end(s.ID)
	changes, stop := b.sessions.Watch(s)
	defer stop()
	defer b.whenOver(s, func() {})()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events until they are many
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	out.write(fmt.Sprintf("retry: %d\n", eventRetry))
	out.event("session", b.times(s))
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for out.err == nil {
		select {
		case c, ok := <-changes:
			switch {
			case !ok:
				return
			case c.Ended && c.Reason == session.ReasonReplaced:
				out.event("replaced", map[string]any{})
				return
			case c.Ended:
				out.event("ended", map[string]any{"reason": c.Reason.String()})
				return
			default:
				changed := *s
				changed.Record = c.Record
				if now, err := b.sessions.Reload(r.Context(), s); err == nil { // with what can be renewed
					changed = *now
				}
				idle, latest := s.Ends()
				s = &changed
				if newIdle, newLatest := s.Ends(); !newIdle.Equal(idle) || !newLatest.Equal(latest) {
					out.event("extended", b.times(s))
				}
			}
		case <-beat.C:
			out.write(":\n\n")
		case <-b.leaving:
			out.event("goodbye", map[string]any{})
			return
		case <-r.Context().Done():
			return
		}
	}
}

// times says how long a session lasts.
func (b *BFF) times(s *session.Session) map[string]any {
	idle, absolute := b.sessions.TimeLeft(s)
	idleEnd, latest := s.Ends()
	return map[string]any{
		"idle_seconds":     int(idle / time.Second),
		"absolute_seconds": int(absolute / time.Second),
		"idle_expires_at":  idleEnd,
		"expires_at":       latest,
	}
}

// An eventWriter sends each event at once, and keeps the first error.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (e *eventWriter) event(name string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		e.err = err
		return
	}
	e.write("event: " + name + "\ndata: " + string(text) + "\n\n")
}

func (e *eventWriter) write(text string) {
	if e.err != nil {
		return
	}
	if _, e.err = e.w.Write([]byte(text)); e.err == nil {
		e.err = e.control.Flush()
	}
}

// streamCount counts the event streams of each session.
type streamCount struct {
	mu    sync.Mutex
	count map[session.ID]int
}

func (c *streamCount) begin(id session.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[id] >= maxStreams {
		return false
	}
	c.count[id]++
	return true
}

func (c *streamCount) end(id session.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[id]--; c.count[id] == 0 {
		delete(c.count, id)
	}
}
