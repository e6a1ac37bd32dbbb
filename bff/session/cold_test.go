//go:build unix

package session_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/sqlitefile"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// coldColumns are what a store reads of a session.
const coldColumns = "id, issuer, subject, sid, created_at, last_seen_at, idle_expires, expires_at, user_agent, address, sealed"

// coldStores are the stores that read from elsewhere. read is the same read by the store's client alone.
var coldStores = []struct {
	name string
	open func(b *testing.B) (store sessiontest.Store, read func(session.ID) error)
}{
	{"sqlite", func(b *testing.B) (sessiontest.Store, func(session.ID) error) {
		path := filepath.Join(b.TempDir(), "sessions.db")
		s, err := sqlite.Open(b.Context(), sqlite.Config{Path: path, CacheSize: 1})
		if err != nil {
			b.Fatal(err)
		}
		reads, writes, err := sqlitefile.Open(path, 4)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _, _, _ = s.Close(), reads.Close(), writes.Close() })
		stmt, err := reads.PrepareContext(b.Context(), "SELECT "+coldColumns+" FROM sessions WHERE id = ? AND min(idle_expires, expires_at) > ?")
		if err != nil {
			b.Fatal(err)
		}
		return s, func(id session.ID) error {
			return scanAll(stmt.QueryRowContext(b.Context(), id[:], time.Now().UnixMilli()))
		}
	}},
	{"postgres", func(b *testing.B) (sessiontest.Store, func(session.ID) error) {
		address := pgtest.Start(b).New(b)
		s, err := postgres.Open(b.Context(), postgres.Config{URL: address, CacheSize: 1})
		if err != nil {
			b.Fatal(err)
		}
		pool, err := pgxpool.New(b.Context(), address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close(); pool.Close() })
		return s, func(id session.ID) error {
			return scanAll(pool.QueryRow(b.Context(), "SELECT "+coldColumns+" FROM gatehouse_sessions WHERE id = $1 AND ends_at > $2", id[:], time.Now().UnixMilli()))
		}
	}},
	{"redis", func(b *testing.B) (sessiontest.Store, func(session.ID) error) {
		server := redistest.Start(b)
		s, err := redis.Open(b.Context(), redis.Config{URL: "redis://" + server.Addr(), CacheSize: 1})
		if err != nil {
			b.Fatal(err)
		}
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close(); client.Close() })
		return s, func(id session.ID) error {
			key := "gatehouse:session:{" + base64.RawURLEncoding.EncodeToString(id[:]) + "}"
			fields, err := client.Do(b.Context(), client.B().Hmget().Key(key).Field("m", "l", "x", "e", "s").Build()).ToArray()
			if err == nil && (len(fields) != 5 || fields[4].IsNil()) {
				err = fmt.Errorf("no session at %s", key)
			}
			return err
		}
	}},
}

func scanAll(row interface{ Scan(...any) error }) error {
	var id, sealed []byte
	var issuer, subject, sid, agent, address string
	var times [4]int64
	return row.Scan(&id, &issuer, &subject, &sid, &times[0], &times[1], &times[2], &times[3], &agent, &address, &sealed)
}

// BenchmarkCold compares the look-up of a session that is in no cache with the same read by the store's
// client alone, in turns: Get is that of the store, and Load also unseals tokens and claims. Processor
// time is that of this process.
//
//	go test ./bff/session -run '^$' -bench Cold -benchtime 20000x
func BenchmarkCold(b *testing.B) {
	for _, store := range coldStores {
		b.Run(store.name, func(b *testing.B) {
			s, read := store.open(b)
			m := benchManager(b, s, 1)
			requests := fill(b, m, 1000)
			ids := make([]session.ID, len(requests))
			for i := range ids {
				found, err := s.ListBySubject(b.Context(), issuer, fmt.Sprintf("auth0|%d", i))
				if err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
				ids[i] = found[0].ID
			}
			ways := [...]struct {
				name      string
				do        func(i int) error
				cpu, wall time.Duration
			}{
				{name: "read", do: func(i int) error { return read(ids[i]) }},
				{name: "get", do: func(i int) error { _, err := s.Get(b.Context(), ids[i]); return err }},
				{name: "load", do: func(i int) error { _, err := m.Load(context.Background(), requests[i]); return err }},
			}
			const turn = 100
			for begin := 0; begin < b.N; begin += turn {
				for w := range ways {
					way := &ways[w]
					used, began := cpu(b), time.Now()
					for i := range turn {
						if err := way.do((begin + i*7) % len(requests)); err != nil {
							b.Fatal(way.name, err)
						}
					}
					way.cpu += time.Duration(cpu(b) - used)
					way.wall += time.Since(began)
				}
			}
			n := float64((b.N + turn - 1) / turn * turn)
			for _, way := range ways {
				b.ReportMetric(float64(way.cpu)/n, way.name+"-cpu-ns")
				b.ReportMetric(float64(way.wall)/n, way.name+"-wall-ns")
				if way.name != "read" {
					b.ReportMetric(float64(way.cpu)/float64(ways[0].cpu), way.name+"/read-cpu")
					b.ReportMetric(float64(way.wall)/float64(ways[0].wall), way.name+"/read-wall")
				}
			}
		})
	}
}
