// Package storemeter owns the metrics of a session store: it measures the calls of a store,
// counts the sessions that begin and end in it, and knows the state of its feed. It leaves
// storing to the store.
package storemeter

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
)

// Measure returns a store that measures another one. It can do what that one can. Without
// a provider it is the other one itself.
func Measure(store revocation.Store, provider metric.MeterProvider) revocation.Store {
	calls := metrics.NewHistogram(provider, metrics.StoreCallDuration)
	if calls == nil {
		return store
	}
	m := &measured{
		store: store, index: session.IndexOf(store), calls: calls,
		started: metrics.NewCounter(provider, metrics.SessionsStarted),
		ended:   metrics.NewCounter(provider, metrics.SessionsEnded),
	}
	feed, ok := store.(session.Watcher)
	if !ok {
		return m
	}
	f := &measuredFeed{measured: m, feed: feed, resyncs: metrics.NewCounter(provider, metrics.FeedResyncs)}
	metrics.ObserveGauge(provider, metrics.FeedConnected, func() (float64, bool) { return metrics.Bool(f.connected.Load()) })
	return f
}

// A measured store is a session.Index, Sweeper, Local and ReadyChecker whatever the store
// is: where the store is none, it does what a manager does without.
type measured struct {
	store          revocation.Store
	index          session.Index
	calls          *metrics.Histogram
	started, ended *metrics.Counter
}

// done records the call of an operation.
func (m *measured) done(ctx context.Context, start time.Time, operation string, err error) {
	result := metrics.StoreOK
	switch {
	case err == nil:
	case session.IsAnswer(err):
		result = metrics.StoreAnswer
	case ctx.Err() != nil:
		return // the caller did not wait
	default:
		result = metrics.StoreError
	}
	m.calls.Since(ctx, start, operation, result)
}

func (m *measured) Create(ctx context.Context, r session.Record, replaces session.ID) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "create", err) }(time.Now())
	if err = m.store.Create(ctx, r, replaces); err == nil {
		m.started.Add()
		if !replaces.IsZero() {
			m.ended.Add(session.ReasonReplaced.String())
		}
	}
	return err
}

func (m *measured) Get(ctx context.Context, id session.ID) (session.Record, error) {
	start := time.Now()
	r, err := m.store.Get(ctx, id)
	m.done(ctx, start, "get", err)
	return r, err
}

func (m *measured) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "touch", err) }(time.Now())
	return m.store.Touch(ctx, id, lastSeen, idleExpires)
}

func (m *measured) Lock(ctx context.Context, id session.ID, lease time.Duration) (_ session.Fence, err error) {
	defer func(start time.Time) { m.done(ctx, start, "lock", err) }(time.Now())
	return m.store.Lock(ctx, id, lease)
}

func (m *measured) Renew(ctx context.Context, id session.ID, f session.Fence, lease time.Duration) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "renew", err) }(time.Now())
	return m.store.Renew(ctx, id, f, lease)
}

func (m *measured) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "write", err) }(time.Now())
	return m.store.Write(ctx, id, f, sealed)
}

func (m *measured) Unlock(ctx context.Context, id session.ID, f session.Fence) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "unlock", err) }(time.Now())
	return m.store.Unlock(ctx, id, f)
}

func (m *measured) Delete(ctx context.Context, id session.ID, why session.Reason) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "delete", err) }(time.Now())
	if err = m.store.Delete(ctx, id, why); err == nil {
		m.ended.Add(why.String())
	}
	return err
}

func (m *measured) List(ctx context.Context, cursor string, limit int) (_ []session.Record, _ string, err error) {
	defer func(start time.Time) { m.done(ctx, start, "list", err) }(time.Now())
	return m.store.List(ctx, cursor, limit)
}

func (m *measured) DeleteBySID(ctx context.Context, issuer, sid string, why session.Reason) (ids []session.ID, err error) {
	defer func(start time.Time) { m.done(ctx, start, "delete_by_sid", err) }(time.Now())
	ids, err = m.index.DeleteBySID(ctx, issuer, sid, why)
	m.ended.AddN(len(ids), why.String())
	return ids, err
}

func (m *measured) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) (ids []session.ID, err error) {
	defer func(start time.Time) { m.done(ctx, start, "delete_by_subject", err) }(time.Now())
	ids, err = m.index.DeleteBySubject(ctx, issuer, subject, why)
	m.ended.AddN(len(ids), why.String())
	return ids, err
}

func (m *measured) ListBySubject(ctx context.Context, issuer, subject string) (_ []session.Record, err error) {
	defer func(start time.Time) { m.done(ctx, start, "list_by_subject", err) }(time.Now())
	return m.index.ListBySubject(ctx, issuer, subject)
}

func (m *measured) DeleteExpired(ctx context.Context) (n int, err error) {
	sweeper, ok := m.store.(session.Sweeper)
	if !ok {
		return 0, nil
	}
	defer func(start time.Time) { m.done(ctx, start, "delete_expired", err) }(time.Now())
	n, err = sweeper.DeleteExpired(ctx)
	m.ended.AddN(n, session.ReasonExpired.String())
	return n, err
}

func (m *measured) ProcessLocal() bool {
	local, ok := m.store.(session.Local)
	return ok && local.ProcessLocal()
}

func (m *measured) Ready(ctx context.Context) (err error) {
	checker, ok := m.store.(session.ReadyChecker)
	if !ok {
		return nil
	}
	defer func(start time.Time) { m.done(ctx, start, "ready", err) }(time.Now())
	return checker.Ready(ctx)
}

func (m *measured) AddNote(ctx context.Context, n session.Note) (_ bool, err error) {
	defer func(start time.Time) { m.done(ctx, start, "add_note", err) }(time.Now())
	return m.store.AddNote(ctx, n)
}

func (m *measured) PutNote(ctx context.Context, n session.Note) (err error) {
	defer func(start time.Time) { m.done(ctx, start, "put_note", err) }(time.Now())
	return m.store.PutNote(ctx, n)
}

func (m *measured) CountNote(ctx context.Context, kind, key string, expires time.Time) (_ int64, err error) {
	defer func(start time.Time) { m.done(ctx, start, "count_note", err) }(time.Now())
	return m.store.CountNote(ctx, kind, key, expires)
}

func (m *measured) GetNote(ctx context.Context, kind, key string) (_ session.Note, err error) {
	defer func(start time.Time) { m.done(ctx, start, "get_note", err) }(time.Now())
	return m.store.GetNote(ctx, kind, key)
}

func (m *measured) TakeNote(ctx context.Context, kind, key string) (_ session.Note, err error) {
	defer func(start time.Time) { m.done(ctx, start, "take_note", err) }(time.Now())
	return m.store.TakeNote(ctx, kind, key)
}

func (m *measured) DueNotes(ctx context.Context, kind string, limit int) (_ []session.Note, err error) {
	defer func(start time.Time) { m.done(ctx, start, "due_notes", err) }(time.Now())
	return m.store.DueNotes(ctx, kind, limit)
}

// A measuredFeed is a measured store with a feed.
type measuredFeed struct {
	*measured
	feed      session.Watcher
	resyncs   *metrics.Counter
	connected atomic.Bool
}

func (m *measuredFeed) Watch(ctx context.Context, event func(session.Event)) error {
	defer m.connected.Store(false)
	return m.feed.Watch(ctx, func(e session.Event) {
		if e.ID.IsZero() {
			m.connected.Store(true)
			m.resyncs.Add()
		}
		event(e)
	})
}
