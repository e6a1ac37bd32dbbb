//go:build unix

package redis_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// most is the largest number of sessions of BenchmarkScale. A million take some minutes and 4 GB.
var most = flag.Int("sessions", 10_000, "up to how many sessions the benchmarks go")

// BenchmarkScale looks up sessions, cached and not cached, among a hundred, ten thousand and so on.
func BenchmarkScale(b *testing.B) {
	for n := 100; n <= *most; n *= 100 {
		server := redistest.Start(b)
		before := used(b, server)
		fill := open(b, redis.Config{URL: "redis://" + server.Addr()})
		ids := make([]session.ID, n)
		sealed := make([]byte, 2600)
		_, _ = rand.Read(sealed)
		next := make(chan int)
		var filling sync.WaitGroup
		for range 64 {
			filling.Go(func() {
				for i := range next {
					r := record()
					r.Subject, r.Sealed = fmt.Sprintf("auth0|%024d", i), sealed
					r.UserAgent, r.Address = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "2001:db8::1"
					if err := fill.Create(b.Context(), r, session.ID{}); err != nil {
						b.Errorf("Create: %v", err)
					}
					ids[i] = r.ID
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		filling.Wait()
		perSession := float64(used(b, server)-before) / float64(n)
		for _, c := range []struct {
			name  string
			cache int
			of    int
		}{{"warm", 0, 100}, {"cold", 1, n}} {
			b.Run(fmt.Sprintf("sessions=%d/%s", n, c.name), func(b *testing.B) {
				s := open(b, redis.Config{URL: "redis://" + server.Addr(), CacheSize: c.cache})
				get := func(i int) {
					if _, err := s.Get(b.Context(), ids[i%c.of*(n/c.of)]); err != nil {
						b.Fatal(err)
					}
				}
				for i := range 100 {
					get(i)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					get(i)
				}
				b.ReportMetric(perSession, "bytes/session")
				b.ReportMetric(resident(b)/1e6, "MB-resident-here")
			})
		}
		_ = fill.Close()
		server.Kill()
	}
}

func used(b *testing.B, server *redistest.Server) int64 {
	b.Helper()
	_, memory, _ := strings.Cut(server.Do(b, "INFO", "memory"), "used_memory:")
	memory, _, _ = strings.Cut(memory, "\n")
	n, err := strconv.ParseInt(strings.TrimSpace(memory), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// resident returns the resident memory of the process in bytes.
func resident(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // only Linux tells
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(status))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}
