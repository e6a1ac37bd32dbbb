package account

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

const (
	// heartbeat is how often a comment is sent on a silent stream, so that
	// proxies do not close it.
	heartbeat = 15 * time.Second
	// eventRetry is how long a browser waits before it connects again, in
	// milliseconds.
	eventRetry = 2000
	// maxStreams bounds the streams of one session at one node. A browser needs
	// one.
	maxStreams = 8
)

// Events tells a browser what happens to its session, as server-sent events,
// and never extends it:
//
//	session   first: the time that is left, as [Handlers.Session] tells it
//	extended  the same again, when the end of the session has moved
//	replaced  another login in this browser took its place; last
//	ended     it has ended, with the reason; last
//	goodbye   this server is about to stop, the session lives; last
//
// Without a session it answers 204, which keeps an EventSource from connecting
// again.
func (h *Handlers) Events(w http.ResponseWriter, r *http.Request) {
	// Pages of sibling subdomains could not read the stream, but use up the
	// number of streams.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		respond.Error(w, http.StatusForbidden, "this request came from another origin")
		return
	}
	s, err := h.cfg.Lookup.Current(r)
	switch {
	case h.answered(w, r, err):
		return
	case !h.streams.begin(s.ID):
		h.cfg.Limited.Add(metrics.LimitStreams)
		h.cfg.Audit.RecordSampled(r.Context(), audit.Event{
			Action: audit.RateLimited, Setting: metrics.LimitStreams, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(),
		})
		w.Header().Set("Retry-After", respond.RetryAfter)
		respond.Error(w, http.StatusTooManyRequests, "this session has too many event streams")
		return
	}
	closed := h.cfg.Streams.Begin(metrics.StreamSession)
	end := func() { closed(); h.streams.end(s.ID) }
	if q := metrics.RequestOf(w); q != nil {
		q.SetStream()
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would buffer events
	if c := takeOver(w, r); c != nil {
		h.cfg.Work.Go(func() {
			defer end()
			defer h.recovered(c.ctx)
			defer c.close()
			h.stream(c.ctx, s, &eventWriter{send: c.send})
		})
		return
	}
	defer end()
	control := http.NewResponseController(w)
	h.stream(r.Context(), s, &eventWriter{send: func(text string) error {
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}})
}

// recovered logs a panic of a stream that outlasts its handler.
func (h *Handlers) recovered(ctx context.Context) {
	if p := recover(); p != nil {
		h.cfg.Logger.ErrorContext(ctx, "panic in the bff", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// stream sends the events of a session.
func (h *Handlers) stream(ctx context.Context, s *session.Session, out *eventWriter) {
	sessions := h.cfg.Lookup.cfg.Sessions
	changes, stop := sessions.Watch(s)
	defer stop()
	defer h.cfg.Lookup.endWithToken(s, func() {})()

	out.write(fmt.Sprintf("retry: %d\n", eventRetry) + out.format("session", h.timeLeft(s)))
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
			}
			changed := *s
			changed.Record = c.Record
			if now, err := sessions.Reload(ctx, s); err == nil { // with its tokens, which may end it earlier
				changed = *now
			}
			idle, latest := s.Ends()
			s = &changed
			if newIdle, newLatest := s.Ends(); !newIdle.Equal(idle) || !newLatest.Equal(latest) {
				out.event("extended", h.timeLeft(s))
			}
		case <-beat.C:
			out.write(":\n\n")
		case <-h.cfg.Stopping:
			out.event("goodbye", map[string]any{})
			return
		case <-ctx.Done():
			return
		}
	}
}

// An eventWriter sends each event at once, and keeps the first error.
type eventWriter struct {
	send func(text string) error
	err  error
}

func (e *eventWriter) event(name string, data any) { e.write(e.format(name, data)) }

// format returns an event as text, "" with err set if data is no JSON.
func (e *eventWriter) format(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		e.err = err
		return ""
	}
	return "event: " + name + "\ndata: " + string(text) + "\n\n"
}

func (e *eventWriter) write(text string) {
	if e.err == nil {
		e.err = e.send(text)
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
