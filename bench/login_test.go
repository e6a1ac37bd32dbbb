//go:build linux

package main

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/arrival"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// BenchmarkLogin signs users in over sockets: the request that starts the login, the callback with
// the requests to the provider, and the embedded first page. Users and provider are another process, so
// that cpu-ns/op and the allocations are those of the bff.
//
//	go test -C bench -run '^$' -bench Login -benchmem -benchtime 2000x
func BenchmarkLogin(b *testing.B) {
	for _, store := range []struct {
		name string
		open func(*testing.B) (session.Store, error)
	}{
		{"memory", func(*testing.B) (session.Store, error) { return memory.New(memory.Config{}) }},
		{"sqlite", func(b *testing.B) (session.Store, error) {
			return sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "sessions.db")})
		}},
	} {
		b.Run(store.name, func(b *testing.B) {
			sessions, err := store.open(b)
			if err != nil {
				b.Fatal(err)
			}
			users := newLogins(b, sessions)
			if err := users.SignIn(b.Context(), 50); err != nil { // so that connections exist and pools have buffers
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			if err := users.SignIn(b.Context(), b.N); err != nil { // one request to the other process
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// newLogins starts a bff with a log, metrics and traces, and returns its users.
func newLogins(tb testing.TB, store session.Store) *rows.Users {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	base := "http://localhost:" + port // cookies are apart from those of the provider, at 127.0.0.1
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	env := &rows.Env{Settings: rows.Settings{Self: self}, Dir: tb.TempDir()}
	tb.Cleanup(env.Wait) // after the test's context has ended
	users, err := env.Users(tb.Context(), base)
	if err != nil {
		tb.Fatal(err)
	}
	file, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = file.Close() })
	logger, of := slog.New(logs.Handler(slog.NewJSONHandler(file, nil))), newTelemetry(tb)
	provider, err := oidc.NewProvider(oidc.Config{Issuer: users.Issuer, Logger: logger, MeterProvider: of.meters, TracerProvider: of.tracers})
	if err != nil {
		tb.Fatal(err)
	}
	if err := provider.Refresh(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	web, err := bff.New(bff.Config{
		BaseURL: base, Provider: provider, Client: bff.ClientConfig{ID: users.ClientID, Secret: users.ClientSecret},
		Login:    bff.LoginConfig{Audience: rows.Audience, Rate: 1e9},
		Sessions: bff.SessionConfig{Store: store, Secrets: []string{rand.Text() + rand.Text()}},
		API:      http.NotFoundHandler(), Logger: logger, MeterProvider: of.meters, TracerProvider: of.tracers,
	})
	if err != nil {
		tb.Fatal(err)
	}
	server := web.Server()
	go func() { _ = server.Serve(arrival.Port(listener)) }() // ends with the benchmark
	tb.Cleanup(func() { _ = server.Close() })
	return users
}
