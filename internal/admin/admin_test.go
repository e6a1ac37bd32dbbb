package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/admin"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// newAdmin returns an admin port with everything, changed by change.
func newAdmin(t *testing.T, change func(*admin.Config)) *admin.Admin {
	t.Helper()
	cfg := admin.Config{
		Readiness: admin.NewReadiness(time.Second), Debug: true, Level: new(slog.LevelVar),
		Settings:     []settings.Shown{{Name: "cookie-name", Variable: "GATEHOUSE_COOKIE_NAME", Value: "shop", Source: ".env:3"}},
		AllowedHosts: []string{"gatehouse-admin"},
		Metrics:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) }),
	}
	if change != nil {
		change(&cfg)
	}
	a, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// do makes a request with headers in the form "Name: value".
func do(a *admin.Admin, method, url string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, http.NoBody)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	return w
}

const local = "http://127.0.0.1:9000"

func TestPaths(t *testing.T) {
	t.Parallel()
	full := newAdmin(t, nil)
	bare := newAdmin(t, func(cfg *admin.Config) { cfg.Debug, cfg.Metrics, cfg.Level = false, nil, nil })
	for path, want := range map[string]string{
		"/":                      "/debug/config",
		"/healthz":               "ok\n",
		"/readyz":                "ready\n",
		"/metrics":               "up 1\n",
		"/debug/config":          "cookie-name  shop   .env:3\n",
		"/debug/log-level":       "info (configured: info)\n",
		"/debug/pprof/":          "goroutine",
		"/debug/pprof/goroutine": "",
	} {
		if w := do(full, http.MethodGet, local+path); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: status %d, body %q, want 200 and %q", path, w.Code, w.Body, want)
		}
		w, code := do(bare, http.MethodGet, local+path), http.StatusNotFound
		if path == "/" || path == "/healthz" || path == "/readyz" {
			code = http.StatusOK
		}
		if w.Code != code {
			t.Errorf("%s without metrics and debug: status %d, want %d", path, w.Code, code)
		}
	}
	// The command line may have secrets.
	if w := do(full, http.MethodGet, local+"/debug/pprof/cmdline"); w.Code != http.StatusNotFound {
		t.Errorf("/debug/pprof/cmdline: status %d, want 404", w.Code)
	}
	for _, name := range []string{"profile", "trace", "heap"} {
		if w := do(full, http.MethodGet, local+"/debug/pprof/"+name+"?seconds=301"); w.Code != http.StatusBadRequest {
			t.Errorf("a %s of 301 s: status %d, want 400", name, w.Code)
		}
	}
}

