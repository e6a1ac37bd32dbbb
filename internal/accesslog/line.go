package accesslog

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// A Line is the line of a request that is under way. The first part of this process
// that the request reaches writes it; the parts behind add attributes instead of
// writing lines of their own above debug level. It is safe for concurrent use. A nil
// Line is not written.
type Line struct {
	mu      sync.Mutex
	attrs   []slog.Attr // what was added
	level   slog.Level
	begun   bool // by Context.Begin
	written bool
	client  func(of any) string // by which the address of the client is found
	of      any
	room    [7]slog.Attr // for attrs, and then for the rest: 2 and the id of the bff, 4 of the parts behind it
}

type lineKey struct{}

// A Context is the context of a request with its identifier and its line. It can be a part of
// what else the part that writes the line has for the request, so that all of it is one
// allocation. That is safe as long as none of it is used for another request: handlers may keep
// a context, and a logger the attributes of a line.
type Context struct {
	requestid.Context
	line Line
}

// Value returns the line to FromContext, the identifier, and other values of the context.
func (c *Context) Value(key any) any {
	if c.line.begun && key == (lineKey{}) {
		return &c.line
	}
	return c.Context.Value(key)
}

// Begin begins the line that this part writes. If the logger discards it also for a request that
// fails, Begin returns nil, unless audited says that [Line.Client] and [Line.Session] are wanted
// all the same.
func (c *Context) Begin(logger *slog.Logger, audited bool) *Line {
	if !audited && !logger.Enabled(c, slog.LevelWarn) {
		return nil
	}
	c.line.begun = true
	c.line.level = slog.LevelInfo
	c.line.attrs = c.line.room[:0]
	return &c.line
}

// Begin returns a Context of ctx whose line has begun, and the line; ctx if there is none.
func Begin(ctx context.Context, logger *slog.Logger, audited bool) (context.Context, *Line) {
	c := &Context{Context: requestid.Context{Context: ctx}}
	if line := c.Begin(logger, audited); line != nil {
		return c, line
	}
	return ctx, nil
}

// IsKey reports whether a context has the line under this key, for contexts that pass
// it on.
func IsKey(key any) bool { return key == lineKey{} }

// FromContext returns the line that a part in front of this one writes, nil if there
// is none.
func FromContext(ctx context.Context) *Line {
	l, _ := ctx.Value(lineKey{}).(*Line)
	return l
}

// SetClient says how the address of the client is found, if it is wanted: by client of a
// request. Begin's caller calls it before the line is used by other goroutines.
func (l *Line) SetClient(of any, client func(of any) string) {
	if l != nil {
		l.of, l.client = of, client
	}
}

// Client returns the address of the client, "" if it is not known.
func (l *Line) Client() string {
	if l == nil || l.client == nil {
		return ""
	}
	return l.client(l.of)
}

// Session returns the handle of the session to which the request belongs, "" if it is not
// known.
func (l *Line) Session() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.attrs {
		if a.Key == SessionKey {
			return a.Value.String()
		}
	}
	return ""
}

// SessionKey is the key of the handle of a session.
const SessionKey = "session"

// Add adds attributes to the line, replacing those with the same keys, and raises its
// level. It reports false if the line has been written already.
func (l *Line) Add(level slog.Level, attrs ...slog.Attr) bool { return l.add(level, true, attrs) }

// AddMissing is Add for attributes that are kept if another part has set them, because
// it knows more.
func (l *Line) AddMissing(level slog.Level, attrs ...slog.Attr) bool {
	return l.add(level, false, attrs)
}

func (l *Line) add(level slog.Level, replace bool, attrs []slog.Attr) bool {
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
			if replace {
				l.attrs[i] = a
			}
		} else {
			l.attrs = append(l.attrs, a)
		}
	}
	return true
}

// Write writes the line: the given attributes, the ids of the context, and then what was
// added. level is the lowest level that the line may have.
func (l *Line) Write(ctx context.Context, logger *slog.Logger, level slog.Level, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	// A record has room for five attributes and would copy the others: four of the given ones, and a
	// group with the rest. Handlers write the attributes of a group without a name like those around
	// it (slog.Handler).
	var ids [3]slog.Attr
	var all [5]slog.Attr
	n := copy(all[:4], attrs)
	all[n].Value = slog.GroupValue(l.end(attrs[n:], logs.AppendIDs(ctx, ids[:0]))...)
	logs.WriteRequest(ctx, logger, max(level, l.level), all[:n+1]...)
}

// end ends the line, and returns these attributes and what was added.
func (l *Line) end(attrs, ids []slog.Attr) []slog.Attr {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = true
	own := len(attrs) + len(ids)
	all := l.room[:]
	if n := own + len(l.attrs); n <= len(all) {
		all = all[:n]
	} else {
		all = make([]slog.Attr, n)
	}
	copy(all[own:], l.attrs) // from the same array, and so before the others
	copy(all[copy(all, attrs):], ids)
	l.attrs = all[own:]
	return all
}
