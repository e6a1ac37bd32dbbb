package accesslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// lines returns the records of a JSON log without times.
func lines(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := json.NewDecoder(out); decoder.More(); {
		line := map[string]any{}
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		delete(line, "time")
		delete(line, "duration")
		all = append(all, line)
	}
	return all
}

func logger(out *bytes.Buffer) *slog.Logger {
	return slog.New(logs.Handler(slog.NewJSONHandler(out, nil)))
}

func config(logger *slog.Logger) accesslog.Config {
	return accesslog.Config{Logger: logger, Client: func(*http.Request) string { return "192.0.2.7" }}
}

// The parts behind add to the line of the part in front. The last value of a key and
// the highest level are written.
func TestOneLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var late *accesslog.Line
	h := accesslog.Wrap(config(logger(&out)))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := accesslog.FromContext(r.Context())
		if ctx, ours := accesslog.Begin(r.Context(), logger(&out), false); ctx == r.Context() || ours == line {
			t.Error("Begin returned the line of another part")
		}
		for _, code := range []string{"Unavailable", "OK"} {
			if !line.Add(slog.LevelWarn, slog.String("route", "/api/{id}"), slog.String("code", code)) {
				t.Error("Add reported false")
			}
		}
		line.Add(slog.LevelInfo, slog.Int("more", 1))
		line.AddMissing(slog.LevelInfo, slog.String("code", "Internal"), slog.Int("less", 2))
		late = line
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("short"))
	}))
	r := httptest.NewRequest(http.MethodGet, "/api/1?secret", nil)
	r.Header.Set(requestid.Header, "abc")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if late.Add(slog.LevelError, slog.String("late", "x")) {
		t.Error("Add reported true for a line that has been written")
	}
	want := []map[string]any{{
		"level": "WARN", "msg": "request", "request_id": "abc", "method": "GET", "path": "/api/1", "status": 418.0, "bytes": 5.0,
		"route": "/api/{id}", "code": "OK", "more": 1.0, "less": 2.0, "client": "192.0.2.7",
	}}
	if diff := cmp.Diff(want, lines(t, &out)); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

// If the logger discards the line, there is none, and the parts behind write their own.
func TestDiscarded(t *testing.T) {
	t.Parallel()
	h := accesslog.Wrap(config(slog.New(slog.DiscardHandler)))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if line := accesslog.FromContext(r.Context()); line != nil || line.Add(slog.LevelInfo) {
			t.Error("there is a line that is not written")
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// A stream and its request may end at the same time.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	ctx, line := accesslog.Begin(t.Context(), logger(&out), false)
	var all sync.WaitGroup
	added := make([]bool, 50)
	for i := range added {
		all.Go(func() { added[i] = line.Add(slog.LevelInfo, slog.Int("n"+string(rune('A'+i)), i)) })
	}
	line.Write(ctx, logger(&out), slog.LevelInfo)
	all.Wait()
	want := 2 // level, msg
	for _, ok := range added {
		if ok {
			want++
		}
	}
	if got := lines(t, &out); len(got) != 1 || len(got[0]) != want {
		t.Errorf("%d attributes were added; the log has %v", want-2, got)
	}
}

// Failures are warnings also if only warnings are logged; health checks have no line.
func TestLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	warnings := slog.New(logs.Handler(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	h := accesslog.Wrap(config(warnings))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.WriteHeader(status)
	}))
	for _, path := range []string{"/a?status=200", "/b?status=404", "/c?status=500", "/healthz?status=503", "/readyz?status=503", "/d?status=503"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("BREW", path, nil))
	}
	var got []string
	for _, line := range lines(t, &out) {
		got = append(got, fmt.Sprint(line["level"], line["method"], line["path"], line["status"]))
	}
	if diff := cmp.Diff([]string{"WARN_OTHER/c500", "WARN_OTHER/d503"}, got); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

// A handler may keep the context of a request for longer than the request takes. It has the
// values of that request and of no later one.
func TestKeptContexts(t *testing.T) {
	t.Parallel()
	const users, requests = 2, 200
	var out bytes.Buffer
	var kept [users][requests]context.Context
	h := accesslog.Wrap(config(logger(&out)))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var user, n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d", &user, &n)
		kept[user][n] = r.Context()
		accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String(accesslog.SessionKey, r.URL.Path))
	}))
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			for n := range requests {
				r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/%d/%d", user, n), nil)
				r.Header.Set(requestid.Header, fmt.Sprintf("%d-%d", user, n))
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	all.Wait()
	for user := range users {
		for n, ctx := range kept[user] {
			if got, want := requestid.FromContext(ctx), fmt.Sprintf("%d-%d", user, n); got != want {
				t.Fatalf("the kept context has the id %q, want %q", got, want)
			}
			if got, want := accesslog.FromContext(ctx).Session(), fmt.Sprintf("/%d/%d", user, n); got != want {
				t.Fatalf("the kept context has the session %q, want %q", got, want)
			}
		}
	}
	for _, line := range lines(t, &out) {
		if id := strings.ReplaceAll(line["path"].(string)[1:], "/", "-"); line["request_id"] != id || line["session"] != line["path"] {
			t.Fatalf("a line mixes requests: %v", line)
		}
	}
}
