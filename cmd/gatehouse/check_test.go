package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse"

	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// A report is what check writes as JSON.
type report struct {
	Results []struct{ Status, Proof, What, Remedy string }
	Methods []struct {
		Method, Policy string
		REST           []string
	}
}

// check runs the command. Nothing listens at its provider.
func check(t *testing.T, environ ...string) report {
	t.Helper()
	var out, er bytes.Buffer
	environ = append([]string{
		"GATEHOUSE_OIDC_ISSUER=http://127.0.0.1:1", "GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_OIDC_CLIENT_ID=bff",
		"GATEHOUSE_BASE_URL=https://shop.example", "GATEHOUSE_SECRET=" + rand.Text() + rand.Text(),
		"GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:",
	}, environ...)
	if code := gatehouse.Run(t.Context(), app(), []string{"check", "--json"}, environ, &out, &er); code != 1 {
		t.Errorf("exit code %d, want 1: there is no provider\n%s", code, er.String())
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return r
}

// checked returns the results of a check, by what they prove.
func checked(t *testing.T, environ ...string) map[string]string {
	t.Helper()
	byProof := map[string]string{}
	for _, result := range check(t, environ...).Results {
		byProof[result.Proof] = strings.TrimSpace(result.Status + " " + result.What + " " + result.Remedy)
	}
	if got := byProof["provider"]; !strings.HasPrefix(got, "wrong GATEHOUSE_OIDC_ISSUER=http://127.0.0.1:1: the connection is refused") {
		t.Errorf("the provider: %q", got)
	}
	return byProof
}

// serve runs a command and calls during, which may be nil, with the address of
// each part that listens. It stops the program after the last call.
func serve(t *testing.T, command string, during func(part, address string), environ ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	logged, log := io.Pipe()
	var out, text bytes.Buffer
	ended := make(chan int)
	go func() {
		code := gatehouse.Run(ctx, app(), []string{command}, append([]string{
			"GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_LOG_FORMAT=json",
			"GATEHOUSE_LISTEN_GRPC=127.0.0.1:0", "GATEHOUSE_LISTEN_GATEWAY=127.0.0.1:0",
		}, environ...), &out, log)
		log.Close()
		ended <- code
	}()
	lines := bufio.NewScanner(logged)
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		var line struct{ Msg, Part, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			if during != nil {
				go func() { during(line.Part, line.Address); stop() }()
				continue
			}
			stop()
		}
	}
	if code := <-ended; code != 0 {
		t.Fatalf("exit code %d: %s", code, text.String())
	}
}

const password = "hunter2-4711"

// proofs are those of the stores: a program whose services keep nothing has no
// database.
func proofs(got map[string]string) []string {
	if got["database"] == "" {
		return []string{"session store"}
	}
	return []string{"session store", "database"}
}

// Rights are proved, not reachability, and nothing is left in Redis.
func TestCheckRedisRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const rights = "~gatehouse:* -@all +@read +@write +@scripting +@connection +role +info +client|tracking"
	for user, allowed := range map[string]string{
		"good": rights + " +del +expire +time", "reader": "~gatehouse:* -@all +@read +@connection +info +role +client|tracking",
		"stranger": "~other:* +@all", "silent": rights + " -@scripting",
	} {
		server.Do(t, append([]string{"ACL", "SETUSER", user, "on", ">" + password}, strings.Fields(allowed)...)...)
	}
	for user, want := range map[string][2]string{
		"good":     {"ok the session store answers", "ok the denylist answers"},
		"reader":   {"wrong GATEHOUSE_SESSION_STORE=redis://" + server.Addr() + " (environment): begin a session: Redis refuses (NOPERM", "wrong GATEHOUSE_DENYLIST=redis://" + server.Addr() + " (environment): follow the feed: Redis refuses (NOPERM"},
		"silent":   {"begin a session: Redis refuses (NOPERM", "Redis refuses (NOPERM"},
		"stranger": {"Redis refuses (NOPERM", "Redis refuses (NOPERM"},
		"unknown":  {"Redis refuses (WRONGPASS", "Redis refuses (WRONGPASS"},
	} {
		address := "redis://" + user + ":" + password + "@" + server.Addr()
		got := checked(t, "GATEHOUSE_SESSION_STORE="+address, "GATEHOUSE_DENYLIST="+address)
		if !strings.Contains(got["session store"], want[0]) || !strings.Contains(got["denylist"], want[1]) {
			t.Errorf("%s: got %q and %q, want %q", user, got["session store"], got["denylist"], want)
		}
		for _, text := range got {
			if strings.Contains(text, password) {
				t.Errorf("%s: the password is shown: %s", user, text)
			}
		}
	}
	for key := range strings.FieldsSeq(server.Do(t, "KEYS", "*")) {
		// The key by which other processes hear of an end goes by itself.
		if ttl, err := strconv.Atoi(strings.TrimSpace(server.Do(t, "PTTL", key))); err != nil || ttl < -2 || ttl == -1 || ttl > 2000 {
			t.Errorf("left in Redis: %s for %d ms, %v", key, ttl, err)
		}
	}
}

