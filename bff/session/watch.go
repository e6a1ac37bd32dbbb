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
)

const (
	// watchTick is how often the hub looks whether a watched session has expired by the manager's clock.
	watchTick = 250 * time.Millisecond
	// recheckEvery is how often the store is asked about all watched sessions while its feed is broken, and resubscribe how
	// soon the feed is tried again.
	recheckEvery = 500 * time.Millisecond
	resubscribe  = 100 * time.Millisecond
	// reasonWithin is how long the feed is given to tell the reason of an end that a look at the store has found before it.
	reasonWithin = 200 * time.Millisecond
	// recheckers bounds how many of those questions are under way at once, so that thousands of watched sessions do not
	// fall upon a store that has just come back.
	recheckers = 4
)

// Change is what a watcher of a session hears of it.
type Change struct {
	// Ended tells whether it has ended, and Reason why. That is the last there is to hear.
	Ended  bool
	Reason Reason
	// Record is the session as it is now if it lives, without Sealed: its timeouts, to which the tabs may count down.
	Record Record
}

// Watch tells of what happens to a session, whichever process of the store does it, within a second; while the store is
// down it tells nothing, since an outage is no end. The channel holds the latest change for a reader who is slow, and is
// closed after an end, and by stop, which may be called more than once. A session that has ended before is heard of as
// soon as the store is asked. [Manager.Run] must be running.
func (m *Manager) Watch(s *Session) (changes <-chan Change, stop func()) {
	return m.hub.add(s.Record)
}

// hub has the watchers of a process and one subscription to the store for all of them.
type hub struct {
	store Store
	now   func() time.Time
	log   *slog.Logger
	// ended is called with every session whose end the feed reports.
	ended func(ID)

	// wake has run look at what is dirty.
	wake chan struct{}

	mu      sync.Mutex
	watched map[ID]*watched
	// dirty are the sessions to ask the store about; all stands for every watched one.
	dirty map[ID]struct{}
	all   bool
	// down tells whether the feed is broken.
	down bool
	// nextEnd is no later than the first end of a watched session; zero if that must be found out.
	nextEnd time.Time
}

type watched struct {
	record Record
	// sealed is the hash of what was sealed, zero before the store was asked.
	sealed [sha256.Size]byte
	// missing is since when the store has not found it, zero if it has.
	missing  time.Time
	watchers map[chan Change]struct{}
}

func (w *watched) end() time.Time {
	if w.record.IdleExpiresAt.Before(w.record.ExpiresAt) {
		return w.record.IdleExpiresAt
	}
	return w.record.ExpiresAt
}

// reasonMayCome tells whether the event of an end that was found may still be on its way.
func (w *watched) reasonMayCome() bool {
	if w.missing.IsZero() {
		w.missing = time.Now()
	}
	return time.Since(w.missing) < reasonWithin
}

func newHub(store Store, now func() time.Time, ended func(ID), log *slog.Logger) *hub {
	return &hub{store: store, now: now, log: log, ended: ended, wake: make(chan struct{}, 1), watched: make(map[ID]*watched), dirty: make(map[ID]struct{}), down: true}
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
		c <- Change{Record: w.record} // it was extended since it was loaded, and the others know already
	}
	w.watchers[c] = struct{}{}
	// It may have ended since it was loaded, before anybody watched.
	h.mark(r.ID)
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		// After an end the channel is closed, and another watched may be under the ID.
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

// mark has the store asked about a session; the zero ID stands for all. The mutex is held.
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

// hear takes an event of the store. It does not wait.
func (h *hub) hear(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = false
	if _, ok := h.watched[e.ID]; !ok && !e.ID.IsZero() {
		return
	}
	if e.Ended {
		h.tell(e.ID, Change{Ended: true, Reason: e.Reason})
		return
	}
	h.mark(e.ID)
}

// tell gives a change to the watchers of a session. The mutex is held, so nobody else puts anything into their channels.
func (h *hub) tell(id ID, c Change) {
	w := h.watched[id]
	for ch := range w.watchers {
		select {
		case <-ch: // what was not read yet is older
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

// found takes what the store says of a session.
func (h *hub) found(id ID, r Record, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w, ok := h.watched[id]
	if !ok {
		return
	}
	switch {
	case errors.Is(err, ErrNotFound) && w.record.Expired(now):
		h.tell(id, Change{Ended: true, Reason: ReasonExpired})
	case errors.Is(err, ErrNotFound) && !h.down && w.reasonMayCome():
		h.dirty[id] = struct{}{}
	case errors.Is(err, ErrNotFound):
		h.tell(id, Change{Ended: true})
	case err != nil:
		h.dirty[id] = struct{}{} // asked again at the next tick
	default:
		sealed := sha256.Sum256(r.Sealed)
		changed := sealed != w.sealed && w.sealed != [sha256.Size]byte{} || !r.IdleExpiresAt.Equal(w.record.IdleExpiresAt)
		r.Sealed = nil
		w.record, w.sealed, h.nextEnd = r, sealed, time.Time{}
		if changed {
			h.tell(id, Change{Record: r})
		}
	}
}

// take empties the list of those to ask about.
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

// expire marks the sessions that have reached their end as far as this process knows: another may have prolonged them, so
// the store decides.
func (h *hub) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Before(h.nextEnd) {
		return
	}
	next := now.Add(24 * time.Hour)
	for id, w := range h.watched {
		if end := w.end(); !now.Before(end) {
			h.mark(id)
		} else if end.Before(next) {
			next = end
		}
	}
	h.nextEnd = next
}

func (h *hub) broke() (newly bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if newly = !h.down; newly {
		h.down = true
		h.mark(ID{})
	}
	return newly
}

func (h *hub) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

// subscribe keeps the hub subscribed to the store until the context ends.
func (h *hub) subscribe(ctx context.Context, feed Watcher) {
	for {
		err := feed.Watch(ctx, func(e Event) {
			if e.Ended {
				h.ended(e.ID)
			}
			h.hear(e)
		})
		if ctx.Err() != nil {
			return
		}
		if h.broke() {
			h.log.LogAttrs(ctx, slog.LevelWarn, "the session store's feed is broken: its sessions are asked for until it is back",
				slog.String("cause", errorText(err)))
		}
		if !pause(ctx, resubscribe) {
			return
		}
	}
}

// run asks the store about watched sessions when something may have happened to them, until the context ends.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	checked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-tick.C:
			h.expire(h.now())
			if h.isDown() && time.Since(checked) >= recheckEvery {
				checked = time.Now()
				h.hearAll()
			}
		}
		h.check(ctx, h.take())
	}
}

// hearAll has all watched sessions asked for.
func (h *hub) hearAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mark(ID{})
}

// check asks the store about sessions: about one, and only if it answers, about the others. Once it fails, those that are
// left wait for the next tick.
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
	ids = ids[1:]
	next := make(chan ID)
	var done sync.WaitGroup
	for range min(recheckers, len(ids)) {
		done.Go(func() {
			for id := range next {
				ask(id)
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	done.Wait()
}

// pause waits and tells whether the context is still good.
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

func errorText(err error) string {
	if err == nil {
		return "it ended"
	}
	return err.Error()
}
