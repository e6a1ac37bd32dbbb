package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

const (
	// watchTick is how often the hub checks whether a watched session has expired by the manager's
	// clock.
	watchTick = 250 * time.Millisecond
	// recheckEvery is how often the store is asked about all watched sessions without a feed, and
	// resubscribe the pause before the feed is tried again.
	recheckEvery = 500 * time.Millisecond
	resubscribe  = 100 * time.Millisecond
	// reasonWithin is how long to wait for the event of an end that reading the store has found
	// first.
	reasonWithin = 200 * time.Millisecond
	// recheckers bounds concurrent reads, so that thousands of watched sessions do not overload a
	// store that is back.
	recheckers = 4
)

// Change is an end or a change of a watched session.
type Change struct {
	// Ended is whether the session ended, and Reason why. It is the last Change.
	Ended  bool
	Reason Reason
	// Record is the session if it lives, without Sealed. Its timeouts are what pages count down to.
	Record Record
}

// Watch reports ends and changes of a session by any process of the store, within a second. During
// an outage of the store it reports nothing. The channel holds the latest change for a slow reader.
// It is closed after an end and by stop, which may be called more than once. An end before Watch is
// reported as soon as the store has been asked. [Manager.Run] must be running.
func (m *Manager) Watch(s *Session) (changes <-chan Change, stop func()) {
	return m.hub.add(s.Record)
}

// hub has the watchers of a process, and one subscription to the store for all of them.
type hub struct {
	store Store
	now   func() time.Time
	// outage is of the feed.
	outage *outage.Monitor
	// ended is called with every session whose end the feed reports.
	ended func(ID)

	// wake makes run check dirty sessions.
	wake chan struct{}

	mu      sync.Mutex
	watched map[ID]*watched
	// dirty are the sessions to ask the store about; all means every watched session.
	dirty map[ID]struct{}
	all   bool
	// down is whether there is no feed, and checked when all were last marked for that.
	down    bool
	checked time.Time
	// nextEnd is not after the first expiry of a watched session; zero if unknown.
	nextEnd time.Time
}

type watched struct {
	record Record
	// sealed is the hash of Sealed, zero before the store was asked.
	sealed [sha256.Size]byte
	// missing is when the store first did not find it, zero if it did.
	missing  time.Time
	watchers map[chan Change]struct{}
}

// reasonMayCome reports whether the event of an end that was found may still arrive.
func (w *watched) reasonMayCome() bool {
	if w.missing.IsZero() {
		w.missing = time.Now()
	}
	return time.Since(w.missing) < reasonWithin
}

func newHub(store Store, now func() time.Time, ended func(ID), log *slog.Logger) *hub {
	return &hub{store: store, now: now, ended: ended,
		outage: outage.New(outage.Config{Name: "session feed", Logger: log, Now: now}), wake: make(chan struct{}, 1),
		watched: make(map[ID]*watched), dirty: make(map[ID]struct{}), down: true}
}

func (h *hub) add(r Record) (<-chan Change, func()) {
	r.Sealed = nil
	c := make(chan Change, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.watched[r.ID]
	if !ok {
		w = &watched{record: r, watchers: make(map[chan Change]struct{}, 1)}
		h.watched[r.ID] = w
		h.nextEnd = time.Time{}
	} else if w.record.IdleExpiresAt.After(r.IdleExpiresAt) {
		c <- Change{Record: w.record} // extended since it was loaded, which other watchers know already
	}
	w.watchers[c] = struct{}{}
	// It may have ended after it was loaded and before it was watched.
	h.mark(r.ID)
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		// After an end the channel is closed, and the ID may be watched anew.
		if _, open := w.watchers[c]; !open {
			return
		}
		delete(w.watchers, c)
		close(c)
		if len(w.watchers) == 0 {
			delete(h.watched, r.ID)
		}
	}
}

