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
	"github.com/gatehouse-dev/gatehouse/internal/pgtest"
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

// schema returns the URL of a schema of its own in the database of this package.
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
