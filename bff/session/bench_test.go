//go:build unix

package session_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// stores are the stores that the benchmarks compare.
var stores = []struct {
	name string
	open func(b *testing.B) (store sessiontest.Store, size func() int64)
}{
	{"memory", func(b *testing.B) (sessiontest.Store, func() int64) {
		s, err := memory.New(memory.Config{MaxSessions: 10_000_000})
		if err != nil {
			b.Fatal(err)
		}
		return s, heap
	}},
	{"sqlite", func(b *testing.B) (sessiontest.Store, func() int64) {
		p := filepath.Join(b.TempDir(), "sessions.db")
		s, err := sqlite.Open(b.Context(), sqlite.Config{Path: p})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		return s, func() int64 {
			info, err := os.Stat(p)
			if err != nil {
				b.Fatal(err)
			}
			return info.Size()
		}
	}},
	{"postgres", func(b *testing.B) (sessiontest.Store, func() int64) {
		address := pgtest.Start(b).New(b)
		s, err := postgres.Open(b.Context(), postgres.Config{URL: address})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		return s, func() (size int64) {
			conn, err := pgx.Connect(b.Context(), address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close(b.Context())
			if err := conn.QueryRow(b.Context(), "SELECT pg_total_relation_size('gatehouse_sessions')").Scan(&size); err != nil {
				b.Fatal(err)
			}
			return size
		}
	}},
	{"redis", func(b *testing.B) (sessiontest.Store, func() int64) {
		server := redistest.Start(b, "--appendonly", "yes")
		s, err := redis.Open(b.Context(), redis.Config{URL: "redis://" + server.Addr()})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		return s, func() int64 {
			_, memory, _ := strings.Cut(server.Do(b, "INFO", "memory"), "used_memory:")
			memory, _, _ = strings.Cut(memory, "\n")
			size, err := strconv.ParseInt(strings.TrimSpace(memory), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return size
		}
	}},
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// tokenBytes are the lengths of real tokens: an RS256 access token, an ID token, an opaque refresh
// token.
const accessBytes, idBytesLong, refreshBytes = 1100, 1100, 60

func typical() session.Data {
	d := data()
	d.Tokens.Access = strings.Repeat("a", accessBytes)
	d.Tokens.ID = strings.Repeat("i", idBytesLong)
	d.Tokens.Refresh = strings.Repeat("r", refreshBytes)
	return d
}

func benchManager(b *testing.B, store sessiontest.Store, cache int) *session.Manager {
	b.Helper()
	m, err := session.NewManager(session.ManagerConfig{Store: store, Secrets: []string{secret()}, CacheSize: cache})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func fill(b *testing.B, m *session.Manager, n int) []*http.Request {
	b.Helper()
	requests := make([]*http.Request, n)
	for i := range requests {
		_, cookie, err := m.Create(context.Background(), session.NewSession{
			Issuer: issuer, Subject: fmt.Sprintf("auth0|%d", i), SID: fmt.Sprintf("sid-%d", i), Data: typical(),
			UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Address: "2001:db8::1",
		})
		if err != nil {
			b.Fatal(err)
		}
		requests[i] = request(cookie)
	}
	return requests
}

// BenchmarkLoad is the look-up of each request: warm, with the session in the cache, and cold,
// without (every session in turn, in a cache for a few).
func BenchmarkLoad(b *testing.B) {
	for _, store := range stores {
		for _, sessions := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/warm/sessions=%d", store.name, sessions), func(b *testing.B) {
				s, _ := store.open(b)
				m := benchManager(b, s, 0)
				requests := fill(b, m, sessions)[:100]
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if _, err := m.Load(context.Background(), requests[i%len(requests)]); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
		b.Run(store.name+"/warm/parallel", func(b *testing.B) {
			s, _ := store.open(b)
			m := benchManager(b, s, 0)
			requests := fill(b, m, 100)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := m.Load(context.Background(), requests[i%len(requests)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		b.Run(store.name+"/cold", func(b *testing.B) {
			s, _ := store.open(b)
			m := benchManager(b, s, 1)
			requests := fill(b, m, 20_000)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Load(context.Background(), requests[i%len(requests)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkCreate is a login. It reports the bytes of a session in the store beyond its tokens.
func BenchmarkCreate(b *testing.B) {
	for _, store := range stores {
		b.Run(store.name, func(b *testing.B) {
			s, size := store.open(b)
			m := benchManager(b, s, 1)
			before, n := size(), 0
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := m.Create(context.Background(), session.NewSession{
					Issuer: issuer, Subject: fmt.Sprintf("auth0|%d", n), SID: fmt.Sprintf("sid-%d", n), Data: typical(),
					UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Address: "2001:db8::1",
				})
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			perSession := float64(size()-before) / float64(n)
			b.ReportMetric(perSession-accessBytes-idBytesLong-refreshBytes, "bytes/session-beyond-tokens")
			runtime.KeepAlive(s)
		})
	}
}

// BenchmarkWrite writes a session as a refresh does.
func BenchmarkWrite(b *testing.B) {
	for _, store := range stores {
		b.Run(store.name, func(b *testing.B) {
			s, _ := store.open(b)
			m := benchManager(b, s, 0)
			made, err := m.Load(b.Context(), fill(b, m, 1)[0])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				fence, err := m.Lock(b.Context(), made, time.Minute)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := m.Write(b.Context(), made, fence, made.Data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
