package sqlite_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
)

func manager(t *testing.T, store session.Store, secret string) *session.Manager {
	t.Helper()
	m, err := session.NewManager(session.ManagerConfig{Store: store, Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func load(t *testing.T, m *session.Manager, c *http.Cookie) (*session.Session, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	return m.Load(t.Context(), r)
}

func newSession(subject string) session.NewSession {
	return session.NewSession{
		Issuer:  "https://idp.example/",
		Subject: subject,
		SID:     "sid-" + rand.Text(),
		Data: session.Data{
			Claims: map[string]any{"email": "alice-" + rand.Text() + "@wonderland.example"},
			Tokens: session.Tokens{Access: "access-" + rand.Text(), Refresh: "refresh-" + rand.Text(), ID: "id-" + rand.Text()},
		},
		UserAgent: "Firefox",
	}
}

// Sessions survive a restart, and the fences of a held lock go on rising.
func TestSurvivesARestart(t *testing.T) {
	t.Parallel()
	p, secret := path(t), rand.Text()+rand.Text()
	store := open(t, sqlite.Config{Path: p})
	m := manager(t, store, secret)
	made, cookie, err := m.Create(t.Context(), newSession("alice"))
	if err != nil {
		t.Fatal(err)
	}
	ended, endedCookie, err := m.Create(t.Context(), newSession("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.End(t.Context(), ended, session.ReasonSignedOut); err != nil {
		t.Fatal(err)
	}
	fence, err := m.Lock(t.Context(), made, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unlock(t.Context(), made, fence); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	m = manager(t, open(t, sqlite.Config{Path: p}), secret)
	s, err := load(t, m, cookie)
	if err != nil || s.Data.Tokens != made.Data.Tokens || s.Data.Claims["email"] != made.Data.Claims["email"] {
		t.Fatalf("Load after the restart: %v", err)
	}
	if _, err := load(t, m, endedCookie); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a session that had ended: %v, want ErrNotFound", err)
	}
	if next, err := m.Lock(t.Context(), s, time.Minute); err != nil || next <= fence {
		t.Errorf("Lock after the restart = %d, %v, want more than %d", next, err, fence)
	}
}

// A stolen file with its log.
func TestAtRest(t *testing.T) {
	t.Parallel()
	p := path(t)
	store := open(t, sqlite.Config{Path: p})
	sessiontest.AtRest(t, store, func(t *testing.T) []byte { return dump(t, p) })
	// And after a checkpoint.
	p = path(t)
	store = open(t, sqlite.Config{Path: p})
	sessiontest.AtRest(t, store, func(t *testing.T) []byte {
		db, err := sql.Open("sqlite", p)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
		return dump(t, p)
	})
}

// dump returns the database, its log and its shared memory.
func dump(t *testing.T, p string) []byte {
	t.Helper()
	names, err := filepath.Glob(p + "*")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	for name, existing := range map[string]os.FileMode{"new": 0, "readable by all before": 0o644} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := path(t)
			if existing != 0 {
				if err := os.WriteFile(p, nil, existing); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, sqlite.Config{Path: p})
			if _, _, err := manager(t, s, rand.Text()+rand.Text()).Create(t.Context(), newSession("alice")); err != nil {
				t.Fatal(err)
			}
			for _, suffix := range []string{"", "-wal", "-shm"} {
				info, err := os.Stat(p + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if mode := info.Mode().Perm(); mode != 0o600 {
					t.Errorf("the mode of the file%s is %o, want 600", suffix, mode)
				}
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("these are no sessions\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config sqlite.Config
		says   string
	}{
		"no path":           {sqlite.Config{}, "is missing"},
		"memory":            {sqlite.Config{Path: ":memory:"}, "use package memory"},
		"memory as a URI":   {sqlite.Config{Path: "file::memory:?cache=shared"}, "use package memory"},
		"no folder":         {sqlite.Config{Path: filepath.Join(dir, "no", "sessions.db")}, "does not exist: make it"},
		"a folder":          {sqlite.Config{Path: dir}, "writable disk"},
		"below a file":      {sqlite.Config{Path: filepath.Join(text, "sessions.db")}, "writable disk"},
		"no database":       {sqlite.Config{Path: text}, "not a database"},
		"a negative cache":  {sqlite.Config{CacheSize: -1}, "-1"},
		"a name of NUL":     {sqlite.Config{Path: filepath.Join(dir, "a\x00b")}, "writable disk"},
		"no disk":           {sqlite.Config{Path: "/dev/null/sessions.db"}, "writable disk"},
		"not even a folder": {sqlite.Config{Path: "/proc/none/sessions.db"}, "make it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := sqlite.Open(t.Context(), c.config)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			for _, part := range []string{"sqlite", c.config.Path, c.says} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
	if b, err := os.ReadFile(text); err != nil || !bytes.HasPrefix(b, []byte("these are no sessions")) {
		t.Errorf("a file that is no database was written to: %v", err)
	}
}

func TestOddFileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "q?mode=memory", "h#ash.db", "p%41ercent%.db", "amp&_txlock=x.db", "żółw.db", "a:b.db"} {
		dir := t.TempDir()
		p := filepath.Join(dir, name)
		s := open(t, sqlite.Config{Path: p})
		if _, _, err := manager(t, s, rand.Text()+rand.Text()).Create(t.Context(), newSession("alice")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("%q: the folder holds %v, %v", name, entries, err)
		}
		if !bytes.Contains(dump(t, p), []byte("alice")) {
			t.Errorf("%q: the session is not in the file", name)
		}
	}
}

// Two processes that start at once on a new file both open it.
func TestOpenedAtOnce(t *testing.T) {
	t.Parallel()
	p := path(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: p})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.DeleteExpired(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// The sample application may use the same file; its migrations have a table of their own.
func TestSharesAFileWithOthersMigrations(t *testing.T) {
	t.Parallel()
	p := path(t)
	db, err := sql.Open("sqlite", "file:"+p)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY, version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL, tstamp TIMESTAMP); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1), (2, 1)`); err != nil {
		t.Fatal(err)
	}
	s := open(t, sqlite.Config{Path: p})
	if _, err := s.DeleteExpired(t.Context()); err != nil {
		t.Error(err)
	}
}

// During a long write by another process, sessions are read, and a write ends with its context: an
// outage, not a missing session.
func TestAnotherProcessWritesForLong(t *testing.T) {
	t.Parallel()
	p := path(t)
	clock := sessiontest.NewClock()
	s := open(t, sqlite.Config{Path: p, Now: clock.Now})
	id := session.ID{1}
	now := clock.Now()
	r := session.Record{ID: id, Issuer: "i", Subject: "s", CreatedAt: now, LastSeenAt: now,
		IdleExpiresAt: now.Add(time.Hour), ExpiresAt: now.Add(time.Hour), Sealed: []byte("x")}
	if err := s.Create(t.Context(), r, session.ID{}); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+p)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	if err := s.Delete(ctx, id, session.ReasonSignedOut); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Delete: %v, want an outage", err)
	}
	if took := time.Since(started); took > 4*time.Second {
		t.Errorf("Delete went on for %v after its context", took)
	}
	for range 3 {
		clock.Advance(time.Second)
		if _, err := s.Get(t.Context(), id); err != nil {
			t.Errorf("Get: %v", err)
		}
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), id, session.ReasonSignedOut); err != nil {
		t.Errorf("Delete afterwards: %v", err)
	}
}
