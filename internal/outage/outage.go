// Package outage owns how an outage of something that this process depends on is
// logged: one line at WARN when it starts, one at INFO when it ends, none between. It
// leaves to the callers what counts as a failure, and what to do about it.
package outage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a [Monitor].
type Config struct {
	// Name is what the messages begin with, such as "session store": "session store
	// unavailable", "session store available again".
	Name string
	// Logger receives the two lines. Attributes that tell several monitors of one name
	// apart, such as an address, are attributes of the logger. nil discards.
	Logger *slog.Logger
	// Now is the clock, by default time.Now.
	Now func() time.Time
	// Settle is how long the last failure must be past before a success ends an outage,
	// by default 0. It is for what is used concurrently, or fails only sometimes: without
	// it each change is an outage of its own.
	Settle time.Duration
	// Observe is called when an outage starts (false) and when it ends (true), in that
	// order, for a metric or a readiness check. It must not call the Monitor.
	Observe func(up bool)
}

// A Monitor knows whether one thing is up. It begins as up. It is safe for concurrent
// use; a nil Monitor does nothing.
type Monitor struct {
	cfg  Config
	down atomic.Bool // written with mu held

	mu       sync.Mutex
	since    time.Time // the first failure
	last     time.Time // the last failure
	answered time.Time // the first success after the last failure, zero if there is none
	failures int
	err      error // of the last failure
}

// New returns a Monitor of something that is up.
func New(cfg Config) *Monitor {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Monitor{cfg: cfg}
}

// Fail records a failure. The first one starts an outage and is logged with its error
// and the context's request; the others are counted. An operation that was cancelled has
// not failed, and is ignored.
func (m *Monitor) Fail(ctx context.Context, err error) {
	if m == nil || errors.Is(err, context.Canceled) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.answered, m.err = m.cfg.Now(), time.Time{}, err
	m.failures++
	if m.down.Load() {
		return
	}
	m.since = m.last
	m.down.Store(true)
	m.cfg.Logger.WarnContext(ctx, m.cfg.Name+" unavailable", "err", err)
	m.observe(false)
}

// OK records a success. It ends an outage if the last failure is [Config.Settle] past,
// and logs how long the outage was, in seconds, and how many failures it had. While
// nothing is down it costs one atomic load.
func (m *Monitor) OK(ctx context.Context) {
	if m == nil || !m.down.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	if m.answered.IsZero() {
		m.answered = now
	}
	if !m.down.Load() || now.Sub(m.last) < m.cfg.Settle {
		return
	}
	m.cfg.Logger.InfoContext(ctx, m.cfg.Name+" available again",
		"duration", m.answered.Sub(m.since).Round(time.Microsecond).Seconds(), "failures", m.failures)
	m.failures, m.err = 0, nil
	m.down.Store(false)
	m.observe(true)
}

// Note is Fail for an error, and OK for nil.
func (m *Monitor) Note(ctx context.Context, err error) {
	if err != nil {
		m.Fail(ctx, err)
	} else {
		m.OK(ctx)
	}
}

// Err returns the last error of an outage, nil if there is none at present.
func (m *Monitor) Err() error {
	if m == nil || !m.down.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *Monitor) observe(up bool) {
	if m.cfg.Observe != nil {
		m.cfg.Observe(up)
	}
}
