package hook

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	// maxWaiting bounds the ends of sessions that wait to be told, maxTelling the calls at
	// once, and maxTold the calls that have not returned, late ones included.
	maxWaiting = 1000
	maxTelling = 4
	maxTold    = 16
)

// EndedConfig configures an Ended. All fields but Begin are required.
type EndedConfig struct {
	// Call is the function of the application.
	Call func(context.Context, audit.Event)
	// Timeout bounds each call.
	Timeout time.Duration
	// Begin counts what a stop of the process waits for. Default: it does not wait.
	Begin  func() (end func())
	Logger *slog.Logger
}

// An Ended tells an application of sessions that have ended, in its own time. It is safe
// for concurrent use. A nil Ended tells nothing.
type Ended struct {
	cfg    EndedConfig
	caller *Caller
	lost   *throttle.Log

	mu      sync.Mutex
	waiting []told
	telling int
}

type told struct {
	ctx   context.Context
	event audit.Event
	end   func()
}

// NewEnded returns an Ended, nil without a function to call.
func NewEnded(cfg EndedConfig) *Ended {
	if cfg.Call == nil {
		return nil
	}
	if cfg.Begin == nil {
		cfg.Begin = func() func() { return func() {} }
	}
	return &Ended{cfg: cfg, caller: NewCaller(cfg.Timeout, maxTold), lost: throttle.Every(time.Minute)}
}

// Observe has the application told of an event if it is the end of one session. It does
// not wait. An event beyond maxWaiting is lost.
func (d *Ended) Observe(ctx context.Context, e audit.Event) {
	if d == nil || e.Session == "" || e.Action != audit.SignOut && e.Action != audit.SessionEnded {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= maxWaiting {
		d.failed(ctx, e, errors.New("too many ends of sessions wait"))
		return
	}
	d.waiting = append(d.waiting, told{context.WithoutCancel(ctx), e, d.cfg.Begin()})
	if d.telling < maxTelling {
		d.telling++
		go d.tell()
	}
}

// tell calls the function until no event waits.
func (d *Ended) tell() {
	for {
		d.mu.Lock()
		if len(d.waiting) == 0 {
			d.telling--
			d.waiting = nil // gives back what a burst has taken
			d.mu.Unlock()
			return
		}
		next := d.waiting[0]
		d.waiting[0] = told{}
		d.waiting = d.waiting[1:]
		d.mu.Unlock()
		err := d.caller.Call(next.ctx, func(ctx context.Context) error {
			d.cfg.Call(ctx, next.event)
			return nil
		})
		if err != nil {
			d.failed(next.ctx, next.event, err)
		}
		next.end()
	}
}

// failed logs that the application was not told, or not in time, at most once a minute.
func (d *Ended) failed(ctx context.Context, e audit.Event, err error) {
	ok, held := d.lost.Next()
	if !ok {
		return
	}
	attrs := []any{"session", e.Session, "err", err, "suppressed", held}
	if p, ok := errors.AsType[*PanicError](err); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	d.cfg.Logger.ErrorContext(ctx, "hook SessionEnded failed", attrs...)
}
