// Package sessiontest owns the conformance suite of [session.Store] and of its optional parts,
// which are tested where a store implements them. What else a store does, such as surviving a
// restart, is left to the store's own tests.
//
//	func TestConformance(t *testing.T) {
//		sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
//			return mystore.New(mystore.Config{Now: now})
//		})
//	}
package sessiontest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// Open returns an empty store for one test, which t.Cleanup closes. The store's clock must be now,
// which starts at the present, in whole milliseconds, and advances as the test wants. Open is
// called by several tests at once; their stores share nothing.
type Open func(t *testing.T, now func() time.Time) session.Store

// OpenShared returns two stores on one empty storage, as two processes would open them.
type OpenShared func(t *testing.T, now func() time.Time) (a, b session.Store)

// Store is a store with all parts that a bff uses, for tests that replace some methods of one.
// Embedding it hides [session.Local] and [session.ReadyChecker].
type Store interface {
	session.Store
	session.Index
	session.NoteStore
	session.Watcher
	io.Closer
}

// Run checks everything that one process can see of a store: [session.Store], [session.Index] (that
// of [session.IndexOf], if the store has none), and each of [session.NoteStore], [session.Watcher],
// [session.Sweeper] and [io.Closer] that it implements.
func Run(t *testing.T, open Open) {
	groups := []map[string]func(*testing.T, *fixture){records, lifetimes, locks, ends, races, failures}
	store := open(t, NewClock().Now)
	if _, ok := store.(session.NoteStore); ok {
		groups = append(groups, notes, limits)
	}
	if _, ok := store.(session.Watcher); ok {
		groups = append(groups, watches)
	}
	if _, ok := store.(io.Closer); ok {
		groups = append(groups, closings)
	}
	for _, group := range groups {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				clock := NewClock()
				test(t, newFixture(clock, open(t, clock.Now)))
			})
		}
	}
}

// RunShared checks two processes that share a storage. The store must be a
// [session.NoteStore] and a [session.Watcher]. Stores of a single process need not pass it.
func RunShared(t *testing.T, open OpenShared) {
	for name, test := range shared {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			a, b := open(t, clock.Now)
			test(t, newFixture(clock, a), newFixture(clock, b))
		})
	}
}

// Clock is a clock that only Advance moves. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock at the present, in whole milliseconds.
func NewClock() *Clock {
	return &Clock{now: time.Now().UTC().Truncate(time.Millisecond)}
}

// Now returns the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	idle     = time.Hour
	absolute = 8 * time.Hour
	lease    = 10 * time.Second

	issuer  = "https://idp.example/"
	subject = "auth0|5f7c8ec7"
)

// fixture is a store under test.
type fixture struct {
	clock *Clock // nil for the real one
	store session.Store
	index session.Index
	notes session.NoteStore // nil if the store is none
	feed  session.Watcher   // nil if the store is none
}

func newFixture(clock *Clock, s session.Store) *fixture {
	f := &fixture{clock: clock, store: s, index: session.IndexOf(s)}
	f.notes, _ = s.(session.NoteStore)
	f.feed, _ = s.(session.Watcher)
	return f
}

// sweep removes expired sessions if the store does not do so by itself.
func (f *fixture) sweep(ctx context.Context) (int, error) {
	if s, ok := f.store.(session.Sweeper); ok {
		return s.DeleteExpired(ctx)
	}
	return 0, nil
}