// mark makes run ask the store about a session, or about all for the zero ID. The mutex is held.
func (h *hub) mark(id ID) {
	if id.IsZero() {
		h.all = true
	} else {
		h.dirty[id] = struct{}{}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// handle handles an event of the store. It does not wait.
func (h *hub) handle(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = false
	if _, ok := h.watched[e.ID]; !ok && !e.ID.IsZero() {
		return
	}
	if e.Ended {
		h.send(e.ID, Change{Ended: true, Reason: e.Reason})
		return
	}
	h.mark(e.ID)
}

// send sends a change to the watchers of a session. The mutex is held, so that it is the only
// sender.
func (h *hub) send(id ID, c Change) {
	w := h.watched[id]
	for ch := range w.watchers {
		select {
		case <-ch: // drop the older change
		default:
		}
		ch <- c
		if c.Ended {
			delete(w.watchers, ch)
			close(ch)
		}
	}
	if c.Ended {
		delete(h.watched, id)
	}
}

// found handles the store's answer about a session.
func (h *hub) found(id ID, r Record, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.watched[id]
	if !ok {
		return
	}
	switch {
	case errors.Is(err, ErrNotFound) && w.record.Expired(now):
		h.send(id, Change{Ended: true, Reason: ReasonExpired})
	case errors.Is(err, ErrNotFound) && !h.down && w.reasonMayCome():
		h.dirty[id] = struct{}{}
	case errors.Is(err, ErrNotFound):
		h.send(id, Change{Ended: true})
	case err != nil:
		h.dirty[id] = struct{}{} // ask again at the next tick
	default:
		sealed := sha256.Sum256(r.Sealed)
		changed := sealed != w.sealed && w.sealed != [sha256.Size]byte{} ||
			!r.IdleExpiresAt.Equal(w.record.IdleExpiresAt)
		r.Sealed = nil
		w.record, w.sealed, h.nextEnd = r, sealed, time.Time{}
		if changed {
			h.send(id, Change{Record: r})
		}
	}
}

// take returns the sessions to ask about and empties the list.
func (h *hub) take() []ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := h.dirty
	if h.all {
		for id := range h.watched {
			ids[id] = struct{}{}
		}
	}
	h.all, h.dirty = false, make(map[ID]struct{})
	return slices.Collect(maps.Keys(ids))
}

// expire marks the sessions that have expired as far as this process knows, and from time to time
// all of them if there is no feed. Another process may have extended them, so the store decides.
func (h *hub) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down && time.Since(h.checked) >= recheckEvery {
		h.checked = time.Now()
		h.mark(ID{})
	}
	if now.Before(h.nextEnd) {
		return
	}
	next := now.Add(24 * time.Hour)
	for id, w := range h.watched {
		if end := w.record.End(); !now.Before(end) {
			h.mark(id)
		} else if end.Before(next) {
			next = end
		}
	}
	h.nextEnd = next
}

// broke marks all watched sessions when the feed has broken.
func (h *hub) broke() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		h.down = true
		h.mark(ID{})
	}
}

// subscribe keeps the hub subscribed to the store until the context ends.
func (h *hub) subscribe(ctx context.Context, feed Watcher) {
	for {
		err := feed.Watch(ctx, func(e Event) {
			if e.Ended {
				h.ended(e.ID)
			}
			h.outage.OK(ctx)
			h.handle(e)
		})
		if ctx.Err() != nil {
			return
		}
		h.outage.Fail(ctx, err)
		h.broke()
		if !pause(ctx, resubscribe) {
			return
		}
	}
}

// run asks the store about watched sessions that may have changed, until the context ends.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-tick.C:
			h.expire(h.now())
		}
		h.check(ctx, h.take())
	}
}

// check asks the store about one session and, if it answers, about the others. After a failure the
// rest wait for the next tick.
func (h *hub) check(ctx context.Context, ids []ID) {
	var outage atomic.Pointer[error]
	ask := func(id ID) {
		if err := outage.Load(); err != nil {
			h.found(id, Record{}, *err, h.now())
			return
		}
		r, err := h.store.Get(ctx, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			outage.Store(&err)
		}
		h.found(id, r, err, h.now())
	}
	if len(ids) == 0 {
		return
	}
	ask(ids[0])
	var asking errgroup.Group
	asking.SetLimit(recheckers)
	for _, id := range ids[1:] {
		asking.Go(func() error {
			ask(id)
			return nil
		})
	}
	_ = asking.Wait()
}

// pause waits, and reports whether the context has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
