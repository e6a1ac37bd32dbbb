package account

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
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
	if h.answered(w, r, err) {
		return
	}
	if reached := h.streams.begin(s); reached != "" {
		h.cfg.Limited.Add(metrics.LimitStreams)
		h.cfg.Audit.RecordSampled(r.Context(), audit.Event{
			Action: audit.RateLimited, Setting: metrics.LimitStreams, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(),
		})
		accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("limit", metrics.LimitStreams))
		w.Header().Set("Retry-After", respond.RetryAfter)
		respond.Error(w, http.StatusTooManyRequests, reached)
		return
	}
	closed := h.cfg.Streams.Begin(metrics.StreamSession)
	end := func() { closed(); h.streams.end(s) }
	if q := metrics.RequestOf(w); q != nil {
		q.SetStream()
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx would buffer events
	if c := takeOver(w, r); c != nil {
		serve := h.stream(s, &eventWriter{send: c.send})
		h.cfg.Work.Go(func() {
			defer end()
			defer h.recovered(c.ctx)
			defer c.close()
			serve(c.ctx)
		})
		return
	}
	defer end()
	control := http.NewResponseController(w)
	h.stream(s, &eventWriter{send: func(text string) error {
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}})(r.Context())
}

// recovered logs a panic of a stream that outlasts its handler.
func (h *Handlers) recovered(ctx context.Context) {
	if p := recover(); p != nil {
		h.cfg.Logger.ErrorContext(ctx, "panic in the bff", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// stream sends the first event of a session, and returns what sends the others until its
// context ends. A goroutine that begins with the others keeps the smallest stack.
func (h *Handlers) stream(s *session.Session, out *eventWriter) (serve func(context.Context)) {
	changes, stop := h.cfg.Lookup.cfg.Sessions.Watch(s)
	stopTimer := h.cfg.Lookup.endWithToken(s, func() {})
	out.write(fmt.Sprintf("retry: %d\n", eventRetry) + out.format("session", h.timeLeft(s)))
	return func(ctx context.Context) {
		defer stop()
		defer stopTimer()
		h.follow(ctx, s, changes, out)
	}
}

// follow sends an event for each change of a session.
func (h *Handlers) follow(ctx context.Context, s *session.Session, changes <-chan session.Change, out *eventWriter) {
	beat := time.NewTimer(untilBeat(time.Now(), heartbeat-rand.N(heartbeat/2))) // not all streams of a restart at once
	defer beat.Stop()
	for out.err == nil {
		select {
		case c, ok := <-changes:
			if !ok || c.Ended {
				h.tellEnd(c, out)
				return
			}
			s = h.tellChange(ctx, s, c, out)
		case now := <-beat.C:
			out.write(":\n\n")
			beat.Reset(untilBeat(now, heartbeat))
		case <-h.cfg.Stopping:
			out.event("goodbye", map[string]any{})
			return
		case <-ctx.Done():
			return
		}
	}
}

// untilBeat returns at most d, until a whole second, so that thousands of idle streams wake the process
// once a second.
func untilBeat(now time.Time, d time.Duration) time.Duration {
	return d - time.Duration(now.Add(d).Nanosecond())
}

// tellEnd sends the end of a session; nothing if the stream ended by itself.
func (h *Handlers) tellEnd(c session.Change, out *eventWriter) {
	switch {
	case c.Ended && c.Reason == session.ReasonReplaced:
		out.event("replaced", map[string]any{})
	case c.Ended:
		out.event("ended", map[string]any{"reason": c.Reason.String()})
	}
}

// tellChange sends the new end of a session if it has moved, and returns the session as it
// is now.
func (h *Handlers) tellChange(ctx context.Context, s *session.Session, c session.Change, out *eventWriter) *session.Session {
	changed := *s
	changed.Record = c.Record
	if now, err := h.cfg.Lookup.cfg.Sessions.Reload(ctx, s); err == nil { // with its tokens, which may end it earlier
		changed = *now
	}
	idle, latest := s.Ends()
	if newIdle, newLatest := changed.Ends(); !newIdle.Equal(idle) || !newLatest.Equal(latest) {
		out.event("extended", h.timeLeft(&changed))
	}
	return &changed
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

// Limits bounds the open event streams of a process.
type Limits struct {
	// Streams bounds all, and PerUser those of one user (issuer and subject), besides
	// maxStreams of one session.
	Streams, PerUser int
}

// A streamCount counts the event streams of sessions and users.
type streamCount struct {
	limits Limits

	mu       sync.Mutex
	all      int
	sessions map[session.ID]int
	users    map[user]int
}

type user struct{ issuer, subject string }

// begin counts a stream of a session. It returns which limit is reached, "" for none.
func (c *streamCount) begin(s *session.Session) (reached string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := user{s.Issuer, s.Subject}
	switch {
	case c.sessions[s.ID] >= maxStreams:
		return "this session has too many event streams"
	case c.users[u] >= c.limits.PerUser:
		return "you have too many event streams in all of your browsers"
	case c.all >= c.limits.Streams:
		return "this server has too many event streams"
	}
	c.all++
	c.sessions[s.ID]++
	c.users[u]++
	return ""
}

func (c *streamCount) end(s *session.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	less(c.sessions, s.ID)
	less(c.users, user{s.Issuer, s.Subject})
}

// less decrements a count, and removes it at 0.
func less[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}
