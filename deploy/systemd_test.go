package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mostExposed is the largest exposure of the unit, of 10, that systemd-analyze may find.
const mostExposed = 1.5

func TestUnit(t *testing.T) {
	t.Parallel()
	unit := read(t, "systemd/gatehouse.service")
	env := map[string]string{}
	for _, found := range regexp.MustCompile(`(?m)^Environment=(\w+)=(.*)$`).FindAllStringSubmatch(unit, -1) {
		env[found[1]] = found[2]
		if name := strings.TrimPrefix(found[2], "%d/"); name != found[2] && !strings.Contains(unit, "\nLoadCredential="+name+":") {
			t.Errorf("%s is %s, which no LoadCredential has", found[1], found[2])
		}
	}
	for _, found := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(read(t, "systemd/gatehouse.env"), -1) {
		env[found[1]] = found[2]
	}
	settings := readSettings(t)
	checkEnvironment(t, settings, env)
	want := longestStop(t, settings, env) + 5*time.Second
	if found := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindStringSubmatch(unit); found == nil || found[1] != strconv.Itoa(int(want.Seconds())) {
		t.Errorf("TimeoutStopSec: got %v, want %v", found, want)
	}

	// verify wants the program to exist.
	path := filepath.Join(t.TempDir(), "gatehouse.service")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(unit, "/usr/local/bin/gatehouse", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for gatehouse.service: ([\d.]+)`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if exposure, err := strconv.ParseFloat(string(found[1]), 64); err != nil || exposure > mostExposed {
		t.Errorf("exposure: got %s, want at most %v", found[1], mostExposed)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
