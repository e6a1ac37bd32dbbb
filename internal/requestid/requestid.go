// Package requestid owns the identifier of a request: its form, how a context carries
// it, and how it gets into each log line, whose length it bounds. It leaves reading
// it from headers or metadata, and sending it on, to the parts.
package requestid

import (
	"context"
	"crypto/rand"
	"log/slog"
)

// Header is the HTTP header, and in lower case the gRPC metadata key, that
// carries the identifier.
const Header = "X-Request-Id"

// maxLength bounds what a client can write into a log.
const maxLength = 64

// Valid reports whether a client's identifier is safe to log and to send on: 1 to 64
// letters, digits, and "-_.:", so that it cannot forge a log line or a header.
func Valid(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return 0 < len(id) && len(id) <= maxLength
}

// Keep returns the identifier if it is valid, otherwise a new random one.
func Keep(id string) string {
	if Valid(id) {
		return id
	}
	return rand.Text()
}

type key struct{}

// NewContext returns a context with the identifier.
func NewContext(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// FromContext returns the identifier of the request, "" if there is none.
func FromContext(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// LogHandler wraps a handler so that each record with a request's context has the
// attribute "request_id" once, and no text in a record is longer than 1 KiB (a stack
// trace: 32 KiB).
func LogHandler(h slog.Handler) slog.Handler {
	if wrapped, ok := h.(handler); ok {
		return wrapped
	}
	return handler{h}
}

// Logger returns a logger with a [LogHandler]; for nil, one that discards.
func Logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(LogHandler(l.Handler()))
}

type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r = bound(r)
	if id := FromContext(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name)}
}
