package redis_test

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Run(m)) }

func open(t testing.TB, c redis.Config) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), c)
	for range 3 { // on a busy machine servers take longer to answer first than Open waits
		if err == nil {
			break
		}
		t.Log(err)
		s, err = redis.Open(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// prefix separates the sessions of tests on one server.
func prefix() string { return "test-" + rand.Text() + ":" }

var kinds = map[string]func(t testing.TB) string{
	"single": func(t testing.TB) string { return "redis://" + redistest.Single(t) },
	"sentinel": func(t testing.TB) string {
		return "redis-sentinel://" + strings.Join(redistest.Sentinels(t), ",") + "/main"
	},
	"cluster": func(t testing.TB) string { return "redis-cluster://" + strings.Join(redistest.Cluster(t), ",") },
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for kind, url := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
				return open(t, redis.Config{URL: url(t), Prefix: prefix(), Now: now})
			})
		})
	}
}

func TestConformanceShared(t *testing.T) {
	t.Parallel()
	for kind, url := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			sessiontest.RunShared(t, func(t *testing.T, now func() time.Time) (a, b session.Store) {
				c := redis.Config{URL: url(t), Prefix: prefix(), Now: now}
				return open(t, c), open(t, c)
			})
		})
	}
}

// record returns a new session.
func record() (r session.Record) {
	_, _ = rand.Read(r.ID[:])
	now := time.Now().UTC().Truncate(time.Millisecond)
	r.Issuer, r.Subject, r.SID = "https://idp.example/", "auth0|5f7c8ec7", rand.Text()
	r.CreatedAt, r.LastSeenAt, r.IdleExpiresAt, r.ExpiresAt = now, now, now.Add(time.Hour), now.Add(8*time.Hour)
	r.Sealed = []byte("sealed")
	return r
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
