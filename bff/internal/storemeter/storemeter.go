// Package storemeter owns the metrics and the spans of a session store: it measures the
// calls of a store, counts the sessions that begin and end in it, reports those that have
// expired in it, and knows the state of its feed. It leaves storing to the store.
package storemeter

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/revocation"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// Measure returns a store that measures another one. It can do what that one can. Without
// a provider, a tracer and a recorder it is the other one itself.
func Measure(store revocation.Store, provider metric.MeterProvider, tracer *tracing.Tracer, recorder *auditlog.Recorder) revocation.Store {
	calls := metrics.NewHistogram(provider, metrics.StoreCallDuration)
	if calls == nil && !tracer.Enabled() && !recorder.Enabled() {
		return store
	}
	m := &measured{
		store: store, index: session.IndexOf(store), calls: calls, tracer: tracer, system: system(store),
		started: metrics.NewCounter(provider, metrics.SessionsStarted),
		ended:   metrics.NewCounter(provider, metrics.SessionsEnded),
		audit:   recorder,
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
	tracer         *tracing.Tracer
	system         string
	started, ended *metrics.Counter
	audit          *auditlog.Recorder
}

// system returns the name of the database behind a store, as db.system.name has it: the
// name of the store's package, but for one.
func system(store revocation.Store) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", store), "*"), ".")
	if name == "postgres" {
		return "postgresql"
	}
	return name
}

// A call is a call of the store.
type call struct {
	m         *measured
	operation string
	start     time.Time
	span      trace.Span
}

// begin begins the call of an operation.
func (m *measured) begin(ctx context.Context, operation string) (context.Context, call) {
	ctx, span := m.tracer.StartStore(ctx, m.system, operation)
	return ctx, call{m, operation, time.Now(), span}
}

// done records the outcome. That a session was not found, or is locked, is an answer and
// no failure.
func (c call) done(ctx context.Context, err error) {
	result := metrics.StoreOK
	switch {
	case err == nil:
	case session.IsAnswer(err):
		result = metrics.StoreAnswer
	case ctx.Err() != nil: // the caller did not wait
		c.span.End()
		return
	default:
		result = metrics.StoreError
		tracing.Fail(c.span, tracing.Kind(err))
	}
	c.span.End()
	c.m.calls.Since(ctx, c.start, c.operation, result)
}

func (m *measured) Create(ctx context.Context, r session.Record, replaces session.ID) (err error) {
	ctx, call := m.begin(ctx, "create")
	defer func() { call.done(ctx, err) }()
	if err = m.store.Create(ctx, r, replaces); err == nil {
		m.started.Add()
		if !replaces.IsZero() {
			m.ended.Add(session.ReasonReplaced.String())
		}
	}
	return err
}

func (m *measured) Get(ctx context.Context, id session.ID) (session.Record, error) {
	ctx, call := m.begin(ctx, "get")
	r, err := m.store.Get(ctx, id)
	call.done(ctx, err)
	return r, err
}

func (m *measured) Touch(ctx context.Context, id session.ID, lastSeen, idleExpires time.Time) (err error) {
	ctx, call := m.begin(ctx, "touch")
	defer func() { call.done(ctx, err) }()
	return m.store.Touch(ctx, id, lastSeen, idleExpires)
}

func (m *measured) Lock(ctx context.Context, id session.ID, lease time.Duration) (_ session.Fence, err error) {
	ctx, call := m.begin(ctx, "lock")
	defer func() { call.done(ctx, err) }()
	return m.store.Lock(ctx, id, lease)
}

func (m *measured) Renew(ctx context.Context, id session.ID, f session.Fence, lease time.Duration) (err error) {
	ctx, call := m.begin(ctx, "renew")
	defer func() { call.done(ctx, err) }()
	return m.store.Renew(ctx, id, f, lease)
}

func (m *measured) Write(ctx context.Context, id session.ID, f session.Fence, sealed []byte) (err error) {
	ctx, call := m.begin(ctx, "write")
	defer func() { call.done(ctx, err) }()
	return m.store.Write(ctx, id, f, sealed)
}

