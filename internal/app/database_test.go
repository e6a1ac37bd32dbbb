package app_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/app"
)

// A database that is none stops the start, with the setting's name and without
// a password.
func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"": true, "memory:": true, "sqlite:products.db": true, "postgres://user:hunter2@db/products": true, "postgresql://db/products": true,
		"sqlite:": false, "memory:x": false, "products.db": false, "mysql://user:hunter2@db/products": false, "postgres": false,
	} {
		cfg := app.Config{Issuer: "https://issuer.example", Audience: "https://api.example", DatabaseURL: url}
		err := cfg.Validate(app.Parts{Server: true})
		if ok != (err == nil) {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL=") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: %v", url, err)
		}
		if err := (app.Config{BaseURL: "", GRPCTarget: "dns:///server", DatabaseURL: url}).Validate(app.Parts{Gateway: true}); err != nil {
			t.Errorf("%q: a gateway has no database: %v", url, err)
		}
	}
}

// The start fails too where the URL is well formed and leads nowhere.
func TestDatabaseUnreachable(t *testing.T) {
	t.Parallel()
	cfg := app.Config{
		Issuer: "https://issuer.example", Audience: "https://api.example", ListenGRPC: "127.0.0.1:0",
		DatabaseURL: "postgres://user:hunter2@127.0.0.1:1/products",
	}
	err := app.Run(t.Context(), cfg, app.Parts{Server: true})
	if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_DATABASE_URL=postgres://user:xxxxx@127.0.0.1:1/products: PostgreSQL cannot be reached") {
		t.Errorf("%v", err)
	}
}
