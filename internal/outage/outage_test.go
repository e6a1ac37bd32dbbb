package outage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

// logged is a logger without times, and its lines.
type logged struct{ bytes.Buffer }

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func (l *logged) lines() []string { return strings.Split(strings.TrimSpace(l.String()), "\n") }

func TestOneLineEach(t *testing.T) {
	t.Parallel()
	var out logged
	var seen []bool
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := outage.New(outage.Config{Name: "store", Logger: out.logger().With("address", "a:1"),
		Now: func() time.Time { return now }, Observe: func(up bool) { seen = append(seen, up) }})
	ctx := t.Context()

	m.OK(ctx)
	m.Fail(ctx, fmt.Errorf("get: %w", context.Canceled))
	if err := m.Err(); err != nil || len(seen) != 0 {
		t.Errorf("before an outage: Err() = %v, observed %v", err, seen)
	}
	for range 3 {
		m.Note(ctx, errors.New("refused"))
		now = now.Add(500 * time.Millisecond)
	}
	if err := m.Err(); err == nil || err.Error() != "refused" {
		t.Errorf("in an outage: Err() = %v, want refused", err)
	}
	m.Note(ctx, nil)
	m.OK(ctx)
	if err := m.Err(); err != nil {
		t.Errorf("after an outage: Err() = %v", err)
	}
	m.Fail(ctx, errors.New("again"))
	now = now.Add(time.Hour)
	m.OK(ctx)

	want := []string{
		`level=WARN msg="store unavailable" address=a:1 err=refused`,
		`level=INFO msg="store available again" address=a:1 duration=1.5 failures=3`,
		`level=WARN msg="store unavailable" address=a:1 err=again`,
		`level=INFO msg="store available again" address=a:1 duration=3600 failures=1`,
	}
	if diff := cmp.Diff(want, out.lines()); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{false, true, false, true}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// Something that fails every other time has one outage, which ends when it has not
// failed for a while. The time until then is no part of the outage.
func TestSettle(t *testing.T) {
	t.Parallel()
	var out logged
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := outage.New(outage.Config{Name: "store", Logger: out.logger(), Now: func() time.Time { return now }, Settle: 2 * time.Second})
	for range 10 {
		m.Fail(t.Context(), errors.New("refused"))
		now = now.Add(time.Second)
		m.OK(t.Context())
	}
	if n := len(out.lines()); n != 1 {
		t.Errorf("%d lines while it comes and goes, want 1:\n%s", n, out.String())
	}
	now = now.Add(time.Minute)
	m.OK(t.Context())
	want := `level=INFO msg="store available again" duration=10 failures=10`
	if lines := out.lines(); len(lines) != 2 || lines[1] != want {
		t.Errorf("got\n%s\nwant a second line\n%s", out.String(), want)
	}
}

func TestConcurrently(t *testing.T) {
	t.Parallel()
	var out logged
	m := outage.New(outage.Config{Name: "store", Logger: out.logger()})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { m.Fail(t.Context(), errors.New("refused")); _ = m.Err() })
	}
	all.Wait()
	for range 50 {
		all.Go(func() { m.OK(t.Context()) })
	}
	all.Wait()
	if lines := out.lines(); len(lines) != 2 || !strings.HasSuffix(lines[1], "failures=50") {
		t.Errorf("got\n%s\nwant two lines, the second with failures=50", out.String())
	}
}

func TestNil(t *testing.T) {
	t.Parallel()
	var m *outage.Monitor
	m.Note(t.Context(), errors.New("refused"))
	m.Note(t.Context(), nil)
	if err := m.Err(); err != nil {
		t.Errorf("Err() = %v, want nil", err)
	}
}