func (m *measured) Unlock(ctx context.Context, id session.ID, f session.Fence) (err error) {
	ctx, call := m.begin(ctx, "unlock")
	defer func() { call.done(ctx, err) }()
	return m.store.Unlock(ctx, id, f)
}

func (m *measured) Delete(ctx context.Context, id session.ID, why session.Reason) (err error) {
	ctx, call := m.begin(ctx, "delete")
	defer func() { call.done(ctx, err) }()
	if err = m.store.Delete(ctx, id, why); err == nil {
		m.ended.Add(why.String())
	}
	return err
}

func (m *measured) List(ctx context.Context, cursor string, limit int) (_ []session.Record, _ string, err error) {
	ctx, call := m.begin(ctx, "list")
	defer func() { call.done(ctx, err) }()
	return m.store.List(ctx, cursor, limit)
}

func (m *measured) DeleteBySID(ctx context.Context, issuer, sid string, why session.Reason) (ids []session.ID, err error) {
	ctx, call := m.begin(ctx, "delete_by_sid")
	defer func() { call.done(ctx, err) }()
	ids, err = m.index.DeleteBySID(ctx, issuer, sid, why)
	m.ended.AddN(len(ids), why.String())
	return ids, err
}

func (m *measured) DeleteBySubject(ctx context.Context, issuer, subject string, why session.Reason) (ids []session.ID, err error) {
	ctx, call := m.begin(ctx, "delete_by_subject")
	defer func() { call.done(ctx, err) }()
	ids, err = m.index.DeleteBySubject(ctx, issuer, subject, why)
	m.ended.AddN(len(ids), why.String())
	return ids, err
}

func (m *measured) ListBySubject(ctx context.Context, issuer, subject string) (_ []session.Record, err error) {
	ctx, call := m.begin(ctx, "list_by_subject")
	defer func() { call.done(ctx, err) }()
	return m.index.ListBySubject(ctx, issuer, subject)
}

func (m *measured) DeleteExpired(ctx context.Context) (n int, err error) {
	sweeper, ok := m.store.(session.Sweeper)
	if !ok {
		return 0, nil
	}
	ctx, call := m.begin(ctx, "delete_expired")
	defer func() { call.done(ctx, err) }()
	n, err = sweeper.DeleteExpired(ctx)
	m.ended.AddN(n, session.ReasonExpired.String())
	if n > 0 {
		m.audit.Record(ctx, audit.Event{Action: audit.SessionEnded, Cause: audit.Expired, Count: int64(n)})
	}
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
	ctx, call := m.begin(ctx, "ready")
	defer func() { call.done(ctx, err) }()
	return checker.Ready(ctx)
}

func (m *measured) AddNote(ctx context.Context, n session.Note) (_ bool, err error) {
	ctx, call := m.begin(ctx, "add_note")
	defer func() { call.done(ctx, err) }()
	return m.store.AddNote(ctx, n)
}

func (m *measured) PutNote(ctx context.Context, n session.Note) (err error) {
	ctx, call := m.begin(ctx, "put_note")
	defer func() { call.done(ctx, err) }()
	return m.store.PutNote(ctx, n)
}

func (m *measured) CountNote(ctx context.Context, kind, key string, expires time.Time) (_ int64, err error) {
	ctx, call := m.begin(ctx, "count_note")
	defer func() { call.done(ctx, err) }()
	return m.store.CountNote(ctx, kind, key, expires)
}

func (m *measured) GetNote(ctx context.Context, kind, key string) (_ session.Note, err error) {
	ctx, call := m.begin(ctx, "get_note")
	defer func() { call.done(ctx, err) }()
	return m.store.GetNote(ctx, kind, key)
}

func (m *measured) TakeNote(ctx context.Context, kind, key string) (_ session.Note, err error) {
	ctx, call := m.begin(ctx, "take_note")
	defer func() { call.done(ctx, err) }()
	return m.store.TakeNote(ctx, kind, key)
}

func (m *measured) DueNotes(ctx context.Context, kind string, limit int) (_ []session.Note, err error) {
	ctx, call := m.begin(ctx, "due_notes")
	defer func() { call.done(ctx, err) }()
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
