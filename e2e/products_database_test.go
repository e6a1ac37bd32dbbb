package e2e

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	root "github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

// A server whose database cannot be reached waits for it, says so with the setting, and never shows
// the password.
func TestDatabaseUnreachable(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"postgres://user:hunter2@127.0.0.1:1/products", "postgres://127.0.0.1:1/db?user=u&password=hunter2&connect_timeout=1"} {
		ctx, stop := context.WithCancel(t.Context())
		lines, er := io.Pipe()
		ended := make(chan int, 1)
		go func() {
			code := root.Run(ctx, audioarchive.App(), []string{"server"}, []string{
				"GATEHOUSE_OIDC_ISSUER=https://issuer.example", "GATEHOUSE_AUDIENCE=https://api.example", "GATEHOUSE_LISTEN_GRPC=127.0.0.1:0",
				"GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=" + address,
			}, io.Discard, er)
			_ = er.Close() // the scanner ends
			ended <- code
		}()
		said := ""
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			said += scanner.Text() + "\n"
			if strings.Contains(scanner.Text(), "service unavailable") {
				stop()
			}
		}
		stop()
		if code := <-ended; code != 0 || !strings.Contains(said, "GATEHOUSE_DATABASE_URL=postgres://127.0.0.1:1 (environment): PostgreSQL cannot be reached") || strings.Contains(said, "hunter2") {
			t.Errorf("%s: exit code %d, %s", address, code, said)
		}
	}
}

// The check covers the database too.
func TestCheckAsksTheDatabase(t *testing.T) {
	t.Parallel()
	env := tutorialEnvironment("http://127.0.0.1:1", "http://localhost:3000")
	for address, want := range map[string]string{
		"memory:":                            "warn  the services' data is kept in memory",
		"sqlite:new.db":                      "ok    the database can be written: sqlite:new.db",
		"postgres://u:hunter2@127.0.0.1:1/x": "WRONG GATEHOUSE_DATABASE_URL=postgres://127.0.0.1:1 (environment): PostgreSQL cannot be reached",
	} {
		_, said := outcome(t, t.TempDir(), append(env, "GATEHOUSE_DATABASE_URL="+address), "check")
		if !strings.Contains(said, want) || strings.Contains(said, "hunter2") {
			t.Errorf("%s: got %s\nwant %q", address, said, want)
		}
	}
}