// The cause is reported, and a short password masks nothing of it.
func TestCheckTellsWhyRedisIsNotUsed(t *testing.T) {
	t.Parallel()
	plain := redistest.Start(t, "--requirepass", password).Addr()
	frozen := redistest.Start(t)
	frozen.Freeze(t)
	t.Cleanup(func() { frozen.Thaw(t) })
	for address, want := range map[string]string{
		"rediss://:e@" + plain:                    "the server does not speak TLS at this port: write redis…",
		"redis://:e@" + plain:                     "Redis refuses (WRONGPASS invalid username-password pair or user is disabled.): correct user or password",
		"redis://:e@" + frozen.Addr():             "no answer in time",
		"redis://:e@127.0.0.1:1":                  "the connection is refused: nothing listens",
		"redis://:e@gatehouse-check.invalid:6379": "the host name gatehouse-check.invalid",
		"redis-sentinel://:e@127.0.0.1:1/main":    "the connection is refused",
	} {
		got := checked(t, "GATEHOUSE_SESSION_STORE="+address)["session store"]
		if !strings.HasPrefix(got, "wrong ") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
		if !strings.HasPrefix(address, "redis-sentinel") {
			got := checked(t, "GATEHOUSE_DENYLIST="+address)["denylist"]
			if !strings.HasPrefix(got, "wrong ") || !strings.Contains(got, want) {
				t.Errorf("denylist at %s: got %q, want %q", address, got, want)
			}
		}
	}
}

func must(u *url.URL, err error) *url.URL {
	if err != nil {
		panic(err)
	}
	return u
}

// execute runs statements as the owner of a database.
func execute(t *testing.T, address string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func tables(t *testing.T, address string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Rights are proved, not reachability, and nothing is made in PostgreSQL.
func TestCheckPostgresRights(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	fresh, made := server.New(t), server.New(t)
	sessions, err := postgres.Open(t.Context(), postgres.Config{URL: made})
	if err != nil {
		t.Fatal(err)
	}
	if err := sessions.Close(); err != nil {
		t.Fatal(err)
	}
	serve(t, "server", nil, "GATEHOUSE_OIDC_ISSUER=http://127.0.0.1:1", "GATEHOUSE_DATABASE_URL="+made)
	execute(t, made,
		"CREATE ROLE good LOGIN", "CREATE ROLE reader LOGIN", "CREATE ROLE stranger LOGIN", "CREATE ROLE frozen LOGIN", "ALTER ROLE frozen SET default_transaction_read_only = on",
		"CREATE ROLE crowded LOGIN CONNECTION LIMIT 0",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO good, frozen", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	execute(t, fresh, "GRANT CREATE ON SCHEMA public TO good", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	execute(t, made, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	as := func(user, address string) string {
		return strings.Replace(address, "//postgres@", "//"+user+"@", 1)
	}
	before := tables(t, made)
	for _, c := range []struct{ user, address, want string }{
		{"good", made, "ok "},
		{"good", fresh, "ok "},
		{"reader", made, "the user reader lacks INSERT, UPDATE, DELETE on the table "},
		{"reader", fresh, "the user reader cannot make them in the schema public"},
		{"stranger", made, "give the user that right"},
		{"frozen", made, "takes no writes of the user frozen"},
		{"crowded", made, "it is out of connections: raise max_connections"},
		{"unknown", made, `role "unknown" does not exist, SQLSTATE 28000): create the role there`},
	} {
		address := as(c.user, c.address)
		got := checked(t, "GATEHOUSE_SESSION_STORE="+address, "GATEHOUSE_DATABASE_URL="+address)
		for _, proof := range proofs(got) {
			if !strings.Contains(got[proof], c.want) || strings.HasPrefix(got[proof], "ok ") != (c.want == "ok ") {
				t.Errorf("%s, %s: got %q, want %q", c.user, proof, got[proof], c.want)
			}
		}
	}
	if n := tables(t, fresh); n != 0 {
		t.Errorf("%d tables were made", n)
	}
	if n := tables(t, made); n != before {
		t.Errorf("%d tables, there were %d", n, before)
	}
}

func TestCheckTellsWhyPostgresIsNotUsed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	name := strings.TrimPrefix(must(url.Parse(server.New(t))).Path, "/")
	proxy := faults.NewProxy(t, "unix", server.Socket())
	for address, want := range map[string]string{
		"postgres://postgres:e@" + proxy.Addr() + "/" + name + "?sslmode=require": "with TLS, which the server does not offer: turn TLS on there, or write sslmode=disable",
		"postgres://postgres:e@" + proxy.Addr() + "/nowhere?sslmode=disable":      `database "nowhere" does not exist, SQLSTATE 3D000): create the database`,
		"postgres://postgres:e@127.0.0.1:1/" + name:                               "cannot be reached at 127.0.0.1 port 1: the connection is refused: nothing listens",
		"postgres://postgres:e@gatehouse-check.invalid/" + name:                   "the host name gatehouse-check.invalid",
	} {
		got := checked(t, "GATEHOUSE_SESSION_STORE="+address, "GATEHOUSE_DATABASE_URL="+address)
		for _, proof := range proofs(got) {
			if !strings.HasPrefix(got[proof], "wrong ") || !strings.Contains(got[proof], want) {
				t.Errorf("%s of %s: got %q, want %q", proof, address, got[proof], want)
			}
		}
	}
}

// A file is proved to be writable without being created.
func TestCheckSQLite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "new.db"): "ok ",
		text:                         "is not a SQLite database: correct the path",
		dir:                          "cannot be opened for writing",
	} {
		got := checked(t, "GATEHOUSE_SESSION_STORE=sqlite:"+path, "GATEHOUSE_DATABASE_URL=sqlite:"+path)
		for _, proof := range proofs(got) {
			if !strings.Contains(got[proof], want) {
				t.Errorf("%s at %s: got %q, want %q", proof, path, got[proof], want)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

// sqlite://shop.db is read as it always was, as a file at the root, with a warning.
func TestCheckWarnsOfFileAtRoot(t *testing.T) {
	t.Parallel()
	got := checked(t, "GATEHOUSE_SESSION_STORE=sqlite://shop.db")["session store"]
	want := "warn GATEHOUSE_SESSION_STORE=sqlite://shop.db (environment) is the file /shop.db write sqlite:shop.db for one in the working directory"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, path := range []string{"sqlite:///" + filepath.ToSlash(t.TempDir()) + "/shop.db", "sqlite:" + filepath.Join(t.TempDir(), "shop.db")} {
		got := checked(t, "GATEHOUSE_SESSION_STORE="+path)["session store"]
		if !strings.HasPrefix(got, "ok ") {
			t.Errorf("%s: got %q", path, got)
		}
	}
}
