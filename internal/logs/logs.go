// Package logs owns the form of log lines: the ids that connect them, the length and the
// characters of their texts, and the unit of durations; and when lines are written. The test
// of package layout holds every key and message of the source to docs/logs.md. It leaves what
// is logged to the parts.
package logs

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// Keys of the ids that [Handler] adds.
const (
	RequestID = "request_id"
	TraceID   = "trace_id"
	SpanID    = "span_id"
)

// Request is the message of the one line that a request or call has in each process.
const Request = "request"

// WriteRequest writes a line with the message [Request]. It leaves out what the methods of a logger
// add: the place in the source, which is a third of the cost of a line and here always the same.
func WriteRequest(ctx context.Context, logger *slog.Logger, level slog.Level, attrs ...slog.Attr) {
	if !logger.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, Request, 0)
	r.AddAttrs(attrs...)
	_ = logger.Handler().Handle(ctx, r) // as the methods of a logger do
}

// Seconds returns a duration as a number of seconds, to the microsecond.
func Seconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, d.Round(time.Microsecond).Seconds())
}

// New returns a logger that writes lines of JSON, or of text for people, from a level on,
// in the form of [Handler] and without the requests that share leaves out.
func New(to *Batch, text bool, level slog.Leveler, share Share) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(lineWriter{to}, options)
	if text {
		h = slog.NewTextHandler(lineWriter{to}, options)
	}
	to.logger = slog.New(Handler(h)) // not batching, so that it does not wait for itself
	return slog.New(Handler(Sample(batching{h, to}, share)))
}

// Handler wraps a handler so that each record with the context of a request or a trace
// has their ids once, that no text is longer than 1 KiB (a stack trace: 32 KiB), and that
// texts are valid UTF-8 without control characters that a terminal might obey.
func Handler(h slog.Handler) slog.Handler {
	if wrapped, ok := h.(handler); ok {
		return wrapped
	}
	return handler{h}
}

// Logger returns a logger with a [Handler]; for nil, one that discards.
func Logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(Handler(l.Handler()))
}

type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r, identified := bound(r)
	if !identified {
		var ids [3]slog.Attr
		if attrs := AppendIDs(ctx, ids[:0]); len(attrs) > 0 {
			r.AddAttrs(attrs...)
		}
	}
	return h.Handler.Handle(ctx, r)
}

// AppendIDs appends the ids of the request and of the recorded trace that a context has. A caller
// that logs often adds them itself: adding them to a finished record copies it.
func AppendIDs(ctx context.Context, attrs []slog.Attr) []slog.Attr {
	if id := requestid.FromContext(ctx); id != "" {
		attrs = append(attrs, slog.String(RequestID, id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		attrs = append(attrs, slog.String(TraceID, span.TraceID().String()), slog.String(SpanID, span.SpanID().String()))
	}
	return attrs
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name)}
}