// close closes the store, which is an io.Closer.
func (f *fixture) close(t *testing.T) {
	t.Helper()
	if err := f.store.(io.Closer).Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func (f *fixture) now() time.Time {
	if f.clock == nil {
		return time.Now().UTC().Truncate(time.Millisecond)
	}
	return f.clock.Now()
}

// record returns a new session of the fixture's subject.
func (f *fixture) record(change ...func(*session.Record)) session.Record {
	now := f.now()
	r := session.Record{
		ID:            newID(),
		Issuer:        issuer,
		Subject:       subject,
		SID:           "sid-" + rand.Text(),
		CreatedAt:     now,
		LastSeenAt:    now,
		IdleExpiresAt: now.Add(idle),
		ExpiresAt:     now.Add(absolute),
		UserAgent:     "Mozilla/5.0 (X11; Linux x86_64)",
		Address:       "2001:db8::1",
		Sealed:        []byte("sealed-" + rand.Text()),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func newID() (id session.ID) {
	_, _ = rand.Read(id[:])
	return id
}

// create creates a session.
func (f *fixture) create(t *testing.T, change ...func(*session.Record)) session.Record {
	t.Helper()
	r := f.record(change...)
	f.replace(t, r, session.ID{})
	return r
}

// replace creates a session that replaces another.
func (f *fixture) replace(t *testing.T, r session.Record, old session.ID) {
	t.Helper()
	if err := f.store.Create(t.Context(), r, old); err != nil {
		t.Fatalf("Create: %v", err)
	}
}

func (f *fixture) touch(t *testing.T, id session.ID, lastSeen, idleExpires time.Time) {
	t.Helper()
	if err := f.store.Touch(t.Context(), id, lastSeen, idleExpires); err != nil {
		t.Fatalf("Touch: %v", err)
	}
}

// use touches a session and returns the time.
func (f *fixture) use(t *testing.T, id session.ID) time.Time {
	t.Helper()
	now := f.clock.Now()
	f.touch(t, id, now, now.Add(idle))
	return now
}

func (f *fixture) delete(t *testing.T, id session.ID) {
	t.Helper()
	if err := f.store.Delete(t.Context(), id, session.ReasonSignedOut); err != nil {
		t.Fatalf("Delete: %v", err)
	}
}

func (f *fixture) get(t *testing.T, id session.ID) session.Record {
	t.Helper()
	r, err := f.store.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return r
}

func (f *fixture) lock(t *testing.T, id session.ID) session.Fence {
	t.Helper()
	fence, err := f.store.Lock(t.Context(), id, lease)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	if fence <= 0 {
		t.Fatalf("Lock granted fence %d, want one above zero", fence)
	}
	return fence
}

func (f *fixture) renew(t *testing.T, id session.ID, fence session.Fence) {
	t.Helper()
	if err := f.store.Renew(t.Context(), id, fence, lease); err != nil {
		t.Fatalf("Renew: %v", err)
	}
}

func (f *fixture) write(t *testing.T, id session.ID, fence session.Fence, sealed string) {
	t.Helper()
	if err := f.store.Write(t.Context(), id, fence, []byte(sealed)); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

// caches reads a session so often that a cache has it.
func (f *fixture) caches(t *testing.T, id session.ID) {
	t.Helper()
	for range 3 {
		f.get(t, id)
	}
}

// listed returns the sessions of a subject.
func (f *fixture) listed(t *testing.T, issuer, subject string) []session.Record {
	t.Helper()
	list, err := f.index.ListBySubject(t.Context(), issuer, subject)
	if err != nil {
		t.Errorf("ListBySubject: %v", err)
	}
	return list
}

func (f *fixture) noLock(t *testing.T, doing string, id session.ID, want error) {
	t.Helper()
	_, err := f.store.Lock(t.Context(), id, lease)
	wantErr(t, doing, err, want)
}

// lockedFor checks that the lock is held, and for how long if the store says so.
func (f *fixture) lockedFor(t *testing.T, id session.ID, left time.Duration) {
	t.Helper()
	_, err := f.store.Lock(t.Context(), id, lease)
	wantErr(t, "Lock of what is locked", err, session.ErrLocked)
	until := f.clock.Now().Add(left)
	if e, ok := errors.AsType[*session.LockedError](err); ok && !e.Until.Equal(until) {
		t.Errorf("locked until %v, want %v", e.Until, until)
	}
}

// fenced checks that a fence neither writes nor releases the lock.
func (f *fixture) fenced(t *testing.T, id session.ID, fence session.Fence) {
	t.Helper()
	wantErr(t, "Write", f.store.Write(t.Context(), id, fence, []byte("late")), session.ErrFenced)
	wantErr(t, "Unlock", f.store.Unlock(t.Context(), id, fence), session.ErrFenced)
}

// noWrite checks that a write under a lock does not restore a session that has ended.
func (f *fixture) noWrite(t *testing.T, id session.ID, fence session.Fence) {
	t.Helper()
	err := f.store.Write(t.Context(), id, fence, []byte("revived"))
	wantErr(t, "Write", err, session.ErrNotFound)
}

// An ending is a way to end a session.
type ending struct {
	name string
	do   func(ctx context.Context, r session.Record) error
	why  session.Reason
}

// endings are all ways to end a session.
func (f *fixture) endings() []ending {
	return []ending{
		{"Delete", func(ctx context.Context, r session.Record) error {
			return f.store.Delete(ctx, r.ID, session.ReasonSignedOut)
		}, session.ReasonSignedOut},
		{"DeleteBySID", func(ctx context.Context, r session.Record) error {
			_, err := f.index.DeleteBySID(ctx, r.Issuer, r.SID, session.ReasonProvider)
			return err
		}, session.ReasonProvider},
		{"DeleteBySubject", func(ctx context.Context, r session.Record) error {
			_, err := f.index.DeleteBySubject(ctx, r.Issuer, r.Subject, session.ReasonOperator)
			return err
		}, session.ReasonOperator},
		{"Create", func(ctx context.Context, r session.Record) error {
			return f.store.Create(ctx, f.record(), r.ID)
		}, session.ReasonReplaced},
	}
}

// gone checks that no method finds a session.
func (f *fixture) gone(t *testing.T, r session.Record) {
	t.Helper()
	for name, call := range f.calls(r) {
		if err := call(t.Context()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s of a missing session: %v, want ErrNotFound", name, err)
		}
	}
	list := f.listed(t, r.Issuer, r.Subject)
	if slices.ContainsFunc(list, func(l session.Record) bool { return l.ID == r.ID }) {
		t.Error("a missing session is listed")
	}
}

// calls are the methods about one session, with arguments for it.
func (f *fixture) calls(r session.Record) map[string]func(context.Context) error {
	now := f.now()
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := f.store.Get(ctx, r.ID); return err },
		"Touch":  func(ctx context.Context) error { return f.store.Touch(ctx, r.ID, now, now.Add(idle)) },
		"Lock":   func(ctx context.Context) error { _, err := f.store.Lock(ctx, r.ID, lease); return err },
		"Write":  func(ctx context.Context) error { return f.store.Write(ctx, r.ID, 1, []byte("revived")) },
		"Renew":  func(ctx context.Context) error { return f.store.Renew(ctx, r.ID, 1, lease) },
		"Unlock": func(ctx context.Context) error { return f.store.Unlock(ctx, r.ID, 1) },
		"Delete": func(ctx context.Context) error { return f.store.Delete(ctx, r.ID, session.ReasonSignedOut) },
	}
}

// wantErr checks for an error of package session.
func wantErr(t *testing.T, doing string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", doing, got, want)
	}
}

// same compares records. Times must be equal and in UTC.
func same(t *testing.T, got, want session.Record) {
	t.Helper()
	if got.ID != want.ID || got.Issuer != want.Issuer || got.Subject != want.Subject || got.SID != want.SID ||
		got.UserAgent != want.UserAgent || got.Address != want.Address ||
		string(got.Sealed) != string(want.Sealed) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, tm := range []struct {
		name      string
		got, want time.Time
	}{
		{"CreatedAt", got.CreatedAt, want.CreatedAt},
		{"LastSeenAt", got.LastSeenAt, want.LastSeenAt},
		{"IdleExpiresAt", got.IdleExpiresAt, want.IdleExpiresAt},
		{"ExpiresAt", got.ExpiresAt, want.ExpiresAt},
	} {
		if !tm.got.Equal(tm.want) {
			t.Errorf("%s = %v, want %v", tm.name, tm.got, tm.want)
		}
		if tm.got.Location() != time.UTC {
			t.Errorf("%s is in %v, want UTC", tm.name, tm.got.Location())
		}
	}
}
