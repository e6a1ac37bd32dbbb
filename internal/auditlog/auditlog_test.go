package auditlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// A keeper is a handler that keeps events.
type keeper struct {
	mu     sync.Mutex
	events []audit.Event
	err    error
}

func (k *keeper) handle(ctx context.Context, e audit.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.events = append(k.events, e)
	return k.err
}

func (k *keeper) take() []audit.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	events := k.events
	k.events = nil
	return events
}

// An event gets time, part, ids and client from the context, also if that has ended.
func TestRecord(t *testing.T) {
	t.Parallel()
	var k keeper
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.FixedZone("", 3600))
	r := auditlog.New(auditlog.Config{Handler: k.handle, Part: "bff", Now: func() time.Time { return now }})
	ctx, cancel := context.WithCancel(requestid.NewContext(t.Context(), "id-1"))
	traced := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx = trace.ContextWithSpanContext(ctx, traced)
	ctx, line := accesslog.Begin(ctx, slog.New(slog.DiscardHandler), true)
	line.SetClient(httptest.NewRequest(http.MethodGet, "/", nil), func(of any) string { return of.(*http.Request).RemoteAddr })
	cancel()
	r.Record(ctx, audit.Event{Action: audit.SignIn, Subject: "u1"})
	want := audit.Event{
		Time: now.UTC(), Action: audit.SignIn, Part: "bff", Subject: "u1", Client: "192.0.2.1:1234",
		RequestID: "id-1", TraceID: traced.TraceID().String(),
	}
	if got := k.take(); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("events %+v, want %+v", got, want)
	}
}

// Without a handler nothing is allocated, also with an event.
func TestNothingIsRecorded(t *testing.T) {
	r := auditlog.New(auditlog.Config{})
	allocated := testing.AllocsPerRun(100, func() {
		r.Record(t.Context(), audit.Event{Action: audit.CallDenied})
		r.RecordSampled(t.Context(), audit.Event{Action: audit.CallDenied})
		r.Flush()
	})
	if allocated != 0 || r.Enabled() {
		t.Errorf("%v allocations, enabled %t, want none", allocated, r.Enabled())
	}
}

func describe(events []audit.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, fmt.Sprintf("%s/%s/%d", e.Cause, e.Client, e.Count))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// The first event of a kind is recorded at once, the others of a minute as one.
func TestSampledEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var k keeper
		r := auditlog.New(auditlog.Config{Handler: k.handle, Part: "server"})
		deny := func(cause audit.Cause, client string, n int) {
			for range n {
				r.RecordSampled(t.Context(), audit.Event{Action: audit.CallDenied, Cause: cause, Client: client})
			}
		}
		want := func(when, want string) {
			t.Helper()
			if got := describe(k.take()); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		deny(audit.TokenMissing, "a", 3)
		deny(audit.TokenInvalid, "a", 1)
		deny(audit.TokenMissing, "b", 2)
		want("at once", "token_invalid/a/0 token_missing/a/0 token_missing/b/0")
		time.Sleep(time.Minute)
		synctest.Wait()
		want("after a minute", "token_missing/a/2 token_missing/b/1")
		time.Sleep(time.Hour)
		want("later", "")
		deny(audit.TokenMissing, "a", 2)
		want("again", "token_missing/a/0")
		r.Flush()
		want("at the end", "token_missing/a/1")
		time.Sleep(time.Hour)
		synctest.Wait()
		want("after the end", "")
	})
}

// A flood from many addresses records few events, which still count all.
func TestSampledEventsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var k keeper
		r := auditlog.New(auditlog.Config{Handler: k.handle})
		const flood = 10_000
		for i := range flood {
			r.RecordSampled(t.Context(), audit.Event{Action: audit.CallDenied, Cause: audit.TokenMissing, Client: fmt.Sprint(i)})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		events := k.take()
		var counted int64
		for _, e := range events {
			counted += max(e.Count, 1)
		}
		if counted != flood || len(events) > 102 {
			t.Errorf("%d events count %d, want at most 102 that count %d", len(events), counted, flood)
		}
	})
}

// Several recorders of a process with one handler log its outage once.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		var own, application keeper
		handler, failing := auditlog.Watch(logger, nil, own.handle, application.handle)
		parts := []*auditlog.Recorder{
			auditlog.New(auditlog.Config{Handler: handler, Part: "bff", Logger: logger}),
			auditlog.New(auditlog.Config{Handler: handler, Part: "server", Logger: logger}),
		}
		own.err = errors.New("disk full")
		for range 3 {
			for _, p := range parts {
				p.Record(t.Context(), audit.Event{Action: audit.SignIn})
			}
		}
		if err := failing(); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("outage is %v, want disk full", err)
		}
		if got := len(application.take()); got != 6 {
			t.Errorf("the other handler got %d events, want all 6", got)
		}
		own.err = nil
		time.Sleep(10 * time.Second)
		parts[0].Record(t.Context(), audit.Event{Action: audit.SignIn})
		if err := failing(); err != nil {
			t.Errorf("outage is %v, want none", err)
		}
		text := log.String()
		if strings.Count(text, "audit log unavailable") != 1 || strings.Count(text, "audit log available again") != 1 || strings.Count(text, "\n") != 2 {
			t.Errorf("log:\n%swant the start and the end of one outage", text)
		}
	})
}

func TestWatchNothing(t *testing.T) {
	t.Parallel()
	if handler, failing := auditlog.Watch(nil, nil, nil); handler != nil || failing() != nil {
		t.Error("a handler of no handlers is not nil")
	}
}

// Recorders are safe for concurrent use.
func TestConcurrentEvents(t *testing.T) {
	t.Parallel()
	var k keeper
	r := auditlog.New(auditlog.Config{Handler: k.handle})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r.Record(t.Context(), audit.Event{Action: audit.SignIn})
			r.RecordSampled(t.Context(), audit.Event{Action: audit.CallDenied, Client: fmt.Sprint(i % 3)})
			r.Flush()
		})
	}
	all.Wait()
	r.Flush()
	var denied int64
	for _, e := range k.take() {
		if e.Action == audit.CallDenied {
			denied += max(e.Count, 1)
		}
	}
	if denied != 20 {
		t.Errorf("%d denied calls counted, want 20", denied)
	}
}

// The metric knows every action.
func TestMetricActions(t *testing.T) {
	t.Parallel()
	for _, action := range []audit.Action{
		audit.SignIn, audit.SignInRefused, audit.SignOut, audit.SessionEnded, audit.RefreshRefused, audit.SubjectRevoked,
		audit.CallDenied, audit.RateLimited, audit.KeySetChanged, audit.SettingChanged,
	} {
		if !slices.Contains(metrics.AuditActions, string(action)) {
			t.Errorf("metrics.AuditActions lacks %s", action)
		}
	}
}
