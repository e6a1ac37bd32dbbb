package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A setting is one of the reference.
type setting struct {
	fallback string // the default
	secret   bool
}

// readSettings returns the settings of docs/configuration.md, by variable.
func readSettings(t *testing.T) map[string]setting {
	t.Helper()
	reference, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]setting{}
	for _, section := range strings.Split(string(reference), "\n### `")[1:] {
		name, text, _ := strings.Cut(section, "`")
		// Lists may be in files as well, and have no secrets.
		s := setting{secret: strings.Contains(text, "\n- as a file: ") && !strings.Contains(text, "\n- form: a list")}
		if found := regexp.MustCompile("\n- default: `(.*)`").FindStringSubmatch(text); found != nil {
			s.fallback = found[1]
		}
		settings[name] = s
	}
	if len(settings) < 50 {
		t.Fatalf("found %d settings in the reference, want at least 50", len(settings))
	}
	return settings
}

// checkEnvironment checks that the variables of the program exist, and that secrets are files.
func checkEnvironment(t *testing.T, settings map[string]setting, env map[string]string) {
	t.Helper()
	for name := range env {
		if !strings.HasPrefix(name, "GATEHOUSE_") {
			continue
		}
		if s, ok := settings[name]; ok {
			if s.secret {
				t.Errorf("%s is a secret; give it as a file", name)
			}
			continue
		}
		secret, isFile := strings.CutSuffix(name, "_FILE")
		if !isFile || !settings[secret].secret {
			t.Errorf("there is no setting %s", name)
		}
	}
}

// connecting is how long a refresh may take to connect, in addition to its timeout.
const connecting = 5 * time.Second

// longestStop returns how long the program takes at most to stop with these variables.
func longestStop(t *testing.T, settings map[string]setting, env map[string]string) time.Duration {
	t.Helper()
	sum := connecting
	for _, name := range []string{"GATEHOUSE_LAME_DUCK", "GATEHOUSE_SHUTDOWN_TIMEOUT", "GATEHOUSE_REFRESH_TIMEOUT"} {
		if _, ok := settings[name]; !ok {
			t.Fatalf("there is no setting %s", name)
		}
		text := env[name]
		if text == "" {
			text = settings[name].fallback
		}
		if text == "" {
			continue // none
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sum += d
	}
	return sum
}