// TestForeignPages makes the requests that a page of another site can make.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	a := newAdmin(t, nil)
	for _, c := range []struct {
		method, url string
		headers     []string
		want        int
	}{
		{"GET", "http://rebound.example:9000/metrics", nil, 421},
		{"GET", "http://127.0.0.1.rebound.example:9000/debug/config", nil, 421},
		{"POST", "http://rebound.example:9000/debug/log-level?level=debug", []string{"Origin: http://rebound.example:9000", "Sec-Fetch-Site: same-origin"}, 421},
		{"POST", local + "/debug/log-level?level=debug", []string{"Origin: https://evil.example"}, 403},
		{"POST", local + "/debug/log-level?level=debug", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"GET", local + "/debug/pprof/profile?seconds=0.01", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"GET", local + "/metrics", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"PUT", local + "/debug/log-level?level=debug", nil, 405},
		{"GET", "http://rebound.example/healthz", nil, 200},
		{"GET", "http://[::1]:9000/metrics", nil, 200},
		{"GET", "http://10.1.2.3:9000/metrics", nil, 200},
		{"GET", "http://localhost/metrics", nil, 200},
		{"GET", "http://Gatehouse-Admin.:9000/metrics", nil, 200},
		{"GET", local + "/metrics", []string{"Sec-Fetch-Site: none"}, 200},
	} {
		w := do(a, c.method, c.url, c.headers...)
		if w.Code != c.want {
			t.Errorf("%s %s %v: status %d, want %d", c.method, c.url, c.headers, w.Code, c.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: allows cross-origin reads", c.method, c.url)
		}
	}
	if w := do(a, http.MethodGet, local+"/debug/log-level"); !strings.HasPrefix(w.Body.String(), "info ") {
		t.Errorf("the level is %q, want info", w.Body)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var store, client error
		var hang atomic.Bool
		readiness := admin.NewReadiness(time.Second)
		readiness.Add("session store", func(context.Context) error { return store })
		readiness.Add("provider client", func(context.Context) error { return client })
		readiness.Add("services", func(ctx context.Context) error {
			if hang.Load() {
				time.Sleep(time.Hour) // ignores its context
			}
			return nil
		})
		a := newAdmin(t, func(cfg *admin.Config) { cfg.Readiness = readiness })
		start := time.Now().UTC()
		expect := func(step string, status int, want ...string) {
			t.Helper()
			w := do(a, http.MethodGet, local+"/readyz")
			if got := w.Body.String(); w.Code != status || got != strings.Join(want, "\n")+"\n" {
				t.Errorf("%s: status %d\n%s\nwant %d\n%s", step, w.Code, got, status, strings.Join(want, "\n"))
			}
		}
		at := func(d time.Duration) string { return start.Add(d).Format(time.RFC3339) }
		expect("at first", 200, "ready", "session store: ready since "+at(0), "provider client: ready since "+at(0), "services: ready since "+at(0))

		time.Sleep(time.Minute)
		client = &admin.Warning{Err: errors.New("invalid_client")}
		expect("a warning", 200, "degraded", "session store: ready since "+at(0),
			"provider client: degraded since "+at(time.Minute)+": invalid_client", "services: ready since "+at(0))

		time.Sleep(time.Minute)
		store = errors.New("connection refused\nfor now")
		w := do(a, http.MethodGet, local+"/readyz", "Accept: application/json")
		var report admin.Report
		if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != 503 {
			t.Fatalf("status %d, %v", w.Code, err)
		}
		if d := report.Dependencies[0]; report.State != admin.NotReady || d.State != admin.NotReady ||
			d.Cause != "connection refused for now" || !d.Since.Equal(start.Add(2*time.Minute)) {
			t.Errorf("got %+v", report)
		}
		// A load balancer may send any name, and a page of another site too.
		w = do(a, http.MethodGet, "http://rebound.example/readyz")
		if w.Code != 503 || w.Body.String() != "not ready\n" {
			t.Errorf("an unknown host: status %d, %q, want the state alone", w.Code, w.Body)
		}

		time.Sleep(time.Minute)
		store, client = nil, nil
		hang.Store(true)
		for range 3 { // the polls join one question
			expect("no answer", 503, "not ready", "session store: ready since "+at(3*time.Minute),
				"provider client: ready since "+at(3*time.Minute), "services: not ready since "+at(3*time.Minute+time.Second)+": no answer in time")
		}
		hang.Store(false)
		time.Sleep(time.Hour)
	})
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // a timer's change is one of another goroutine
		var changes []admin.Change
		level := new(slog.LevelVar)
		level.Set(slog.LevelWarn)
		a := newAdmin(t, func(cfg *admin.Config) {
			cfg.Level = level
			cfg.Changed = func(_ context.Context, c admin.Change) {
				mu.Lock()
				defer mu.Unlock()
				changes = append(changes, c)
			}
		})
		for _, query := range []string{"", "?level=loud", "?level=debug&for=10", "?level=debug&for=-1s", "?level=debug&for=999h"} {
			if w := do(a, http.MethodPost, local+"/debug/log-level"+query); w.Code != http.StatusBadRequest {
				t.Errorf("%q: status %d, want 400", query, w.Code)
			}
		}
		until := time.Now().Add(10 * time.Minute)
		w := do(a, http.MethodPost, local+"/debug/log-level?level=debug&for=10m", "Sec-Fetch-Site: same-origin", "Origin: "+local)
		if want := "debug (configured: warn) until " + until.UTC().Format(time.RFC3339) + "\n"; w.Code != 200 || w.Body.String() != want {
			t.Errorf("status %d, %q, want %q", w.Code, w.Body, want)
		}
		time.Sleep(5 * time.Minute)
		do(a, http.MethodPost, local+"/debug/log-level?level=INFO&for=20m") // replaces the first one's end
		time.Sleep(10 * time.Minute)
		if got := level.Level(); got != slog.LevelInfo {
			t.Errorf("after the first change's end: %v, want info", got)
		}
		time.Sleep(11 * time.Minute)
		if got := level.Level(); got != slog.LevelWarn {
			t.Errorf("after the end: %v, want the configured warn", got)
		}
		do(a, http.MethodPost, local+"/debug/log-level?level=error")
		time.Sleep(1000 * time.Hour)
		if got := level.Level(); got != slog.LevelError {
			t.Errorf("a change without end: %v, want error", got)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		var got []string
		for _, c := range changes {
			got = append(got, c.Setting+" "+c.From+" "+c.To)
		}
		if want := "log-level warn debug,log-level debug info,log-level info warn,log-level warn error"; strings.Join(got, ",") != want {
			t.Errorf("changes %v, want %s", got, want)
		}
	})
}

// TestShutdown ends profiles that are being taken: one over a time, and the difference of
// two of the heap.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"trace", "heap"} {
		a := newAdmin(t, nil)
		web := httptest.NewUnstartedServer(nil)
		web.Config = a.Server()
		begun := make(chan struct{})
		once := sync.OnceFunc(func() { close(begun) })
		web.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateActive {
				once()
			}
		}
		web.Start()
		defer web.Close()
		go func() {
			if resp, err := http.Get(web.URL + "/debug/pprof/" + name + "?seconds=60"); err == nil {
				_ = resp.Body.Close()
			}
		}()
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := web.Config.Shutdown(ctx); err != nil {
			t.Errorf("%s: shutdown: %v", name, err)
		}
	}
}

// A flood of requests for an unknown host has one line in the log.
func TestUnknownHostFlood(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	a := newAdmin(t, func(cfg *admin.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 100 {
		do(a, http.MethodGet, "http://rebound.example:9000/metrics")
	}
	if n := strings.Count(log.String(), "unknown host"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	err := admin.Config{AllowedHosts: []string{"ok", "http://no"}}.Validate()
	if err == nil || !strings.Contains(err.Error(), `AllowedHosts[1] "http://no" is not a host name`) {
		t.Errorf("got %v", err)
	}
}

// A dependency that all processes share makes the process not ready until it has
// been reached once.
func TestSharedDependency(t *testing.T) {
	t.Parallel()
	r := admin.NewReadiness(time.Minute)
	var failure error
	r.AddShared("store", func(context.Context) error { return failure })
	for _, step := range []struct {
		err  error
		want admin.State
	}{
		{errors.New("refused"), admin.NotReady},
		{nil, admin.Ready},
		{errors.New("refused"), admin.Degraded},
		{nil, admin.Ready},
	} {
		failure = step.err
		if got := r.Report(t.Context()); got.State != step.want || got.Dependencies[0].State != step.want {
			t.Errorf("with %v: %v, want %v", step.err, got, step.want)
		}
	}
}
