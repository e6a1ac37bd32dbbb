package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
)

func TestDockerfile(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), ".venv/bin/hadolint", "Dockerfile", "../examples/starter/Dockerfile").CombinedOutput(); err != nil {
		t.Errorf("hadolint: %v\n%s", err, out)
	}
	// A file of the repository that is missing makes the version +dirty.
	ignored := read(t, "../.gitignore")
	for line := range strings.Lines(read(t, "../.dockerignore")) {
		pattern := strings.TrimSpace(line)
		if !strings.HasPrefix(pattern, "#") && !strings.Contains(ignored, "\n"+strings.TrimPrefix(pattern, "**/")+"\n") {
			t.Errorf(".dockerignore excludes %s, which .gitignore does not", pattern)
		}
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("compose")); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "secrets")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	_ = os.RemoveAll(filepath.Join(dir, ".secrets")) // of this checkout
	if out, err := exec.CommandContext(t.Context(), script).CombinedOutput(); err != nil {
		t.Fatalf("secrets: %v\n%s", err, out)
	}
	if err := exec.CommandContext(t.Context(), script).Run(); err == nil {
		t.Error("secrets replaces secrets that are in use")
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context()) // validates against the schema
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range project.Secrets {
		if content, err := os.ReadFile(secret.File); err != nil || len(content) < 32 {
			t.Errorf("the script makes no secret %s (%v)", name, err)
		}
	}
	if strings.Contains(read(t, filepath.Join(dir, ".secrets/realm.json")), "@") &&
		strings.Contains(read(t, filepath.Join(dir, ".secrets/realm.json")), "_SECRET@") {
		t.Error("the realm lacks secrets")
	}
	service := project.Services["gatehouse"]
	env := map[string]string{}
	for name, value := range service.Environment {
		env[name] = *value
		if file, ok := strings.CutPrefix(*value, "/run/secrets/"); ok {
			if _, ok := project.Secrets[file]; !ok {
				t.Errorf("%s is %s, which is no secret", name, *value)
			}
		}
	}
	settings := readSettings(t)
	checkEnvironment(t, settings, env)
	if got, want := time.Duration(*service.StopGracePeriod), longestStop(t, settings, env); got < want {
		t.Errorf("stop_grace_period is %v, want at least %v", got, want)
	}
}
