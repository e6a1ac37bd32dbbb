package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// TestRestoredStore runs the commands of docs/backup.md: a session that has ended since the copy is
// valid again, others go on, and a new secret ends them all.
func TestRestoredStore(t *testing.T) {
	t.Parallel()
	// A store is made by begin, in the directory of the commands. Its restore is called while no
	// node runs, with the commands of the document.
	for name, begin := range map[string]func(t *testing.T, dir string) (settings, env []string, restore func(run func(commands string), commands []string)){
		"SQLite": func(t *testing.T, dir string) ([]string, []string, func(func(string), []string)) {
			return []string{
				"GATEHOUSE_SESSION_STORE=sqlite:" + filepath.Join(dir, "gatehouse-sessions.db"),
				"GATEHOUSE_DATABASE_URL=sqlite:" + filepath.Join(dir, "gatehouse.db"),
			}, nil, func(run func(string), commands []string) { run(commands[0]) }
		},
		"PostgreSQL": func(t *testing.T, dir string) ([]string, []string, func(func(string), []string)) {
			url := pgtest.Start(t).New(t)
			return []string{"GATEHOUSE_SESSION_STORE=" + url, "GATEHOUSE_DATABASE_URL=" + url}, []string{"DATABASE=" + url},
				func(run func(string), commands []string) { run(commands[0]) }
		},
		"Redis": func(t *testing.T, dir string) ([]string, []string, func(func(string), []string)) {
			server := redistest.Start(t)
			url := "redis://" + server.Addr()
			return []string{"GATEHOUSE_SESSION_STORE=" + url}, []string{"REDIS=" + url}, func(run func(string), commands []string) {
				server.Kill()
				copied, err := os.ReadFile(filepath.Join(dir, "sessions.rdb"))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(server.Dir(), "dump.rdb"), copied, 0o600); err != nil {
					t.Fatal(err)
				}
				server.Restart(t)
				run(commands[0])
				if got := server.Do(t, "CONFIG", "GET", "appendonly"); !strings.Contains(got, "yes") {
					t.Errorf("CONFIG GET appendonly: %q, want yes", got)
				}
			}
		},
	} {
		var commands []string
		for _, b := range blocksOf(t, "..", "docs/backup.md") {
			if b.chapter == name {
				commands = append(commands, b.text)
			}
		}
		if len(commands) != 2 {
			t.Fatalf("docs/backup.md has %d blocks of commands for %s, want backup and restore", len(commands), name)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			settings, variables, restore := begin(t, dir)
			run := func(commands string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "sh", "-euc", commands)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), variables...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s\n%v\n%s", commands, err, out)
				}
			}
			f := newFleet(t, 1)
			_, env, _ := startGated(t, f.base, 10*time.Minute)
			env = append(env, settings...)
			f.start(t, env...)
			n := f.nodes[0]
			leaving, staying := callerOf(t, f, entersAs(t, f.base, "buyer")), callerOf(t, f, entersAs(t, f.base, "seller"))
			lasting := len(settings) > 1
			if lasting {
				staying.creates(t, n, "before")
			}
			run(commands[0])
			if lasting {
				staying.creates(t, n, "after")
			}
			leaving.leaves(t, n)
			if status, _ := leaving.status(t, n, "/api/private-route"); status != http.StatusUnauthorized {
				t.Fatalf("after the sign-out: status %d, want 401", status)
			}

			n.stop(t)
			restore(run, commands[1:])
			f.start(t, env...)
			for who, c := range map[string]*caller{"ended since the copy": leaving, "that goes on": staying} {
				if err := c.works(t.Context(), n); err != nil {
					t.Errorf("a session %s: %v", who, err)
				}
			}
			if got := staying.products(t, n); lasting && got != 1 {
				t.Errorf("%d products, want the one of the copy", got)
			}

			n.stop(t)
			f.start(t, withSecrets(append(env, "GATEHOUSE_SECRET_COMPROMISED=true"), newSecret())...)
			for _, c := range []*caller{leaving, staying} {
				// 503 for as long as the lease in the copy, of the node that ran then, is valid.
				if status, _ := c.status(t, n, "/api/private-route"); status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
					t.Errorf("with a new secret: status %d, want 401 or 503", status)
				}
			}
		})
	}
}
