package e2e

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/app"
)

// The start fails too where the URL is well formed and leads nowhere, and its
// error does not show a password.
func TestDatabaseUnreachable(t *testing.T) {
	t.Parallel()
	cfg := app.Config{
		Issuer: "https://issuer.example", Audience: "https://api.example", ListenGRPC: "127.0.0.1:0",
		DatabaseURL: "postgres://user:hunter2@127.0.0.1:1/products",
	}
	err := app.Run(t.Context(), cfg, app.Parts{Server: true})
	if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL=postgres://127.0.0.1:1: PostgreSQL cannot be reached") {
		t.Errorf("%v", err)
	}
	cfg.DatabaseURL = "postgres://127.0.0.1:1/db?user=u&password=hunter2&connect_timeout=1"
	if err := app.Run(t.Context(), cfg, app.Parts{Server: true}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// The check asks about the database by itself.
func TestCheckAsksTheDatabase(t *testing.T) {
	t.Parallel()
	env := tutorialEnvironment("http://127.0.0.1:1", "http://localhost:3000")
	for address, want := range map[string]string{
		"memory:":                            "warn  the services' data is kept in memory",
		"sqlite:new.db":                      "ok    the database can be written: sqlite:new.db",
		"postgres://u:hunter2@127.0.0.1:1/x": "WRONG GATEHOUSE_DATABASE_URL=postgres://127.0.0.1:1: PostgreSQL cannot be reached",
	} {
		_, said := outcome(t, t.TempDir(), append(env, "GATEHOUSE_DATABASE_URL="+address), "check")
		if !strings.Contains(said, want) || strings.Contains(said, "hunter2") {
			t.Errorf("%s: got %s\nwant %q", address, said, want)
		}
	}
}
