package telemetry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// The SDK reads the environment of the process, which has the variables of .env while it
// does, and those of the process alone before and after.
func TestInEnvironment(t *testing.T) {
	t.Parallel()
	dotenv := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(dotenv, []byte("OTEL_TEST_FILE=file\nOTEL_TEST_BOTH=file\nOTHER=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	values := settings.Table{}.Read(settings.Sources{Environ: []string{"OTEL_TEST_BOTH=environment", "OTEL_TEST_EMPTY="}, Dotenv: dotenv})
	variables := values.Foreign(telemetry.Prefix)
	got, _ := telemetry.InEnvironment(variables, func() (map[string]string, error) {
		seen := map[string]string{}
		for _, pair := range os.Environ() {
			if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, telemetry.Prefix) {
				seen[name] = value
			}
		}
		return seen, nil
	})
	if len(got) != 2 || got["OTEL_TEST_FILE"] != "file" || got["OTEL_TEST_BOTH"] != "environment" {
		t.Errorf("the SDK sees %v", got)
	}
	if _, left := os.LookupEnv("OTEL_TEST_FILE"); left {
		t.Error("OTEL_TEST_FILE is left behind")
	}
}
