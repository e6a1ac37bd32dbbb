package logs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// batchInterval is how long a line waits for others at most.
	batchInterval = 100 * time.Millisecond
	// batchSize is the number of bytes at which lines are written at once.
	batchSize = 32 << 10
	// batchLimit is the number of bytes from which on loggers wait for the destination, or, if it
	// fails, lines are lost.
	batchLimit = 4 * batchSize
	// retryInterval is the time between attempts to write to a destination that fails.
	retryInterval = time.Second
	// lastWait is how long lines wait for a destination that is blocked, after Stop.
	lastWait = time.Second
	// blockedAfter is the duration of a write from which on the destination counts as blocked.
	blockedAfter = 2 * time.Second
)

// A Batch is a destination of log lines, which are written several at a time: a write for each
// line costs more than making it. Between Start and Stop, lines below WARN are written within
// 100 ms, or when there are 32 KB of them. WARN and above, and all lines before Start and after
// Stop, are written before the logger returns, and those that came before them first.
//
// No line is dropped for being one too many: while the destination takes none, loggers wait as
// soon as 128 KB have gathered; after Stop, until it has taken none for a second. If the
// destination fails, as a full disk does, the lines are kept and written again, up to 256 KB;
// those beyond are lost, counted, and reported by a line when it works again.
type Batch struct {
	w       io.Writer
	logger  *slog.Logger // writes the lines of the Batch itself
	on      atomic.Bool  // between Start and Stop
	full    atomic.Bool  // lines has reached batchLimit
	stop    sync.Once
	stopped chan struct{}

	mu    sync.Mutex
	lines []byte      // not given to a write yet
	timer *time.Timer // starts a write
	begun time.Time   // of the write in progress; zero if there is none
	err   error       // of the last write
	lost  int         // lines

	writing chan struct{} // full in a write, which owns the rest; before mu
	sending []byte        // the lines of the write in progress
	rest    []byte        // the end of sending that is not written
}

// NewBatch returns a Batch that writes to w, whose methods it calls one at a time. It needs no
// end: no goroutine runs while there are no lines.
func NewBatch(w io.Writer) *Batch {
	b := &Batch{w: w, stopped: make(chan struct{}), writing: make(chan struct{}, 1)}
	b.timer = time.AfterFunc(batchInterval, b.write)
	b.timer.Stop()
	return b
}

// Start lets lines wait for others. It is not called after Stop.
func (b *Batch) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on.Store(true)
	b.timer.Reset(batchInterval) // for what failed before
}

// Stop writes all lines, and from then on each at once.
func (b *Batch) Stop() {
	b.stop.Do(func() {
		b.on.Store(false)
		close(b.stopped)
	})
	b.Flush()
}

// Flush returns when the lines that came before it have been written, or could not be.
func (b *Batch) Flush() {
	done := make(chan struct{})
	go func() {
		b.write()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-b.stopped:
	}
	select {
	case <-done:
	case <-time.After(b.patience()):
		b.mu.Lock()
		b.drop()
		b.mu.Unlock()
	}
}

// patience returns how long to wait for the write in progress, after Stop.
func (b *Batch) patience() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun.IsZero() {
		return lastWait
	}
	return lastWait - time.Since(b.begun)
}

// Err returns why no lines are written at the moment, nil if they are, and whether loggers
// wait for that.
func (b *Batch) Err() (err error, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return fmt.Errorf("log lines cannot be written, %d are lost: %w", b.lost, b.err), false
	}
	if took := time.Since(b.begun); !b.begun.IsZero() && took >= blockedAfter {
		return fmt.Errorf("the reader of the log has taken no lines for %v", took.Round(time.Second)), true
	}
	return nil, false
}

// add takes a line. It does not block, since handlers call it under a lock.
func (b *Batch) add(line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.lines)
	b.lines = append(b.lines, line...)
	after := len(b.lines)
	b.full.Store(after >= batchLimit)
	switch {
	case !b.on.Load():
	case before < batchSize && after >= batchSize:
		b.timer.Reset(0)
	case before == 0:
		b.timer.Reset(batchInterval)
	}
}

// write writes what a failed write has left, then the lines, then how many were lost.
func (b *Batch) write() {
	b.writing <- struct{}{}
	defer func() { <-b.writing }()
	err := b.send()
	if err == nil {
		err = b.sendLines()
	}
	if lost, cause := b.outcome(err); lost > 0 {
		b.logger.LogAttrs(context.Background(), slog.LevelWarn, "log lines lost", slog.Int("lines", lost), slog.Any("err", cause))
		b.outcome(b.sendLines())
	}
}

// sendLines writes the lines. The next ones go to the other buffer meanwhile.
func (b *Batch) sendLines() error {
	b.mu.Lock()
	b.lines, b.sending = b.sending[:0], b.lines
	b.full.Store(false)
	b.mu.Unlock()
	b.rest = b.sending
	return b.send()
}

// send writes the rest.
func (b *Batch) send() error {
	if len(b.rest) == 0 {
		return nil
	}
	b.note(time.Now())
	defer b.note(time.Time{})
	n, err := b.w.Write(b.rest)
	b.rest = b.rest[n:]
	return err
}

func (b *Batch) note(begun time.Time) {
	b.mu.Lock()
	b.begun = begun
	b.mu.Unlock()
}

// outcome keeps the error of a write. After one without an error it returns how many lines
// have been lost before, and why.
func (b *Batch) outcome(err error) (lost int, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cause, b.err = cmp.Or(b.err, errBlocked), err
	if err == nil {
		lost, b.lost = b.lost, 0
		return lost, cause
	}
	b.drop()
	if b.on.Load() {
		b.timer.Reset(retryInterval)
	}
	return 0, nil
}

// errBlocked is why lines are lost that a blocked destination has not taken after Stop.
var errBlocked = errors.New("the reader took no lines")

// drop drops the lines if there are too many. b.mu is held.
func (b *Batch) drop() {
	if len(b.lines) >= batchLimit {
		b.lost += bytes.Count(b.lines, []byte{'\n'})
		b.lines = b.lines[:0]
		b.full.Store(false)
	}
}

// lineWriter is a Batch for a handler that makes lines.
type lineWriter struct{ *Batch }

func (w lineWriter) Write(line []byte) (int, error) {
	w.add(line)
	return len(line), nil
}

// batching is the handler of a Batch: h makes its lines.
type batching struct {
	slog.Handler
	batch *Batch
}

func (h batching) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn || !h.batch.on.Load() || h.batch.full.Load() {
		h.batch.Flush()
	}
	return err
}

func (h batching) WithAttrs(attrs []slog.Attr) slog.Handler {
	return batching{h.Handler.WithAttrs(attrs), h.batch}
}

func (h batching) WithGroup(name string) slog.Handler {
	return batching{h.Handler.WithGroup(name), h.batch}
}
