//go:build unix

package bff_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// While a store takes no writes, only logins, logouts and refreshes fail.
// Everything else is served, and the log stays short.
func TestStoreRefusesWrites(t *testing.T) {
	t.Parallel()
	onRedis := func(refuse, accept []string) func(t *testing.T) (realStore, func(bool)) {
		return func(t *testing.T) (realStore, func(bool)) {
			server := redistest.Start(t)
			real := realStore{open: func(cfg *bff.Config) (sessiontest.Store, error) {
				return redis.Open(t.Context(), redis.Config{URL: "redis://" + server.Addr(), Now: cfg.Now})
			}}
			return real, func(refused bool) {
				command := accept
				if refused {
					command = refuse
				}
				if answer := server.Do(t, command...); !strings.HasPrefix(answer, "OK") {
					t.Fatalf("%v: %s", command, answer)
				}
			}
		}
	}
	for name, begin := range map[string]func(t *testing.T) (realStore, func(bool)){
		"Redis without replicas": onRedis([]string{"CONFIG", "SET", "min-replicas-to-write", "1"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}),
		"Redis that is full":     onRedis([]string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}),
		// Of a master that does not exist, so that it keeps its data.
		"Redis that became a replica": onRedis([]string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}),
		// Like a full disk: nothing can be added, and rows can be removed.
		"PostgreSQL without space": func(t *testing.T) (realStore, func(bool)) {
			address := pgtest.Start(t).New(t)
			real := realStore{open: func(cfg *bff.Config) (sessiontest.Store, error) {
				return postgres.Open(t.Context(), postgres.Config{URL: address, Now: cfg.Now})
			}}
			return real, func(refused bool) {
				conn, err := pgx.Connect(t.Context(), address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				statement := `DROP FUNCTION full_disk CASCADE`
				if refused {
					statement = `
						CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
						$$ BEGIN RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full'; END $$;
						DO $$ DECLARE name text; BEGIN
							FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
								EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION full_disk()', name);
							END LOOP;
						END $$`
				}
				if _, err := conn.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
		},
		"PostgreSQL read-only": func(t *testing.T) (realStore, func(bool)) {
			address := pgtest.Start(t).New(t)
			real := realStore{open: func(cfg *bff.Config) (sessiontest.Store, error) {
				return postgres.Open(t.Context(), postgres.Config{URL: address, Now: cfg.Now})
			}}
			return real, func(refused bool) {
				conn, err := pgx.Connect(t.Context(), address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				value := "off"
				if refused {
					value = "on"
				}
				for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = " + value, "SELECT pg_reload_conf()"} {
					if _, err := conn.Exec(t.Context(), statement); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the setting is in force", func() bool {
					var now string
					return conn.QueryRow(t.Context(), "SHOW default_transaction_read_only").Scan(&now) == nil && now == value
				})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real, refuse := begin(t)
			log := &record{}
			s := start(t, real.handle(t), func(cfg *bff.Config) { cfg.Logger = logger(log) })
			s.run()
			s.idp.change(func(p *provider) { p.lifetime = 15 * time.Minute })
			b, leaver, comer := s.browser().signIn(), s.browser().signIn(), s.browser()
			callback := s.idp.authorize(comer.navigate("/api/auth/login").location())
			refuse(true)
			later := func(res *response, what string) {
				t.Helper()
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.set(session.CookieName) != nil {
					t.Errorf("%s: %d %v, want 503 with Retry-After and no session cookie", what, res.StatusCode, res.Header)
				}
			}
			s.clock.Advance(6 * time.Minute) // so that use of the session is recorded
			for range 30 {
				wantStatus(t, b.fetch("/api/private-route"), http.StatusOK)
				wantStatus(t, b.fetch("/api/auth/me"), http.StatusOK)
				wantStatus(t, b.fetch("/api/auth/session"), http.StatusOK)
				wantStatus(t, b.navigate("/private"), http.StatusOK)
			}
			switch {
			case strings.Contains(name, "full"):
				// Redis still removes, and a script that has removed something can write.
				wantStatus(t, leaver.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
				leaver.signIn()
			case strings.Contains(name, "space"):
				later(comer.back(callback), "a login")
				wantStatus(t, leaver.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
				wantStatus(t, leaver.fetch("/api/private-route"), http.StatusUnauthorized)
			default:
				later(comer.back(callback), "a login")
				for range 10 {
					later(leaver.navigate("/api/auth/logout", site("same-origin")), "a logout")
				}
				wantStatus(t, leaver.fetch("/api/private-route"), http.StatusOK)
			}
			s.clock.Advance(20 * time.Minute) // the access token has expired
			later(b.fetch("/api/private-route"), "a refresh")
			wantStatus(t, b.fetch("/api/auth/me"), http.StatusOK)

			log.mu.Lock()
			logged := log.log.String()
			log.mu.Unlock()
			for line, most := range map[string]int{`"session store for writes unavailable"`: 1} {
				loud := 0
				for l := range strings.Lines(logged) {
					if strings.Contains(l, line) && !strings.Contains(l, "level=DEBUG") {
						loud++
					}
				}
				if loud == 0 || loud > most {
					t.Errorf("%q was logged %d times above DEBUG, want once to %d times", line, loud, most)
				}
			}

			refuse(false)
			eventually(t, "all is well", func() bool { return b.fetch("/api/private-route").StatusCode == http.StatusOK })
			wantStatus(t, leaver.navigate("/api/auth/logout", site("same-origin")), http.StatusSeeOther)
			if !s.browser().signIn().signedIn() {
				t.Error("a login afterwards fails")
			}
		})
	}
}
