package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// TestValidate checks that Validate returns every wrong field at once, and that
// New returns the same.
func TestValidate(t *testing.T) {
	t.Parallel()
	cfg := gateway.Config{
		Access: gateway.AccessConfig{BaseURL: "https://user:secret@shop.example", AllowedHosts: []string{"app.test", "http://app.test"}},
		Limits: gateway.LimitsConfig{MaxBodyBytes: -1, MaxResponseBytes: -1, Timeout: -1, Heartbeat: -time.Second},
	}
	want := []string{"Conn", "Services", "Access.BaseURL", "Access.AllowedHosts[1]",
		"Limits.MaxBodyBytes", "Limits.MaxResponseBytes", "Limits.Timeout", "Limits.Heartbeat"}
	fields, others := invalid.All(cfg.Validate())
	var got []string
	for _, e := range fields {
		got = append(got, e.Field)
		if e.Problem == "" || e.Remedy == "" || strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: got %q, want a problem, a remedy and no password", e.Field, e)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || len(others) > 0 {
		t.Errorf("got errors about %v and %v, want %v", got, others, want)
	}
	if _, err := gateway.New(cfg); err == nil || !strings.Contains(err.Error(), cfg.Validate().Error()) {
		t.Errorf("New: got %v, want %v", err, cfg.Validate())
	}
}
