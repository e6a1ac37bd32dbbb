package postgres_test

import (
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func open(t testing.TB, c postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var (
	sharedOnce sync.Once
	sharedURL  string
)

// schema returns the URL of a new schema in the database of this package.
func schema(t testing.TB) string {
	t.Helper()
	sharedOnce.Do(func() { sharedURL = pgtest.New(t) })
	name := "s" + strings.ToLower(rand.Text())
	conn, err := pgx.Connect(t.Context(), sharedURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return sharedURL + "&search_path=" + name
}

func TestConformance(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
		return open(t, postgres.Config{URL: schema(t), Now: now})
	})
}

func TestConformanceShared(t *testing.T) {
	t.Parallel()
	sessiontest.RunShared(t, func(t *testing.T, now func() time.Time) (a, b session.Store) {
		u := schema(t)
		return open(t, postgres.Config{URL: u, Now: now}), open(t, postgres.Config{URL: u, Now: now})
	})
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

func TestURLRequired(t *testing.T) {
	t.Parallel()
	const want = "URL is missing; give postgres://USER:PASSWORD@HOST:PORT/NAME"
	if err := (postgres.Config{}).Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
