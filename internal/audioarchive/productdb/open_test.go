package productdb_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("This is no database. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, url, want string }{
		{"nothing", "", "give memory:, sqlite:PATH or postgres://"},
		{"unknown", "mysql://localhost/x", "give memory:, sqlite:PATH or postgres://"},
		{"no path", "sqlite:", "the path is missing"},
		{"SQLite's own memory", "sqlite::memory:", "memory: for products that end with the process"},
		{"no folder", "sqlite:" + filepath.Join(dir, "none", "x.db"), "the folder " + filepath.Join(dir, "none") + " does not exist"},
		{"a folder", "sqlite:" + dir, "cannot be opened for writing"},
		{"no database", "sqlite:" + text, "is it a database of Gatehouse?"},
		{"malformed", "postgres://user:hunter2@[/x", "not an address of PostgreSQL"},
		{"no listener", "postgres://user:hunter2@127.0.0.1:1/x", "PostgreSQL cannot be reached at 127.0.0.1 port 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			db, err := productdb.Open(t.Context(), productdb.Config{URL: tc.url})
			if err == nil {
				_ = db.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want an error with %q and no password", err, tc.want)
			}
		})
	}
	t.Run("no such database", func(t *testing.T) {
		t.Parallel()
		good := pgtest.New(t)
		_, err := productdb.Open(t.Context(), productdb.Config{URL: strings.Replace(good, "/test_", "/none_", 1)})
		if err == nil || !strings.Contains(err.Error(), "create the database, or correct its name") {
			t.Errorf("%v", err)
		}
	})
}

// Products remain after a restart, and several processes can start at once with a new database.
func TestOpenAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, url string) {
		if url == "memory:" {
			first, second := open(t, productdb.Config{URL: url}), open(t, productdb.Config{URL: url})
			create(t, first, sample(1))
			if len(list(t, second, productdb.Query{})) != 0 || string(first.TokenKey()) == string(second.TokenKey()) {
				t.Error("two databases in memory are one")
			}
			return
		}
		const processes = 4
		handles := make([]*productdb.DB, processes)
		var group sync.WaitGroup
		for i := range processes {
			group.Go(func() {
				db, err := productdb.Open(t.Context(), productdb.Config{URL: url})
				if err != nil {
					t.Error(err)
					return
				}
				handles[i] = db
			})
		}
		group.Wait()
		if t.Failed() {
			t.FailNow()
		}
		create(t, handles[0], sample(1))
		for _, db := range handles {
			if len(list(t, db, productdb.Query{})) != 1 || string(db.TokenKey()) != string(handles[0].TokenKey()) {
				t.Error("a process has another database")
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		db := open(t, productdb.Config{URL: url})
		if len(list(t, db, productdb.Query{})) != 1 || len(db.TokenKey()) != 32 {
			t.Error("lost at the restart")
		}
	})
}
