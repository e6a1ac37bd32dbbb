//go:build unix

package session_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/bff/session/sqlite"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

const golden = "testdata/1fe628b"

// A goldenSession is the expected content of a stored session.
type goldenSession struct {
	Cookie    string          `json:"cookie"`
	Handle    string          `json:"handle"`
	SID       string          `json:"sid"`
	Subject   string          `json:"subject"`
	UserAgent string          `json:"user_agent"`
	Claims    json.RawMessage `json:"claims"`

	Access, Refresh, ID, Type, Scope string
	ObtainedAt, ExpiresAt            time.Time
}

func goldenFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The stores of commit 1fe628b can be opened, and are written as that version would have written
// them.
func TestStoresOfCommit1fe628b(t *testing.T) {
	t.Parallel()
	var want struct {
		Secrets                 []string
		SQLite, Postgres, Redis []goldenSession
	}
	if err := json.Unmarshal(goldenFile(t, "golden.json"), &want); err != nil {
		t.Fatal(err)
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "sessions.db")
		if err := os.WriteFile(path, goldenFile(t, "sqlite.db"), 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		opensGolden(t, store, err, want.Secrets, want.SQLite)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		address := pgtest.Start(t).New(t)
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.PgConn().Exec(t.Context(), string(goldenFile(t, "postgres.sql"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		store, err := postgres.Open(t.Context(), postgres.Config{URL: address})
		opensGolden(t, store, err, want.Secrets, want.Postgres)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		address := redistest.Start(t).Addr()
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var commands [][]string // with their arguments in base64
		if err := json.Unmarshal(goldenFile(t, "redis.json"), &commands); err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			args := make([]string, len(c)-1)
			for i, arg := range c[1:] {
				raw, err := base64.StdEncoding.DecodeString(arg)
				if err != nil {
					t.Fatal(err)
				}
				args[i] = string(raw)
			}
			if err := client.Do(t.Context(), client.B().Arbitrary(c[0]).Keys(args[0]).Args(args[1:]...).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		store, err := redis.Open(t.Context(), redis.Config{URL: "redis://" + address})
		opensGolden(t, store, err, want.Secrets, want.Redis)
	})
	t.Run("records in memory", func(t *testing.T) {
		t.Parallel()
		// A store in memory ends with the process; its records are the same.
		path := filepath.Join(t.TempDir(), "sessions.db")
		if err := os.WriteFile(path, goldenFile(t, "sqlite.db"), 0o600); err != nil {
			t.Fatal(err)
		}
		from, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		page, _, err := from.List(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		store, err := memory.New(memory.Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, listed := range page {
			r, err := from.Get(t.Context(), listed.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Create(t.Context(), r, session.ID{}); err != nil {
				t.Fatal(err)
			}
		}
		opensGolden(t, store, nil, want.Secrets, want.SQLite)
	})
}

func opensGolden(t *testing.T, store sessiontest.Store, err error, secrets []string, want []goldenSession) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	m, err := session.NewManager(session.ManagerConfig{Store: store, Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 3 {
		t.Fatalf("%d sessions are to be found, want 3", len(want))
	}
	for _, w := range want {
		s, err := m.Load(t.Context(), request(&http.Cookie{Name: m.CookieName(), Value: w.Cookie}))
		if err != nil {
			t.Errorf("session %s: %v", w.Handle, err)
			continue
		}
		tokens := session.Tokens{
			Access: w.Access, Refresh: w.Refresh, ID: w.ID, Type: w.Type, Scope: w.Scope,
			ObtainedAt: w.ObtainedAt, ExpiresAt: w.ExpiresAt,
		}
		if !tokens.ObtainedAt.Equal(s.Data.Tokens.ObtainedAt) || !tokens.ExpiresAt.Equal(s.Data.Tokens.ExpiresAt) {
			t.Errorf("session %s: times %v and %v", w.Handle, s.Data.Tokens.ObtainedAt, s.Data.Tokens.ExpiresAt)
		}
		tokens.ObtainedAt, tokens.ExpiresAt = s.Data.Tokens.ObtainedAt, s.Data.Tokens.ExpiresAt
		if s.Data.Tokens != tokens || s.SID != w.SID || s.Subject != w.Subject || s.UserAgent != w.UserAgent || s.ID.String() != w.Handle {
			t.Errorf("session %s: the record or the tokens differ", w.Handle)
		}
		var claims map[string]any
		dec := json.NewDecoder(bytes.NewReader(w.Claims))
		dec.UseNumber()
		if err := dec.Decode(&claims); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(s.Data.Claims, claims) {
			t.Errorf("session %s: claims %v, want %v", w.Handle, s.Data.Claims, claims)
		}
		// Byte for byte.
		r, err := store.Get(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		was, err := m.OpenPlain(s, r.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		is, err := session.EncodeData(s.Data)
		if err != nil || !bytes.Equal(is, was) {
			t.Errorf("session %s: this build writes %q, %v, want %q", w.Handle, is, err, was)
		}
		if now := m.Touch(t.Context(), s); now != nil {
			t.Errorf("session %s: Touch: %v", w.Handle, now)
		}
	}
	if _, ok := store.(*memory.Store); ok {
		return // notes go with the process
	}
	if value, err := m.Notes("bar").Get(t.Context(), "sub"); err != nil || string(value) != "1795750000" {
		t.Errorf("the bar: %q, %v", value, err)
	}
	if first, err := m.Notes("logout token").Add(t.Context(), "jti", nil, time.Now().Add(time.Hour)); err != nil || first {
		t.Errorf("the used logout token: first %t, %v", first, err)
	}
	if due, err := m.Notes("revocation").TakeDue(t.Context(), 10); err != nil || len(due) != 1 || string(due[0]) != `{"t":"pending","u":4922899200}` {
		t.Errorf("the pending revocation: %q, %v", due, err)
	}
}
