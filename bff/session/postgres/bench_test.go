//go:build unix

package postgres_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

// most is the largest number of sessions of BenchmarkScale. A million take some minutes and 4 GB.
var most = flag.Int("sessions", 10_000, "up to how many sessions the benchmarks go")

// BenchmarkScale looks up sessions, cached and not cached, among a hundred, ten thousand and so on.
func BenchmarkScale(b *testing.B) {
	for n := 100; n <= *most; n *= 100 {
		address := pgtest.New(b)
		_ = open(b, postgres.Config{URL: address}).Close() // makes the tables
		conn, err := pgx.Connect(b.Context(), address)
		if err != nil {
			b.Fatal(err)
		}
		ids := make([]session.ID, n)
		sealed := make([]byte, 2600)
		_, _ = rand.Read(sealed)
		_, err = conn.CopyFrom(b.Context(), pgx.Identifier{"gatehouse_sessions"}, []string{"id", "issuer", "subject", "sid", "created_at",
			"last_seen_at", "idle_expires", "expires_at", "user_agent", "address", "sealed"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			r := record()
			ids[i] = r.ID
			return []any{r.ID[:], r.Issuer, fmt.Sprintf("auth0|%024d", i), r.SID, r.CreatedAt.UnixMilli(), r.LastSeenAt.UnixMilli(),
				r.IdleExpiresAt.UnixMilli(), r.ExpiresAt.UnixMilli(), "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
				"2001:db8::1", sealed}, nil
		}))
		if err != nil {
			b.Fatal(err)
		}
		for _, settle := range []string{"VACUUM ANALYZE gatehouse_sessions", "CHECKPOINT"} { // what writing so much at once has left to do
			if _, err := conn.Exec(b.Context(), settle); err != nil {
				b.Fatal(err)
			}
		}
		var size int64
		if err := conn.QueryRow(b.Context(), "SELECT pg_total_relation_size('gatehouse_sessions')").Scan(&size); err != nil {
			b.Fatal(err)
		}
		if err := conn.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct {
			name  string
			cache int
			of    int
		}{{"warm", 0, 100}, {"cold", 1, n}} {
			b.Run(fmt.Sprintf("sessions=%d/%s", n, c.name), func(b *testing.B) {
				s := open(b, postgres.Config{URL: address, CacheSize: c.cache})
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
				b.ReportMetric(float64(size)/float64(n), "bytes/session")
			})
		}
	}
}
