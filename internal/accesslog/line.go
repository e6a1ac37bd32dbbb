package accesslog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// A Line is the line of a request that is under way. It belongs to the first
// part of this process that the request came to; those behind it add what they
// know rather than write lines of their own, or do so at debug level alone. It
// is safe for concurrent use, and nil is a line that nobody will write.
type Line struct {
	mu      sync.Mutex
	attrs   []slog.Attr
	level   slog.Level
	written bool
	room    [8]slog.Attr
}

type lineKey struct{}

// Begin returns the context of a request whose line this part writes, and the
// line; the context as it is, and nil, where nobody reads the logger.
func Begin(ctx context.Context, logger *slog.Logger) (context.Context, *Line) {
	if !logger.Enabled(ctx, slog.LevelInfo) {
		return ctx, nil
	}
	l := &Line{level: slog.LevelInfo}
	l.attrs = l.room[:0]
	return NewContext(ctx, l), l
}

// NewContext returns a context that carries the line.
func NewContext(ctx context.Context, l *Line) context.Context {
	return context.WithValue(ctx, lineKey{}, l)
}

// FromContext returns the line that a part in front of this one will write, nil
// if there is none.
func FromContext(ctx context.Context) *Line {
	l, _ := ctx.Value(lineKey{}).(*Line)
	return l
}

// Add adds to the line, in the place of what is there under the same key, and
// raises its level. It reports whether that came in time: a line that is
// written already does not change.
func (l *Line) Add(level slog.Level, attrs ...slog.Attr) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written {
		return false
	}
	l.level = max(l.level, level)
	for _, a := range attrs {
		if i := slices.IndexFunc(l.attrs, func(b slog.Attr) bool { return a.Key == b.Key }); i >= 0 {
			l.attrs[i] = a
		} else {
			l.attrs = append(l.attrs, a)
		}
	}
	return true
}

// Write writes the line, the given attributes first, then what was added.
func (l *Line) Write(ctx context.Context, logger *slog.Logger, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.written = true
	level, added := l.level, l.attrs
	l.mu.Unlock()
	logger.LogAttrs(ctx, level, "request", append(attrs, added...)...)
}
