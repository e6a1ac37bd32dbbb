package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
)

func open(t *testing.T, c sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func path(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "sessions.db")
}

func TestConformance(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, func(t *testing.T, now func() time.Time) session.Store {
		return open(t, sqlite.Config{Path: path(t), Now: now})
	})
}

func TestConformanceShared(t *testing.T) {
	t.Parallel()
	sessiontest.RunShared(t, func(t *testing.T, now func() time.Time) (a, b session.Store) {
		p := path(t)
		return open(t, sqlite.Config{Path: p, Now: now}), open(t, sqlite.Config{Path: p, Now: now})
	})
}
