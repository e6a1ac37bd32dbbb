// Package auditlog owns how parts record audit events: what every event gets from its
// context, events that stand for many, and what happens when the handler fails. It leaves
// what is recorded to the parts, and storing to the handler.
//
// An event that the handler refuses is lost: what it reports goes on, the outage is logged,
// and a counter tells how many were lost.
package auditlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

const (
	// interval is the time for which sampled events are counted.
	interval = time.Minute
	// maxKinds bounds the kinds of sampled events that are told apart in an interval. In a
	// flood from many addresses the others are counted together.
	maxKinds = 100
	// settle is how long the last failure must be past before an outage has ended.
	settle = 10 * time.Second
)

// Config configures a Recorder.
type Config struct {
	// Handler stores the events; nil records none.
	Handler audit.Handler
	// Observe gets each event before the handler does, nil for none. It must not block.
	Observe func(context.Context, audit.Event)
	// Part is that of the events.
	Part string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets the outages of the handler, unless [Watch] logs them. nil discards.
	Logger *slog.Logger
	// MeterProvider makes the counter of events; nil for none.
	MeterProvider metric.MeterProvider
}

// A Recorder records the events of a part. It is safe for concurrent use. A nil Recorder
// records nothing.
type Recorder struct {
	handler audit.Handler // nil for none
	observe func(context.Context, audit.Event)
	part    string
	now     func() time.Time
	outage  *outage.Monitor
	events  *metrics.Counter

	mu    sync.Mutex
	kinds map[kind]*sampled
	timer *time.Timer // ends the interval; nil if none has begun
}

// A kind has what sampled events are told apart by.
type kind struct {
	action  audit.Action
	cause   audit.Cause
	client  string
	setting string
}

// A sampled event is the last one of its kind in the interval, with the number of those
// that have not been recorded.
type sampled struct {
	last audit.Event
	held int64
}

// New returns a Recorder, nil without a handler and an observer.
func New(cfg Config) *Recorder {
	if cfg.Handler == nil && cfg.Observe == nil {
		return nil
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Recorder{
		handler: cfg.Handler, observe: cfg.Observe, part: cfg.Part, now: cfg.Now, outage: monitor(cfg.Logger, cfg.Now),
		events: metrics.NewCounter(cfg.MeterProvider, metrics.AuditEvents), kinds: map[kind]*sampled{},
	}
}

func monitor(logger *slog.Logger, now func() time.Time) *outage.Monitor {
	return outage.New(outage.Config{Name: "audit log", Logger: logger, Now: now, Settle: settle})
}

// Enabled reports whether events are recorded, for callers that must ask something first.
func (r *Recorder) Enabled() bool { return r != nil }

// Record completes the event from the context and hands it to the handler. The end of the
// context does not keep the event from being stored.
func (r *Recorder) Record(ctx context.Context, e audit.Event) {
	if r != nil {
		r.store(ctx, r.complete(ctx, e))
	}
}

// RecordSampled is Record for events that clients can cause in any number. The first one
// of its kind (action, cause, client, setting) is recorded at once; those of the next
// minute are recorded as one at its end, with their number and the ids of the last.
func (r *Recorder) RecordSampled(ctx context.Context, e audit.Event) {
	if r == nil {
		return
	}
	e = r.complete(ctx, e)
	if r.first(&e) {
		r.store(ctx, e)
	}
}

// first reports whether an event is the first of its kind, and counts it otherwise.
func (r *Recorder) first(e *audit.Event) bool {
	k := kind{e.Action, e.Cause, e.Client, e.Setting}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kinds[k] == nil && len(r.kinds) >= maxKinds {
		k.client, e.Client = "", ""
	}
	if s := r.kinds[k]; s != nil {
		s.last = *e
		s.held++
		return false
	}
	r.kinds[k] = &sampled{}
	if r.timer == nil {
		r.timer = time.AfterFunc(interval, r.Flush)
	}
	return true
}

// Flush ends the interval of sampled events and records those that were counted. A part
// calls it when it ends.
func (r *Recorder) Flush() {
	if r == nil {
		return
	}
	r.mu.Lock()
	kinds := r.kinds
	r.kinds = map[kind]*sampled{}
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	for _, s := range kinds {
		if s.held > 0 {
			s.last.Time, s.last.Count = r.now().UTC(), s.held
			r.store(context.Background(), s.last)
		}
	}
}

// complete fills in what an event has from its context.
func (r *Recorder) complete(ctx context.Context, e audit.Event) audit.Event {
	e.Time, e.Part = r.now().UTC(), r.part
	e.RequestID = requestid.FromContext(ctx)
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		e.TraceID = span.TraceID().String()
	}
	if e.Client == "" {
		e.Client = accesslog.FromContext(ctx).Client()
	}
	return e
}

func (r *Recorder) store(ctx context.Context, e audit.Event) {
	if r.observe != nil {
		r.observe(ctx, e)
	}
	if r.handler == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := call(ctx, r.handler, e)
	result := metrics.AuditOK
	if err != nil {
		result = metrics.AuditError
	}
	r.events.Add(string(e.Action), result)
	if _, told := errors.AsType[*toldError](err); !told {
		r.outage.Note(ctx, err)
	}
}

// call turns a panic of the handler, which may be an application's, into an error.
func call(ctx context.Context, handler audit.Handler, e audit.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("audit handler: panic: %v", p)
		}
	}()
	return handler(ctx, e)
}

// Watch returns a handler that calls all of handlers and logs their outages once for
// all recorders of a process, and a function that returns the error of the outage. It
// returns a nil handler if there is none to call.
func Watch(logger *slog.Logger, handlers ...audit.Handler) (audit.Handler, func() error) {
	var all []audit.Handler
	for _, h := range handlers {
		if h != nil {
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return nil, func() error { return nil }
	}
	m := monitor(logger, time.Now)
	return func(ctx context.Context, e audit.Event) error {
		var errs []error
		for _, h := range all {
			errs = append(errs, call(ctx, h, e))
		}
		err := errors.Join(errs...)
		m.Note(ctx, err)
		if err != nil {
			err = &toldError{err}
		}
		return err
	}, m.Err
}

// A toldError is an error whose outage has been logged.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }
