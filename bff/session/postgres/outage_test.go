//go:build unix

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestOutages(t *testing.T) {
	t.Parallel()
	sessiontest.RunOutages(t, func(t *testing.T) sessiontest.Storage {
		server := pgtest.Start(t)
		address := server.New(t)
		return sessiontest.Storage{
			Open: func(t *testing.T) session.Store { return open(t, postgres.Config{URL: address}) },
			OpenAway: func(t *testing.T) (session.Store, func(), func(), func()) {
				proxy := faults.NewProxy(t, "unix", server.Socket())
				return open(t, postgres.Config{URL: through(t, address, proxy.Addr())}), proxy.Freeze, proxy.Thaw, proxy.Cut
			},
			Freeze:  func(t *testing.T) { server.Freeze(t) },
			Thaw:    func(t *testing.T) { server.Thaw(t) },
			Kill:    func(t *testing.T) { server.Kill(t) },
			Restart: func(t *testing.T) { server.Restart(t) },
		}
	})
}

// through returns the address of a database through a proxy.
func through(t testing.TB, address, proxy string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del("host")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = proxy, q.Encode()
	return u.String()
}

// The server ends the listening connections, as an administrator or a failover does.
func TestListenersAreEnded(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t) // the others keep their connections
	a, b := open(t, postgres.Config{URL: address}), open(t, postgres.Config{URL: address})
	admin, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	for range 5 {
		r := record()
		if err := a.Create(t.Context(), r, session.ID{}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Get(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'`); err != nil {
			t.Fatal(err)
		}
		if err := a.Delete(t.Context(), r.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		eventually(t, "the end is seen", func() bool {
			asked := time.Now()
			_, err := b.Get(t.Context(), r.ID)
			if err == nil && asked.Sub(ended) > time.Second {
				t.Fatalf("%v after its end the session is found", asked.Sub(ended))
			}
			return errors.Is(err, session.ErrNotFound)
		})
	}
}

// A server that takes no writes, such as a primary that has become a standby, is an outage for
// writes: sessions are read, and none ends.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	address := server.New(t)
	s := open(t, postgres.Config{URL: address})
	r := record()
	if err := s.Create(t.Context(), r, session.ID{}); err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.Connect(t.Context(), address+"&default_transaction_read_only=off")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	set := func(to string) {
		t.Helper()
		for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = " + to, "SELECT pg_reload_conf()"} {
			if _, err := admin.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("on")
	eventually(t, "writes are refused", func() bool {
		fence, err := s.Lock(t.Context(), r.ID, time.Millisecond)
		if err == nil {
			return errors.Join(s.Unlock(t.Context(), r.ID, fence)) != nil
		}
		return strings.Contains(err.Error(), "read-only")
	})
	if err := s.Delete(t.Context(), r.ID, session.ReasonSignedOut); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Delete: %v, want an outage", err)
	}
	if _, err := s.Get(t.Context(), r.ID); err != nil {
		t.Errorf("Get: %v", err)
	}
	set("off")
	eventually(t, "writes are taken", func() bool { return s.Delete(t.Context(), r.ID, session.ReasonSignedOut) == nil })
}

// Open fails behind a pooler that gives the listening connection to other clients, and so delivers
// no notifications.
func TestPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	address := server.New(t)
	for mode, works := range map[string]bool{"transaction": false, "session": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s, err := postgres.Open(t.Context(), postgres.Config{URL: pooler(t, server, address, mode)})
			if err == nil {
				defer s.Close()
			}
			switch {
			case works && err != nil:
				t.Errorf("Open: %v", err)
			case !works && (err == nil || !strings.Contains(err.Error(), "pooler")):
				t.Errorf("Open: %v, want that the pooler is named", err)
			}
		})
	}
}

// pooler runs a pgbouncer before the server and returns the address of the database behind it.
func pooler(t *testing.T, server *pgtest.Server, address, mode string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Fatal("the test needs pgbouncer; run tools/setup, or install it (Debian: apt-get install pgbouncer)")
	}
	dir := filepath.Dir(server.Socket()) + "/" + mode
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	config := strings.Join([]string{
		"[databases]", "* = host=" + filepath.Dir(server.Socket()) + " user=postgres",
		"[pgbouncer]", "unix_socket_dir=" + dir, "listen_addr=", "listen_port=6432", "auth_type=any", "pool_mode=" + mode,
		"ignore_startup_parameters=statement_timeout,lock_timeout,idle_in_transaction_session_timeout,search_path", "",
	}, "\n")
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if os.Geteuid() == 0 { // it refuses to run as root, so it runs as the user of the server
		info, err := os.Stat(filepath.Dir(server.Socket()))
		if err != nil {
			t.Fatal(err)
		}
		owner, err := user.LookupId(fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid))
		if err != nil {
			t.Fatal(err)
		}
		args = append([]string{"-u", owner.Username}, args...)
	}
	process := exec.Command(program, args...)
	process.Dir = dir
	var out bytes.Buffer
	process.Stdout, process.Stderr = &out, &out
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	defer func() {
		if t.Failed() {
			_ = process.Process.Kill()
			_ = process.Wait()
			t.Log(out.String())
		}
	}()
	eventually(t, "pgbouncer listens", func() bool {
		conn, err := net.Dial("unix", dir+"/.s.PGSQL.6432")
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"host": {dir}, "port": {"6432"}, "default_query_exec_mode": {"simple_protocol"}}.Encode()
	return u.String()
}

// Any number of processes may start on an empty database at once.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	address := schema(t)
	var opening sync.WaitGroup
	for range 6 {
		opening.Go(func() {
			s, err := postgres.Open(t.Context(), postgres.Config{URL: address})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			_ = s.Close()
		})
	}
	opening.Wait()
}

// A thousand requests for a session that is not cached read the database once.
func TestStampede(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{URL: schema(t)})
	r := record()
	if err := s.Create(t.Context(), r, session.ID{}); err != nil {
		t.Fatal(err)
	}
	before := postgres.Acquired(s)
	var asking sync.WaitGroup
	start := make(chan struct{})
	for range 1000 {
		asking.Go(func() {
			<-start
			if _, err := s.Get(t.Context(), r.ID); err != nil {
				t.Errorf("Get: %v", err)
			}
		})
	}
	close(start)
	asking.Wait()
	// More than one, since some may come after the notification of the login has cleared it.
	if asked := postgres.Acquired(s) - before; asked > 20 {
		t.Errorf("the database was asked %d times", asked)
	}
}

func TestAtRest(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	sessiontest.AtRest(t, open(t, postgres.Config{URL: address}), func(t *testing.T) []byte {
		out, err := exec.Command("pg_dump", address).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
}

// Errors show nothing that may be a password.
func TestErrorsShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://user:hunter2@127.0.0.1:1/x", "postgres://user:hunter2@127.0.0.1:x/x", "postgres://user:hun%ter2@127.0.0.1/x",
	} {
		s, err := postgres.Open(t.Context(), postgres.Config{URL: address})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", address)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hun%") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
