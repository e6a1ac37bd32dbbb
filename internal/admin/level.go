package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxLevelTime bounds how long a changed log level may last if it is to return by
// itself.
const maxLevelTime = 7 * 24 * time.Hour

// A level is the log level of the process and the one that is configured.
type level struct {
	Config
	configured slog.Level

	mu    sync.Mutex
	timer *time.Timer // sets the configured level again; nil for none
	until time.Time
	count int // of changes, so that a timer knows whether it is the latest
}

func newLevel(cfg Config) *level { return &level{Config: cfg, configured: cfg.Level.Level()} }

// A levelState is what /debug/log-level shows.
type levelState struct {
	Level      string     `json:"level"`
	Configured string     `json:"configured"`
	Until      *time.Time `json:"until,omitempty"`
}

// show answers GET.
func (l *level) show(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	state := levelState{Level: word(l.Level.Level()), Configured: word(l.configured)}
	if !l.until.IsZero() {
		until := l.until.UTC().Truncate(time.Second)
		state.Until = &until
	}
	l.mu.Unlock()
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, state)
		return
	}
	fmt.Fprintf(w, "%s (configured: %s)", state.Level, state.Configured)
	if state.Until != nil {
		fmt.Fprintf(w, " until %s", state.Until.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
}

// set answers POST: level is debug, info, warn or error, and "for" how long it lasts.
func (l *level) set(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	next, ok := levels[strings.ToLower(r.Form.Get("level"))]
	if !ok {
		http.Error(w, fmt.Sprintf("level %q: not a level; give debug, info, warn or error", r.Form.Get("level")), http.StatusBadRequest)
		return
	}
	var lasting time.Duration
	if text := r.Form.Get("for"); text != "" {
		var err error
		if lasting, err = time.ParseDuration(text); err != nil || lasting <= 0 || lasting > maxLevelTime {
			http.Error(w, fmt.Sprintf("for %q: not a duration up to %v; write it like 10m", text, maxLevelTime), http.StatusBadRequest)
			return
		}
	}
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer, l.until = nil, time.Time{}
	l.count++
	if lasting > 0 {
		l.until = time.Now().Add(lasting)
		count := l.count
		l.timer = time.AfterFunc(lasting, func() { l.restore(count) })
	}
	change := Change{Setting: "log-level", From: word(l.Level.Level()), To: word(next), Until: l.until, Client: r.RemoteAddr}
	l.Level.Set(next)
	l.mu.Unlock()
	l.changed(r.Context(), change)
	l.show(w, r)
}

// restore sets the configured level again, unless the level was changed meanwhile.
func (l *level) restore(count int) {
	l.mu.Lock()
	if l.count != count {
		l.mu.Unlock()
		return
	}
	change := Change{Setting: "log-level", From: word(l.Level.Level()), To: word(l.configured)}
	l.timer, l.until = nil, time.Time{}
	l.Level.Set(l.configured)
	l.mu.Unlock()
	l.changed(context.Background(), change)
}

// changed logs a change and passes it on.
func (l *level) changed(ctx context.Context, change Change) {
	attrs := []any{"setting", change.Setting, "from", change.From, "to", change.To}
	if change.Client != "" {
		attrs = append(attrs, "client", change.Client)
	}
	if !change.Until.IsZero() {
		attrs = append(attrs, "until", change.Until.UTC().Format(time.RFC3339))
	}
	l.Logger.WarnContext(ctx, "setting changed at run time", attrs...)
	if l.Changed != nil {
		l.Changed(ctx, change)
	}
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func word(l slog.Level) string { return strings.ToLower(l.String()) }
